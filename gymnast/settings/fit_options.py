"""Options of `gymnast fit`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from gymnast.settings.options import WANDB_PROJECT, Track, WandbMode, at_least, check_device, check_folder_name


@dataclass(frozen=True)
class FitOptions:
    """Options of a run that fits a network to data."""

    dataset: str = field(default="", metadata={"metavar": "NAME"})
    """Data set: a name of gymnast list datasets, or a folder in Minari's format."""
    env: str = field(default="", metadata={"metavar": "ID"})
    """Environment to record the data in, instead of a data set."""
    policy: str = field(default="random", metadata={"metavar": "random|RUN"})
    """Who acts while data are recorded in env: random, or a trained run with its exploration."""
    env_steps: int = 20_000
    """Steps to record in env; a recording with the same settings is used again."""
    validation: float = 0.2
    """Share of the data to keep for validation: of episodes, whole ones."""
    split_seed: int | None = None
    """Seed of the split. Default: the run's seed."""
    epochs: int | None = None
    """Passes over the training data. Default: the task's."""
    updates: int | None = None
    """Stop after so many updates."""
    patience: int = 0
    """Stop after so many evaluations without a better one; 0 never stops early."""
    eval_every: int = 1
    """Epochs between evaluations."""
    eval_episodes: int = 10
    """Episodes to play at the end with a fitted policy; 0 plays none."""
    seed: int = 0
    """Seed of all random numbers of the run."""
    device: str = field(default="auto", metadata={"metavar": "DEVICE"})
    """auto (a GPU if available), cpu, cuda, cuda:N or mps."""
    threads: int = 1
    """CPU threads of torch and NumPy."""
    name: str | None = None
    """Name of the run's folder. Default: the seed and the time."""
    out: str = field(default="runs", metadata={"metavar": "FOLDER"})
    """Folder for runs; a run is written to OUT/DATASET/TASK/NAME."""
    log_every: int = 50
    """Updates between records of metrics.jsonl."""
    track: tuple[Track, ...] = ()
    """Log to tensorboard, wandb or both, in addition to metrics.jsonl."""
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
    trust: bool = False
    """Run code from outside gymnast that a data set or a checkpoint names: an environment, an agent or a network."""

    def __post_init__(self) -> None:
        if bool(self.dataset) == bool(self.env):
            given = "both" if self.dataset else "neither"
            raise ValueError(f"give a dataset, or an env to record data in; got {given}")
        for item in fields(self):
            if self.dataset and item.name in ("policy", "env_steps") and getattr(self, item.name) != item.default:
                raise ValueError(f"{item.name} {getattr(self, item.name)} has no effect without env")
            if "wandb" not in self.track and item.name.startswith("wandb_"):
                value = getattr(self, item.name)
                if value != item.default:
                    written = " ".join(value) if isinstance(value, tuple) else value
                    raise ValueError(f"{item.name} {written} has no effect without wandb in track")
        for name in ("env_steps", "epochs", "updates", "eval_every", "threads", "log_every"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)
        for name in ("seed", "split_seed", "patience", "eval_episodes"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 0)
        if not 0.0 < self.validation < 1.0:
            raise ValueError(f"validation must be > 0 and < 1, got {self.validation}")
        if len(set(self.track)) < len(self.track):
            raise ValueError(f"track takes each name once, got {' '.join(self.track)}")
        check_device(self.device)
        check_folder_name(self.name)
        if not self.out:
            raise ValueError("out must be a folder, got ''")

    @property
    def splits_by(self) -> int:
        """The seed of the split."""
        return self.seed if self.split_seed is None else self.split_seed
