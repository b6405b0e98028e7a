"""TensorBoard and Weights & Biases. If one of them fails, training and the local log continue."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gymnast.output.gif import gif_of

WANDB_INIT_SECONDS = 20
"""Seconds to wait for W&B's server at the start of a run before logging offline."""
WANDB_FINISH_SECONDS = 60
"""Seconds to wait for uploads at the end of a run; `wandb sync` can send the rest."""


Episode = tuple[int, float, int]
"""The env step at which an episode ended (or was found to have ended), its return, its length."""


@dataclass(frozen=True)
class WandbSettings:
    """Where and how a run is logged on Weights & Biases."""

    project: str = "gymnast"
    mode: str = "online"
    """online, offline or disabled."""
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """The run, as writers see it."""

    run_dir: Path
    config: Mapping[str, Any]
    run_name: str
    wandb: WandbSettings
    env_step: int
    """Where the run starts or resumes: earlier records after this step are dropped."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """The result of `Writers.state` at that step."""
    axis: str = "env_step"
    """What the steps count."""


class Writer(Protocol):
    """A destination of a run's logs; any method may raise."""

    def scalars(self, env_step: int, values: Mapping[str, float]) -> None: ...

    def episodes(self, ended: Sequence[Episode]) -> None: ...

    def video(self, env_step: int, path: Path, fps: float) -> None: ...

    def summary(self, values: Mapping[str, Any]) -> None: ...

    def state(self) -> dict[str, Any]:
        """Plain JSON that the writer of a resumed run needs to continue."""
        ...

    def close(self, exit_code: int) -> None: ...


class Writers:
    """All writers of a run. A writer that raises in any call is reported once on stderr and dropped.

    `names` are keys of WRITERS; `env_step` and `state` are those of the checkpoint that a run is resumed from, and
    `axis` says what its steps count. Raises ValueError for an unknown name.
    """

    def __init__(
        self,
        names: Sequence[str],
        run_dir: Path,
        *,
        config: Mapping[str, Any],
        run_name: str,
        wandb: WandbSettings,
        env_step: int = 0,
        state: Mapping[str, Any] | None = None,
        axis: str = "env_step",
    ) -> None:
        info = RunInfo(run_dir, config, run_name, wandb, env_step, state or {}, axis)
        self._state = dict(info.state)
        self._writers: dict[str, Writer] = {}
        for name in names:
            if name not in WRITERS:
                raise ValueError(f"--track takes {', '.join(WRITERS)}, got {name!r}")
        for name in names:
            try:
                self._writers[name] = WRITERS[name](info)
            except Exception as error:
                _warn_dropped(name, error)

    def scalars(self, env_step: int, values: Mapping[str, float]) -> None:
        """Numbers at an env step, named like `train/loss`."""
        self._each(lambda writer: writer.scalars(env_step, values))

    @property
    def take_episodes(self) -> bool:
        """Whether a writer logs single episodes."""
        return "tensorboard" in self._writers

    def episodes(self, ended: Sequence[Episode]) -> None:
        """Training episodes that ended since the last call, in order."""
        self._each(lambda writer: writer.episodes(ended))

    def video(self, env_step: int, path: Path, fps: float) -> None:
        """A recorded video (mp4) of the agent as it was at an env step, which may be an earlier one."""
        self._each(lambda writer: writer.video(env_step, path, fps))

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's final results."""
        self._each(lambda writer: writer.summary(values))

    def state(self) -> dict[str, Any]:
        """Plain JSON for a checkpoint; includes the last state of a dropped writer."""
        self._each(lambda writer: self._state.update(writer.state()))
        return dict(self._state)

    def close(self, exit_code: int) -> None:
        """Flush and close everything; calling it twice is harmless."""
        self._each(lambda writer: writer.close(exit_code))
        self._writers.clear()

    def _each(self, call: Callable[[Writer], None]) -> None:
        for name, writer in list(self._writers.items()):
            try:
                call(writer)
            except Exception as error:
                _warn_dropped(name, error)
                del self._writers[name]
                with contextlib.suppress(Exception):  # it has already failed; this only frees its resources
                    writer.close(1)


class TensorBoard:
    """An event file in the run's folder, written record by record in the caller's thread.

    TensorBoard's scalars are float32: integers above 2**24 are rounded, and metrics.jsonl has them exactly.

    TensorBoard's own writers pass records to a thread, whose failure (a full disk) prints a traceback and in some cases
    hangs. Here a record takes about 50 µs and is either written or raises OSError.
    """

    def __init__(self, info: RunInfo) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        # Readers process files in the order of their names, so a resumed run's file must come after the first one's.
        name = f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}.gymnast"
        self._file = open(info.run_dir / name, "xb")  # noqa: SIM115 - open as long as the run
        self._writer = RecordWriter(self._file)
        self._env_step = info.env_step
        self._write(file_version="brain.Event:2")
        if info.state.get("tensorboard"):
            # Readers drop steps from this one on in earlier files.
            self._write(step=info.env_step + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
        else:
            self._text("config", _markdown(info.config))
            self._hparams(info)

    def scalars(self, env_step: int, values: Mapping[str, float]) -> None:
        self._env_step = env_step
        items = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=env_step, summary=self._summary(value=items))

    def episodes(self, ended: Sequence[Episode]) -> None:
        for env_step, episode_return, length in ended:
            values = {"episode/return": episode_return, "episode/length": length}
            items = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            self._add(step=env_step, summary=self._summary(value=items))
        self._file.flush()

    def video(self, env_step: int, path: Path, fps: float) -> None:
        gif = gif_of(path, fps=fps)
        image = self._summary.Image(width=gif.width, height=gif.height, colorspace=3, encoded_image_string=gif.data)
        value = self._summary.Value(tag="video", image=image)
        self._write(step=env_step, summary=self._summary(value=[value]))

    def summary(self, values: Mapping[str, Any]) -> None:
        self.scalars(self._env_step, {tag: value for tag, value in values.items() if isinstance(value, (int, float))})

    def state(self) -> dict[str, Any]:
        return {"tensorboard": True}

    def close(self, exit_code: int) -> None:
        self._file.close()

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.plugins.text.metadata import create_summary_metadata  # type: ignore[import-untyped]

        metadata = create_summary_metadata(display_name=tag, description="")
        tensor = {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": 1}]}, "string_val": [text.encode()]}
        value = self._summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self._write(step=0, summary=self._summary(value=[value]))

    def _hparams(self, info: RunInfo) -> None:
        """The config for the HPARAMS page, which shows it next to the run's metrics."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # type: ignore[import-untyped]

        plain = {
            name: value if isinstance(value, (bool, int, float, str)) else json.dumps(value, default=str)
            for name, value in info.config.items()
        }
        self._write(step=0, summary=hparams_pb(plain, trial_id=info.run_name))

    def _write(self, **fields: Any) -> None:
        self._add(**fields)
        self._file.flush()

    def _add(self, **fields: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **fields).SerializeToString())


class WandB:
    """A Weights & Biases run; a resumed run continues it under the same id.

    If the server does not answer within WANDB_INIT_SECONDS, or no user is logged in, the run is logged offline and can
    be sent later with `wandb sync`. With `mode` "online" the environment variable WANDB_MODE decides.
    """

    def __init__(self, info: RunInfo) -> None:
        import wandb

        self._wandb = wandb
        self._info = info
        self._id = info.state.get("wandb_id") or secrets.token_hex(4)
        self._logged = info.env_step
        """The last step that W&B knows."""
        mode = info.wandb.mode
        mode = os.environ.get("WANDB_MODE", "online") if mode == "online" else mode
        try:
            self._run = self._start(mode)
        except Exception as error:
            if mode == "offline":
                raise
            wandb.teardown()  # the failed attempt still holds the run's id
            self._run = self._start("offline")
            sync = self._run.settings.sync_dir
            _warn(f"wandb logs offline, upload later with `wandb sync {sync}`: {_one_line(error)}")
        if not self._run.offline and self._run.url:
            print(f"wandb: {self._run.url}", file=sys.stderr)
        # W&B's own step is the env step too, so that records which a resumed run repeats are not added twice.
        self._run.define_metric(info.axis, hidden=True)
        self._run.define_metric("*", step_metric=info.axis)
        # W&B drops records at a step before its last one, and the best agent may be an earlier one.
        self._run.define_metric("video_env_step", hidden=True)
        self._run.define_metric("video", step_metric="video_env_step")

    def scalars(self, env_step: int, values: Mapping[str, float]) -> None:
        self._log(env_step, values)

    def video(self, env_step: int, path: Path, fps: float) -> None:
        media = {"video": self._wandb.Video(str(path), format="mp4"), "video_env_step": env_step}
        self._log(max(env_step, self._logged), media)

    def episodes(self, ended: Sequence[Episode]) -> None:
        """Not logged: W&B keeps the means of the last episodes, and every further row costs an upload."""

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def state(self) -> dict[str, Any]:
        return {"wandb_id": self._id}

    def close(self, exit_code: int) -> None:
        self._run.finish(exit_code=exit_code)

    def _log(self, env_step: int, values: Mapping[str, Any]) -> None:
        self._logged = env_step
        self._run.log({self._info.axis: env_step, **values}, step=env_step)

    def _start(self, mode: str) -> Any:
        info, wanted = self._info, self._info.wandb
        return self._wandb.init(
            project=wanted.project,
            entity=wanted.entity,
            group=wanted.group,
            tags=wanted.tags or None,
            name=info.run_name,
            id=self._id,
            resume="allow",
            dir=str(info.run_dir),
            config=dict(info.config),
            mode=mode,  # type: ignore[arg-type]
            settings=self._wandb.Settings(
                console="off",
                finish_timeout=WANDB_FINISH_SECONDS,
                init_timeout=WANDB_INIT_SECONDS,
                quiet=True,
                reinit="create_new",
                save_code=False,
                silent=True,
            ),
        )


WRITERS: dict[str, Callable[[RunInfo], Writer]] = {"tensorboard": TensorBoard, "wandb": WandB}


def _markdown(config: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {json.dumps(value, default=str)} |" for name, value in config.items()]
    return "\n".join(["| option | value |", "|---|---|", *rows])


def _warn_dropped(name: str, error: Exception) -> None:
    _warn(f"{name} failed and is switched off, training continues: {_one_line(error)}")


def _warn(text: str) -> None:
    print(f"gymnast: {text}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]
