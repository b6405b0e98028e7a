"""What the subcommands take: frozen dataclasses whose fields are flags and whose field docstrings are the help."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Literal

from gymnast.atari import protocols
from gymnast.errors import nearest

Track = Literal["tensorboard", "wandb"]
Vectorization = Literal["auto", "serial", "async", "native"]
WandbMode = Literal["online", "offline", "disabled"]

LISTS = ("agents", "envs", "networks", "presets", "protocols", "scores", "suites")
WANDB_PROJECT = "gymnast"
KEEP_CHECKPOINTS = 5


@dataclass(frozen=True)
class TrainOptions:
    """A training run; every period and count of steps is in env steps, summed over all environments."""

    env: str = field(metadata={"metavar": "ID"})
    """Gymnasium id, or module:Id to import a module that registers it."""
    steps: int = 100_000
    """Env steps to train for."""
    num_envs: int = 1
    """Environments stepped together."""
    seed: int = 0
    """Seed of every random stream of the run."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:N or mps."""
    name: str | None = None
    """Name of the run's folder; without one, its seed and the time."""
    out: str = "runs"
    """Folder in which runs are kept, as OUT/ENV/AGENT/NAME."""
    track: tuple[Track, ...] = ()
    """Where to log beside the run's own metrics.jsonl: tensorboard, wandb or both."""
    eval_every: int = 0
    """Env steps between evaluations of the greedy policy; 0 evaluates at the end alone."""
    eval_episodes: int = 10
    """Episodes of each evaluation."""
    eval_envs: int = 8
    """Environments that an evaluation steps together, at most."""
    checkpoint_every: int = 0
    """Env steps between periodic checkpoints; 0 keeps the best and the last alone."""
    keep_checkpoints: int = KEEP_CHECKPOINTS
    """Periodic checkpoints to keep; the oldest is deleted first."""
    log_every: int = 1_000
    """Env steps between records of metrics.jsonl."""
    stop_return: float | None = None
    """Stop once a scheduled evaluation reaches this mean return."""
    vectorization: Vectorization = "auto"
    """How environments are stepped: serial (in this process), async (worker processes), native (the id's own)."""
    native: bool | None = None
    """Play the id's device-native version, all environments as tensors; by default on a GPU, where there is one."""
    env_options: str = ""
    """Arguments of the environment's constructor, as a JSON object."""
    max_episode_steps: int | None = None
    """Time limit of an episode, in place of the id's own."""
    protocol: str | None = None
    """Atari protocol to train and score under, over what presets and the id say; see gymnast list protocols."""
    video: bool = True
    """Record one episode of the final policy."""
    threads: int = 1
    """Threads that torch and NumPy compute with on the CPU."""
    overlap: bool = False
    """Learn while environments step (async, Atari): the action under way was chosen before the updates that are due."""
    exact_resume: bool = False
    """Refuse an environment that cannot be resumed exactly; without this such a run resumes with fresh episodes."""
    wandb_project: str = WANDB_PROJECT
    """Project on Weights & Biases."""
    wandb_mode: WandbMode = "online"
    """online, offline (to be synced later) or disabled."""

    def __post_init__(self) -> None:
        if not self.env:
            raise ValueError("env must be an id, got ''")
        for name in ("steps", "num_envs", "eval_episodes", "eval_envs", "keep_checkpoints", "log_every", "threads"):
            _at_least(name, getattr(self, name), 1)
        for name in ("seed", "eval_every", "checkpoint_every"):
            _at_least(name, getattr(self, name), 0)
        if self.max_episode_steps is not None:
            _at_least("max_episode_steps", self.max_episode_steps, 1)
        check_device(self.device)
        if self.protocol is not None:
            protocols.check(self.protocol)
        check_folder_name(self.name)
        _check_env_options(self.env_options)
        if not self.out:
            raise ValueError("out must be a folder, got ''")
        if len(set(self.track)) < len(self.track):
            raise ValueError(f"track takes each name once, got {' '.join(self.track)}")
        self._check_stop()
        self._check_idle()

    def _check_stop(self) -> None:
        if self.stop_return is None:
            return
        if not math.isfinite(self.stop_return):
            raise ValueError(f"stop_return must be a finite number, got {self.stop_return}")
        if self.eval_every == 0:
            raise ValueError("stop_return needs scheduled evaluations: give eval_every a value > 0 too")

    def _check_idle(self) -> None:
        """An option that would have no effect is a mistake."""
        if "wandb" not in self.track and self.wandb_project != WANDB_PROJECT:
            raise ValueError(f"wandb_project {self.wandb_project} has no effect without wandb in track")
        if "wandb" not in self.track and self.wandb_mode != "online":
            raise ValueError(f"wandb_mode {self.wandb_mode} has no effect without wandb in track")
        if self.checkpoint_every == 0 and self.keep_checkpoints != KEEP_CHECKPOINTS:
            raise ValueError(f"keep_checkpoints {self.keep_checkpoints} has no effect while checkpoint_every is 0")


@dataclass(frozen=True)
class PopulationOptions:
    """Many agents at once in one process, each with a seed of its own (ppo and a2c, in device-native environments)."""

    seeds: str = field(default="", metadata={"metavar": "A:B"})
    """Train an agent for each seed from A to B - 1, all at once; --steps and --num-envs are those of each."""
    vary: tuple[str, ...] = ()
    """Settings that differ between them: name=low:high or name=low:high:log spread, name=a,b,c taken in turns."""


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run from its last checkpoint, exactly as if it had never stopped."""

    run: str = field(metadata={"positional": "RUN"})
    """Folder of the run."""
    steps: int | None = None
    """New total of env steps; without it the run's own."""
    device: str | None = None
    """Another device than the run's: auto, cpu, cuda, cuda:N or mps."""
    trust: bool = False
    """Run an agent or environment outside gymnast that the run's config names."""

    def __post_init__(self) -> None:
        if self.steps is not None:
            _at_least("steps", self.steps, 1)
        if self.device is not None:
            check_device(self.device)


@dataclass(frozen=True)
class EvaluateOptions:
    """Play whole episodes with the greedy policy of a run's best checkpoint, or of one checkpoint file."""

    path: str = field(metadata={"positional": "RUN_OR_CHECKPOINT"})
    """Folder of a run, or a checkpoint file."""
    member: int | None = None
    """Of the run of a population, the agent with this seed; without it the best one."""
    episodes: int = 100
    """Episodes to play, each with a seed of its own."""
    num_envs: int = 8
    """Environments stepped together; the result does not depend on it."""
    seed: int = 0
    """Seed that the episodes' seeds come from."""
    protocol: str | None = None
    """Atari protocol to score under instead of the run's own; see gymnast list protocols."""
    video: str | None = None
    """Folder to write a video of one episode to."""
    against_optimal: bool = False
    """Compare with the optimal policy, computed on the environment's transition table."""
    picture: str | None = None
    """File (png, pdf or svg) to draw values and greedy actions to, on the environment's grid."""
    json: bool = False
    """Print one JSON object."""
    device: str = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""
    trust: bool = False
    """Run an agent or environment outside gymnast that the checkpoint names."""

    def __post_init__(self) -> None:
        _at_least("episodes", self.episodes, 1)
        _at_least("num_envs", self.num_envs, 1)
        _at_least("seed", self.seed, 0)
        check_device(self.device)
        if self.protocol is not None:
            protocols.check(self.protocol)
        if self.picture is not None and not self.picture.lower().endswith((".png", ".pdf", ".svg")):
            raise ValueError(f"picture must be a file named .png, .pdf or .svg, got {self.picture}")


@dataclass(frozen=True)
class ListOptions:
    """What gymnast knows: agents, environments, networks, presets, Atari protocols, published scores or suites."""

    what: str = field(metadata={"positional": "agents|envs|networks|presets|protocols|scores|suites"})
    """What to list."""
    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        if self.what not in LISTS:
            raise ValueError(
                f"unknown list {self.what!r}; there are {', '.join(LISTS)}{nearest(self.what, LISTS)}",
            )


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise ValueError(f"{name} must be >= {low}, got {value}")


def check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        hint = nearest(device, ("auto", "cpu", "cuda", "mps"))
        raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps, got {device}{hint}")


def check_folder_name(name: str | None) -> None:
    if name is not None and (not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name):
        raise ValueError(f"name must be the name of one folder, got {name!r}")


def _check_env_options(text: str) -> None:
    if not text:
        return
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ValueError(f'env_options must be a JSON object such as \'{{"map_name": "8x8"}}\', got {text}')


@dataclass(frozen=True)
class PresetOptions:
    """Settings that go together; explicit flags override them."""

    preset: tuple[str, ...] = ()
    """Presets, applied from left to right; see gymnast list presets."""
