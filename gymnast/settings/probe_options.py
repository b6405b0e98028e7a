"""Options of `gymnast probe`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gymnast.settings.options import at_least, check_device, check_env_options, check_wrappers

KINDS = ("reward", "action", "state")
"""What probes predict: the reward of the next step, the action of a teacher, the variables of the true state."""


@dataclass(frozen=True)
class ProbeOptions:
    """Fit linear probes on the frozen features of an encoder, of a random one like it, and on raw observations."""

    what: str = field(metadata={"positional": "RUN_OR_NETWORK"})
    """Folder or checkpoint of a trained or fitted run, or a name of gymnast list networks."""
    env: str = field(metadata={"metavar": "ID"})
    """Environment to record the observations in. In the run's own one, the run's options of it hold too."""
    steps: int = 10_000
    """Steps to record."""
    policy: str = field(default="random", metadata={"metavar": "random|RUN"})
    """Who acts: random, or a trained run, which explores as in training."""
    teacher: str = field(default="", metadata={"metavar": "RUN"})
    """Trained run whose greedy actions are a target."""
    targets: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME ..."})
    """Targets: reward, action, state (all its variables) or single variables. Default: all that exist."""
    repeats: int = 5
    """Repeats, each with another split of the episodes and other random weights."""
    seed: int = 0
    """Seed of all random numbers."""
    num_envs: int = 8
    """Number of environments stepped together."""
    env_options: str = field(default="", metadata={"metavar": "JSON"})
    """Arguments of the environment's constructor, as a JSON object."""
    wrapper: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME[:OPTION=VALUE] ...", "repeatable": True})
    """Wrappers from gymnasium.wrappers to put around each environment, the first one innermost."""
    frame_stack: int = 1
    """Frames per observation, for your own image environments."""
    native: bool | None = None
    """Use the id's device-native version. Default: on a GPU, if it exists."""
    out: str = field(default="", metadata={"metavar": "FOLDER"})
    """Folder for the figure and the numbers. Default: probe/ in the run's folder, or runs/probe/NETWORK."""
    json: bool = False
    """Print one JSON object."""
    device: str = field(default="cpu", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:N or mps, for the environment and the features."""
    threads: int = 1
    """CPU threads of torch and NumPy."""
    trust: bool = False
    """Import the code from outside gymnast that the checkpoints name."""

    def __post_init__(self) -> None:
        if not self.env:
            raise ValueError("env must be an id, got ''")
        for name in ("steps", "repeats", "num_envs", "frame_stack", "threads"):
            at_least(name, getattr(self, name), 1)
        at_least("seed", self.seed, 0)
        check_device(self.device)
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets takes each name once, got {' '.join(self.targets)}")
        if "action" in self.targets and not self.teacher:
            raise ValueError("targets action needs teacher RUN, the run whose actions it predicts")
        check_env_options(self.env_options)
        check_wrappers(self.wrapper)
