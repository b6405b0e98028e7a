"""The trackers of a run, from its options."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from gymnast.output.trackers import WandbSettings, Writers
from gymnast.settings.options import Track, WandbMode

EACH_ITS_OWN = ("seed", "name", "out", "device", "track", "threads", "video", "profile")
"""Options in which the runs of a group may differ."""


class Tracked(Protocol):
    """Options that choose the trackers of a run: those of `TrainOptions` and of `FitOptions`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def track(self) -> tuple[Track, ...]: ...
    @property
    def wandb_project(self) -> str: ...
    @property
    def wandb_mode(self) -> WandbMode: ...
    @property
    def wandb_entity(self) -> str | None: ...
    @property
    def wandb_group(self) -> str | None: ...
    @property
    def wandb_tags(self) -> tuple[str, ...]: ...


def writers(
    path: Path,
    agent: str,
    options: Tracked,
    config: Any,
    *,
    more: Mapping[str, Any] | None = None,
    env_step: int = 0,
    state: Mapping[str, Any] | None = None,
    axis: str = "env_step",
) -> Writers:
    """The writers that `--track` names; `more` are further settings, `env_step` and `state` a checkpoint's.

    `axis` says what the steps count.
    """
    settings = {"agent": agent, **dataclasses.asdict(config), **dataclasses.asdict(options), **(more or {})}
    wandb = WandbSettings(
        project=options.wandb_project,
        mode=options.wandb_mode,
        entity=options.wandb_entity,
        group=options.wandb_group or group(settings, "/".join(path.parts[-3:-1])),
        tags=options.wandb_tags,
    )
    return Writers(
        options.track,
        path,
        config=settings,
        run_name="/".join(path.parts[-3:]),
        wandb=wandb,
        env_step=env_step,
        state=state,
        axis=axis,
    )


def group(settings: Mapping[str, Any], name: str) -> str:
    """A name for all runs that differ only in their seed and folder."""
    own = {key: value for key, value in settings.items() if key not in EACH_ITS_OWN and not key.startswith("wandb_")}
    digest = zlib.crc32(json.dumps(own, sort_keys=True, default=str).encode())
    return f"{name}-{digest:08x}"
