"""Options of `gymnast record`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gymnast.atari import protocols
from gymnast.settings.options import at_least, check_device, check_env_options, check_wrappers

RANDOM = "random"
"""The policy of uniformly random actions, in place of a run."""


@dataclass(frozen=True)
class RecordOptions:
    """Play episodes with a trained agent, or at random, and record them as a Minari data set."""

    policy: str = field(metadata={"positional": "RUN_OR_random"})
    """Folder of a run (its best checkpoint), a checkpoint file, or random."""
    dataset: str = field(metadata={"metavar": "NAME"})
    """Name of the new data set: NAME-vN or NAMESPACE/NAME-vN, such as cartpole/expert-v0."""
    env: str | None = field(default=None, metadata={"metavar": "ID"})
    """Environment to record in. Default: the run's own."""
    steps: int | None = None
    """Record exactly this many transitions; episodes that are not over by then are truncated."""
    episodes: int | None = None
    """Record this many whole episodes, instead of a number of transitions."""
    explore: bool = False
    """Act as in training, with exploration, instead of greedily."""
    num_envs: int = 8
    """Number of environments stepped together."""
    seed: int = 0
    """Seed of the episodes and of the actions; the same seed gives the same data."""
    protocol: str | None = None
    """Atari protocol to play under instead of the run's own; see gymnast list protocols."""
    env_options: str = field(default="", metadata={"metavar": "JSON"})
    """Arguments of the environment's constructor, as a JSON object. Default: the run's own."""
    wrapper: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME[:OPTION=VALUE] ...", "repeatable": True})
    """Wrappers from gymnasium.wrappers to put around each environment. Default: the run's own."""
    max_episode_steps: int | None = None
    """Time limit per episode, instead of the id's. Default: the run's own."""
    frame_stack: int | None = None
    """Frames per observation of your own image environments. Default: the run's own, or 1."""
    device: str = field(default="cpu", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:N or mps."""
    threads: int = 1
    """CPU threads of torch and NumPy."""
    trust: bool = False
    """Import the agent or environment from outside gymnast that the checkpoint names."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.episodes is None):
            given = "neither" if self.steps is None else "both"
            raise ValueError(f"steps or else episodes must be given, got {given}")
        for name in ("steps", "episodes", "num_envs", "threads", "max_episode_steps", "frame_stack"):
            value = getattr(self, name)
            if value is not None:
                at_least(name, value, 1)
        at_least("seed", self.seed, 0)
        check_device(self.device)
        check_env_options(self.env_options)
        check_wrappers(self.wrapper)
        if self.protocol is not None:
            protocols.check(self.protocol)
        self._check_random()

    def _check_random(self) -> None:
        if self.policy != RANDOM:
            return
        if not self.env:
            raise ValueError("env is needed: record random --env ID")
        if self.explore:
            raise ValueError("explore has no effect on random actions")
