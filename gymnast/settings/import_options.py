"""Options of `gymnast import`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gymnast.settings.options import TrainOptions

KINDS = ("sb3",)


@dataclass(frozen=True)
class ImportOptions:
    """Read the policy that another library has trained, and write it as a run.

    sb3 reads DQN, PPO and A2C of Stable-Baselines3 as `model.save(FILE)` writes them: MlpPolicy, and CnnPolicy with the
    Nature network. Nothing in the file is unpickled or run: only its weights and plain values are read.
    """

    kind: str = field(metadata={"positional": "sb3"})
    """The library that wrote the file."""
    file: str = field(metadata={"positional": "FILE.zip"})
    """The file."""
    env: str = field(metadata={"metavar": "ID"})
    """Environment in which the policy was trained."""
    out: str = field(default="runs", metadata={"metavar": "FOLDER"})
    """Folder for runs; the run is written to OUT/ENV/AGENT/NAME."""
    name: str | None = None
    """Name of the run's folder. Default: sb3-FILE."""
    env_options: str = field(default="", metadata={"metavar": "JSON"})
    """Arguments of the environment's constructor, as a JSON object."""
    wrapper: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME[:OPTION=VALUE] ...", "repeatable": True})
    """Wrappers from gymnasium.wrappers to put around each environment, the first one innermost."""
    frame_stack: int = 1
    """Frames per observation, for your own image environments."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"import reads {', '.join(KINDS)}, not {self.kind}")
        self.run()

    def run(self) -> TrainOptions:
        """The options of a run in this environment."""
        names = ("env", "out", "name", "env_options", "wrapper", "frame_stack")
        return TrainOptions(**{name: getattr(self, name) for name in names})
