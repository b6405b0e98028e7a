"""Options of the subcommands: frozen dataclasses whose fields are flags and whose field docstrings are their help."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, fields
from typing import Literal

from gymnast.atari import protocols
from gymnast.envs import imports
from gymnast.errors import nearest

Track = Literal["tensorboard", "wandb"]
Emulator = Literal["ours", "ale"]
Vectorization = Literal["auto", "serial", "async", "native"]
WandbMode = Literal["online", "offline", "disabled"]

LISTS = ("agents", "datasets", "envs", "networks", "presets", "protocols", "references", "scores", "suites")
WANDB_PROJECT = "gymnast"
KEEP_CHECKPOINTS = 5
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices, with any extension."""


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training run. All periods and step counts are in env steps, summed over all environments."""

    env: str = field(metadata={"metavar": "ID"})
    """Gymnasium id; module:Id imports its module. Or code: module:name, ./file.py:name. Or a dream: dream:RUN."""
    steps: int = 100_000
    """Env steps to train for."""
    num_envs: int | None = None
    """Number of environments stepped together. Default: 1, or the rows of a VectorEnv."""
    learners: int = 1
    """Processes that learn together, each acting in its share of the environments (ppo, a2c, pqn)."""
    seed: int = 0
    """Seed of all random numbers of the run."""
    init_from: str | None = field(default=None, metadata={"metavar": "RUN"})
    """Trained or fitted run with whose weights, and whose network, the agent starts."""
    device: str = field(default="auto", metadata={"metavar": "DEVICE"})
    """auto (a GPU if available), cpu, cuda, cuda:N or mps."""
    name: str | None = None
    """Name of the run's folder. Default: the seed and the time."""
    out: str = field(default="runs", metadata={"metavar": "FOLDER"})
    """Folder for runs; a run is written to OUT/ENV/AGENT/NAME."""
    track: tuple[Track, ...] = ()
    """Log to tensorboard, wandb or both, in addition to metrics.jsonl."""
    eval_every: int = 0
    """Env steps between evaluations of the greedy policy; 0 evaluates only at the end."""
    eval_episodes: int = 10
    """Episodes per evaluation."""
    eval_envs: int = 8
    """Maximum number of environments that an evaluation steps together."""
    checkpoint_every: int = 0
    """Env steps between periodic checkpoints; 0 keeps only the best and the last."""
    keep_checkpoints: int = KEEP_CHECKPOINTS
    """Number of periodic checkpoints to keep; the oldest is deleted first."""
    log_every: int = 1_000
    """Env steps between records of metrics.jsonl."""
    stop_return: float | None = None
    """Stop once a scheduled evaluation reaches this mean return."""
    vectorization: Vectorization = "auto"
    """How to step environments: serial (this process), async (worker processes) or native (the id's vector version)."""
    native: bool | None = None
    """Use the id's device-native version, which steps all environments as tensors. Default: on a GPU, if it exists."""
    env_options: str = field(default="", metadata={"metavar": "JSON"})
    """Arguments of the environment's constructor, as a JSON object."""
    wrapper: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME[:OPTION=VALUE] ...", "repeatable": True})
    """Wrappers from gymnasium.wrappers to put around each environment, the first one innermost."""
    max_episode_steps: int | None = None
    """Time limit per episode, instead of the id's."""
    frame_stack: int = 1
    """Frames per observation, for your own image environments; frames before an episode are black."""
    protocol: str | None = None
    """Atari protocol to train and score under; overrides presets and the id. See gymnast list protocols."""
    emulator: Emulator | None = None
    """What plays an Atari game: ours (gymnast's console) or ale (ale-py), step for step the same; ours if it can."""
    video: bool = True
    """Record one episode of the final policy."""
    threads: int | Literal["auto"] = 1
    """CPU threads of torch and NumPy; auto: one or all cores, whichever an update is faster with."""
    overlap: bool = False
    """Learn while environments step (async, Atari); the pending action was chosen before these updates."""
    ray: str | None = field(default=None, metadata={"metavar": "local|ADDRESS"})
    """Have the learners, actors or workers, or with --seeds one run per seed, on a Ray cluster: one of this machine
    (local), or the one at an address."""
    profile: bool = False
    """Print where the time goes, and write profile.json; each part is timed, on a GPU by waiting for its work."""
    exact_resume: bool = False
    """Refuse an environment that cannot be resumed exactly; otherwise the run resumes with new episodes."""
    wandb_project: str = WANDB_PROJECT
    """Project on Weights & Biases."""
    wandb_mode: WandbMode = "online"
    """Mode of Weights & Biases: online, offline (to sync later) or disabled."""
    wandb_entity: str | None = None
    """User or team on Weights & Biases. Default: your own."""
    wandb_group: str | None = None
    """Group of runs on Weights & Biases. Default: all runs that differ only in their seeds."""
    wandb_tags: tuple[str, ...] = ()
    """Tags of the run on Weights & Biases."""

    def __post_init__(self) -> None:
        given: object = self.env
        if not isinstance(given, str):
            object.__setattr__(self, "env", _named(given))
        if not self.env:
            raise ValueError("env must be an id, got ''")
        if self.num_envs is not None:
            at_least("num_envs", self.num_envs, 1)
        for name in ("steps", "learners", "frame_stack", "eval_episodes", "eval_envs", "keep_checkpoints", "log_every"):
            at_least(name, getattr(self, name), 1)
        if self.threads != "auto":
            at_least("threads", self.threads, 1)
        for name in ("seed", "eval_every", "checkpoint_every"):
            at_least(name, getattr(self, name), 0)
        if self.max_episode_steps is not None:
            at_least("max_episode_steps", self.max_episode_steps, 1)
        check_device(self.device)
        if self.protocol is not None:
            protocols.check(self.protocol)
        check_folder_name(self.name)
        check_env_options(self.env_options)
        check_wrappers(self.wrapper)
        if not self.out:
            raise ValueError("out must be a folder, got ''")
        if "://" in self.out:
            raise ValueError(f"out must be a folder, got the URL {self.out}; runs with --seeds and --ray take one")
        check_ray(self.ray)
        if len(set(self.track)) < len(self.track):
            raise ValueError(f"track takes each name once, got {' '.join(self.track)}")
        self._check_stop()
        self._check_idle()

    @property
    def rows(self) -> int:
        """The number of environments stepped together."""
        return 1 if self.num_envs is None else self.num_envs

    def _check_stop(self) -> None:
        if self.stop_return is None:
            return
        if not math.isfinite(self.stop_return):
            raise ValueError(f"stop_return must be a finite number, got {self.stop_return}")
        if self.eval_every == 0:
            raise ValueError("stop_return needs scheduled evaluations: set eval_every to a value > 0")

    def _check_idle(self) -> None:
        """Refuse options that would have no effect."""
        if "wandb" not in self.track:
            for item in fields(self):
                value = getattr(self, item.name)
                if item.name.startswith("wandb_") and value != item.default:
                    written = " ".join(value) if isinstance(value, tuple) else value
                    raise ValueError(f"{item.name} {written} has no effect without wandb in track")
        if self.checkpoint_every == 0 and self.keep_checkpoints != KEEP_CHECKPOINTS:
            raise ValueError(f"keep_checkpoints {self.keep_checkpoints} has no effect while checkpoint_every is 0")


@dataclass(frozen=True)
class SeedOptions:
    """One agent for each of many seeds."""

    seeds: str = field(default="", metadata={"metavar": "A:B"})
    """Train one agent for each seed from A to B - 1: as a population in this process, with --ray as runs of their own.
    --steps and --num-envs apply to each agent."""


@dataclass(frozen=True)
class PopulationOptions(SeedOptions):
    """Train many agents in one process, each with its own seed, in device-native environments."""

    vary: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=VALUES ..."})
    """Settings to cross: name=a,b,c, or name=low:high[:log] for a range. All combinations are trained."""
    vary_zip: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=VALUES ..."})
    """Settings that change together: the first value of each, then the second of each, and so on."""


@dataclass(frozen=True, kw_only=True)
class RayNeeds:
    """What many runs on a Ray cluster need there."""

    cpus_per_run: float = 1.0
    """CPUs that Ray reserves for each run."""
    gpus_per_run: float = 0.0
    """GPUs that Ray reserves for each run; 0.25 puts four on one."""
    send_code: bool = False
    """Send the current folder to Ray's nodes, instead of using what is installed there."""


@dataclass(frozen=True, kw_only=True)
class RayOptions(RayNeeds):
    """Carry out many runs on a Ray cluster."""

    ray: str | None = field(default=None, metadata={"metavar": "local|ADDRESS"})
    """Carry out the runs on a Ray cluster: one of this machine (local), or the one at an address."""

    def __post_init__(self) -> None:
        if self.cpus_per_run <= 0:
            raise ValueError(f"cpus_per_run must be > 0, got {self.cpus_per_run:g}")
        if self.gpus_per_run < 0:
            raise ValueError(f"gpus_per_run must be >= 0, got {self.gpus_per_run:g}")
        if self.ray is None:
            for item in fields(RayOptions):
                if getattr(self, item.name) != item.default:
                    raise ValueError(f"{item.name} has no effect without --ray")
        check_ray(self.ray)


@dataclass(frozen=True)
class ResumeOptions:
    """Resume a run from its last checkpoint, exactly as if it had never stopped."""

    run: str = field(metadata={"positional": "RUN"})
    """Folder of the run."""
    steps: int | None = None
    """New total of env steps, per agent in a population. Default: the run's own."""
    epochs: int | None = None
    """New total of epochs, for a fitted network. Default: the run's own."""
    device: str | None = field(default=None, metadata={"metavar": "DEVICE"})
    """Device to use: auto, cpu, cuda, cuda:N or mps. Default: the run's own."""
    trust: bool = False
    """Import the agent or environment from outside gymnast that the run's config names."""
    exact_resume: bool | None = None
    """Refuse to start new episodes if the environment cannot be restored. Default: the run's own."""
    profile: bool | None = None
    """Print where the time goes from here on, and write profile.json. Default: the run's own."""
    ray: str | None = field(default=None, metadata={"metavar": "local|ADDRESS"})
    """Ray cluster for the other learners of the run. Default: the run's own."""

    def __post_init__(self) -> None:
        check_ray(self.ray)
        for name in ("steps", "epochs"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)
        if self.device is not None:
            check_device(self.device)


@dataclass(frozen=True)
class EvaluateOptions:
    """Play whole episodes with the greedy policy of a run's best checkpoint or of a checkpoint file."""

    path: str = field(metadata={"positional": "RUN_OR_CHECKPOINT"})
    """Folder of a run, a checkpoint file, or a folder of gymnast export."""
    member: int | None = None
    """Seed of the population member to play. Default: the best member."""
    env: str | None = field(default=None, metadata={"metavar": "ID"})
    """Environment to play in, dream:RUN for a dream. Default: the run's own; for a run in a dream, the real one."""
    episodes: int = 100
    """Episodes to play, each with its own seed."""
    num_envs: int = 8
    """Number of environments stepped together; it does not change the result."""
    seed: int = 0
    """Seed from which the episodes' seeds are drawn."""
    protocol: str | None = None
    """Atari protocol to score under instead of the run's own; see gymnast list protocols."""
    emulator: Emulator | None = None
    """What plays an Atari game: ours (gymnast's own console) or ale (ale-py). Default: the run's own."""
    video: str | None = field(default=None, metadata={"metavar": "PATH"})
    """File ending in .mp4, or a folder, to write a video of one episode to."""
    against_optimal: bool = False
    """Compare with the optimal policy, computed from the environment's transition table."""
    picture: str | None = field(default=None, metadata={"metavar": "FILE"})
    """File (png, pdf or svg) for a drawing of values and greedy actions on the environment's grid."""
    json: bool = False
    """Print one JSON object."""
    device: str = field(default="cpu", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:N or mps."""
    trust: bool = False
    """Import the agent or environment from outside gymnast that the checkpoint names."""

    def __post_init__(self) -> None:
        at_least("episodes", self.episodes, 1)
        at_least("num_envs", self.num_envs, 1)
        at_least("seed", self.seed, 0)
        check_device(self.device)
        if self.protocol is not None:
            protocols.check(self.protocol)
        if self.video is not None and re.search(r"\.(avi|gif|mkv|mov|webm|png)$", self.video.lower()):
            raise ValueError(f"video must be a file named .mp4 or a folder, got {self.video}")
        if self.picture is not None and not self.picture.lower().endswith((".png", ".pdf", ".svg")):
            raise ValueError(f"picture must be a file named .png, .pdf or .svg, got {self.picture}")


@dataclass(frozen=True)
class ListOptions:
    """List agents, data sets, environments, networks, presets, protocols, references, published scores or suites."""

    what: str = field(metadata={"positional": "|".join(LISTS)})
    """The list to print."""
    env: str = field(default="", metadata={"metavar": "ID"})
    """With networks: measure each network that fits this environment's observations."""
    run: str = field(default="", metadata={"metavar": "RUN"})
    """With networks: describe the trained backbone of this run or checkpoint, which --encoder RUN takes."""
    json: bool = False
    """Print JSON."""

    def __post_init__(self) -> None:
        for name in ("env", "run"):
            if getattr(self, name) and self.what != "networks":
                raise ValueError(f"{name} belongs to the list networks, not to {self.what}")
        if self.env and self.run:
            raise ValueError("env and run are different lists of networks; use one of them")
        if self.what not in LISTS:
            raise ValueError(
                f"unknown list {self.what!r}; choose from {', '.join(LISTS)}{nearest(self.what, LISTS)}",
            )


def _named(env: object) -> str:
    """The name of a function that builds an environment, for options in files; ValueError if it has none."""
    name = imports.name_of(env)
    if name is None:
        raise ValueError(
            f"env must be an id, or a function or class that can be imported, got {env!r}: "
            "pass the function itself to train(..., env=function)"
        )
    return name


@dataclass(frozen=True)
class CheckEnvOptions:
    """Play random steps in an environment and report its properties and problems; exit code 1 if it has a fault."""

    env: str = field(metadata={"positional": "ID"})
    """Gymnasium id, or module:Id to import the module that registers it."""
    steps: int = 500
    """Random steps to play."""
    seed: int = 0
    """Seed of the environment and of the actions."""
    env_options: str = ""
    """Arguments of the environment's constructor, as a JSON object."""

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("seed", self.seed, 0)
        check_env_options(self.env_options)


def at_least(name: str, value: int, low: int) -> None:
    """ValueError for a value below the lowest one."""
    if value < low:
        raise ValueError(f"{name} must be >= {low}, got {value}")


def check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        hint = nearest(device, ("auto", "cpu", "cuda", "mps"))
        raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps, got {device}{hint}")


def check_ray(address: str | None) -> None:
    if address == "":
        raise ValueError("ray must be local or the address of a cluster, got ''")


def check_folder_name(name: str | None) -> None:
    if name is not None and (not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name):
        raise ValueError(f"name must be a single folder name, got {name!r}")


def check_new_folder_name(name: str | None) -> None:
    """ValueError for a name that Windows does not allow for a folder: runs are copied between systems."""
    if name is not None and (re.search(r'[<>:"|?*\x00-\x1f]|[. ]$', name) or RESERVED.fullmatch(name)):
        raise ValueError(f'name must be valid as a folder name on every system, without any of <>:"|?*, got {name!r}')


def check_env_options(text: str) -> None:
    if not text:
        return
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ValueError(f'env_options must be a JSON object such as \'{{"map_name": "8x8"}}\', got {text}')


def check_wrappers(texts: tuple[str, ...]) -> None:
    if not texts:
        return
    from gymnast.envs.rows import wrappers  # imports Gymnasium, which the quick commands avoid

    for text in texts:
        wrappers.parse(text)


@dataclass(frozen=True)
class PresetOptions:
    """Named groups of settings; explicit flags override them."""

    preset: tuple[str, ...] = ()
    """Presets, or TOML files of options, applied from left to right. See gymnast list presets."""
    reference: str | None = None
    """Repeat a run with an environment and settings that are known to learn. See gymnast list references."""
