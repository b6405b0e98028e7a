"""TensorBoard and W&B: what is written is read back, a resumed run repeats nothing, a failing writer costs one line."""

import json
import os
import resource
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gymnast.output import trackers
from gymnast.output.trackers import WandbSettings, Writers
from gymnast.training import tracking


def make(names: tuple[str, ...], run_dir: Path, **changes: Any) -> Writers:
    given = {"config": {"lr": 1e-3, "layers": (64, 64)}, "run_name": "a/b/c", "wandb": WandbSettings(mode="offline")}
    return Writers(names, run_dir, **{**given, **changes})


def events(run_dir: Path) -> EventAccumulator:
    found = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def points(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(run_dir).Scalars(tag)]


# TensorBoard.


def test_tensorboard_scalars_summary_and_config_are_read_back(tmp_path: Path) -> None:
    made = make(("tensorboard",), tmp_path)
    made.scalars(10, {"train/loss": 0.5, "train/return_mean": 12})
    made.scalars(20, {"train/loss": 0.25})
    made.summary({"final/mean_return": 475.0, "final/env": "CartPole-v1"})
    made.close(0)
    made.close(0)
    assert points(tmp_path, "train/loss") == [(10, 0.5), (20, 0.25)]
    assert points(tmp_path, "train/return_mean") == [(10, 12.0)]
    assert points(tmp_path, "final/mean_return") == [(20, 475.0)]
    (config,) = events(tmp_path).Tensors("config")
    assert config.tensor_proto.string_val[0].decode().splitlines()[2:] == ["| lr | 0.001 |", "| layers | [64, 64] |"]
    assert set(events(tmp_path).Tags()["scalars"]) == {"train/loss", "train/return_mean", "final/mean_return"}


def test_tensorboard_records_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    made = make(("tensorboard",), tmp_path)
    made.scalars(10, {"train/loss": 0.5})
    assert points(tmp_path, "train/loss") == [(10, 0.5)]
    made.close(0)


def test_tensorboard_repeats_nothing_after_a_resume(tmp_path: Path) -> None:
    made = make(("tensorboard",), tmp_path)
    made.scalars(10, {"train/loss": 1.0})
    made.scalars(20, {"train/loss": 2.0, "eval/mean_return": 7.0})
    state = json.loads(json.dumps(made.state()))
    made.scalars(30, {"train/loss": -1.0})  # after the checkpoint, before the crash
    made.scalars(35, {"time/seconds": -1.0})
    made.scalars(40, {"train/loss": -1.0})
    killed = made  # it is never closed before the next one is opened

    made = make(("tensorboard",), tmp_path, env_step=20, state=state)
    made.scalars(30, {"train/loss": 3.0})
    made.close(0)
    killed.close(1)
    assert points(tmp_path, "train/loss") == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert points(tmp_path, "eval/mean_return") == [(20, 7.0)]
    assert points(tmp_path, "time/seconds") == []
    assert len(events(tmp_path).Tensors("config")) == 1


def test_tensorboard_shows_a_video_as_an_animated_image(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    path = video(tmp_path / "v.mp4", frames=30, fps=30)
    made = make(("tensorboard",), tmp_path)
    made.video(50, path, 30.0)
    made.close(0)
    (event,) = events(tmp_path).Images("video")
    image = Image.open(BytesIO(event.encoded_image_string))
    assert (event.step, image.format, image.size) == (50, "GIF", (event.width, event.height))
    assert image.size == (240, 120)  # scaled down from 480 x 240
    assert image.n_frames == 10  # ten a second of one second
    assert image.info["duration"] == 100


def test_tensorboard_has_hparams_and_every_episode(tmp_path: Path) -> None:
    from gymnast import TrainOptions, train

    options = TrainOptions(
        env="gymnast/Chain-v0",
        steps=2_000,
        out=str(tmp_path),
        video=False,
        name="r",
        track=("tensorboard",),
        log_every=500,
    )
    for agent in ("q-learning", "hill-climbing"):
        result = train(agent, options)
        log = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
        episodes = max(record["episodes"] for record in log if record["kind"] == "train")
        returns, lengths = points(result.path, "episode/return"), points(result.path, "episode/length")
        assert len(returns) == len(lengths) == episodes > 0
        last = [value for _, value in returns][-100:]
        mean = [record for record in log if record["kind"] == "train"][-1]["return_mean"]
        assert sum(last) / len(last) == pytest.approx(mean)
    steps, counted = zip(*lengths, strict=True)
    assert list(steps) == np.cumsum(counted).tolist()  # one row: where each episode ended
    hparams = events(result.path).PluginTagToContent("hparams")
    assert "_hparams_/session_start_info" in hparams
    assert b"gymnast/Chain-v0" in hparams["_hparams_/session_start_info"]


def test_tensorboard_repeats_no_episode_after_a_resume(tmp_path: Path) -> None:
    from gymnast import TrainOptions, resume, train

    options = TrainOptions(env="gymnast/Chain-v0", steps=700, out=str(tmp_path), video=False, track=("tensorboard",))
    result = train("hill-climbing", options)
    resume(result.path, steps=1_500)
    whole = train("hill-climbing", replace(options, steps=1_500))
    assert points(result.path, "episode/length") == points(whole.path, "episode/length")


def test_a_group_is_what_differs_only_in_its_seed() -> None:
    settings = {"agent": "dqn", "lr": 1e-3, "seed": 0, "name": "a", "wandb_tags": ()}
    same = {**settings, "seed": 1, "name": None, "wandb_tags": ("x",)}
    assert tracking.group(settings, "CartPole-v1/dqn") == tracking.group(same, "CartPole-v1/dqn")
    assert tracking.group({**settings, "lr": 1e-4}, "CartPole-v1/dqn") != tracking.group(settings, "CartPole-v1/dqn")


def test_a_population_is_tracked(tmp_path: Path) -> None:
    from gymnast.cli.main import main

    words = "train ppo --env gymnast/CartPole-v1 --seeds 0:2 --vary gamma=0.9,0.99 --steps 256 --num-envs 4"
    words += " --rollout-steps 16 --log-every 128 --eval-every 128 --eval-episodes 2 --track tensorboard --name r --out"
    assert main([*words.split(), str(tmp_path)]) == 0
    path = tmp_path / "gymnast-CartPole-v1" / "ppo" / "r"
    log = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    kept = [(record["env_step"], record["median_return"]) for record in log if record["kind"] == "eval"]
    assert points(path, "eval/median_return") == kept
    assert [step for step, _ in points(path, "train/return_median")] == [128, 256]
    assert len(points(path, "final/mean_return")) == 1


def video(path: Path, *, frames: int, fps: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 480, 240, "yuv420p"
        for index in range(frames):
            frame = np.full((240, 480, 3), 255 * index // frames, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


# Failures.


class Failing:
    """Raises in one of its calls and counts all of them."""

    def __init__(self, about: trackers.RunInfo, fails: str, calls: list[str]) -> None:
        self.fails, self.calls = fails, calls
        self._note("init")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self.fails:
            raise RuntimeError(f"no {call} today\nand a second line")

    def scalars(self, env_step: int, values: Any) -> None:
        self._note("scalars")

    def episodes(self, ended: Any) -> None:
        self._note("episodes")

    def video(self, env_step: int, path: Path, fps: float) -> None:
        self._note("video")

    def summary(self, values: Any) -> None:
        self._note("summary")

    def state(self) -> dict[str, Any]:
        self._note("state")
        return {"failing": 1}

    def close(self, exit_code: int) -> None:
        self._note("close")


@pytest.mark.parametrize("fails", ["init", "scalars", "episodes", "video", "summary", "state", "close"])
def test_a_writer_that_raises_is_named_once_and_dropped_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    calls: list[str] = []
    monkeypatch.setitem(trackers.WRITERS, "failing", lambda about: Failing(about, fails, calls))
    made = make(("failing", "tensorboard"), tmp_path)
    path = video(tmp_path / "v.mp4", frames=3, fps=30)
    for step in (10, 20):
        made.scalars(step, {"x": step})
        made.episodes([(step, 1.0, 2)])
        made.video(step, path, 30.0)
        made.summary({"y": step})
        assert made.state()["tensorboard"] is True
    made.close(0)
    assert points(tmp_path, "x") == [(10, 10.0), (20, 20.0)]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"gymnast: failing failed and is switched off, training continues: RuntimeError: no {fails} today"]
    assert calls.count(fails) == (2 if fails == "close" else 1)  # a dropped one is closed, to free what it holds


def test_a_dropped_writer_keeps_its_place_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trackers.WRITERS, "failing", lambda about: Failing(about, "init", []))
    made = make(("failing",), tmp_path, state={"failing": 1, "wandb_id": "abc"})
    assert made.state() == {"failing": 1, "wandb_id": "abc"}


def test_a_full_disk_drops_tensorboard_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make(("tensorboard",), tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        for step in range(100):
            made.scalars(step, {"x": 1.0})
        made.close(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gymnast: tensorboard failed and is switched off, training continues: OSError")
    kept = points(tmp_path, "x")
    assert kept == [(step, 1.0) for step in range(len(kept))]
    assert len(kept) > 5


@pytest.mark.slow
@pytest.mark.parametrize("fails", ["init", "scalars", "state", "close"])
def test_training_with_a_failing_writer_ends_with_the_same_log_and_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fails: str
) -> None:
    from gymnast import train
    from gymnast.settings.options import TrainOptions
    from gymnast.storage import checkpoint

    options = TrainOptions(env="FrozenLake-v1", steps=3_000, out=str(tmp_path), video=False, name="plain", device="cpu")
    plain = train("q-learning", options)
    for name in ("tensorboard", "wandb"):
        monkeypatch.setitem(trackers.WRITERS, name, lambda about: Failing(about, fails, []))
    tracked = train("q-learning", replace(options, name="tracked", track=("tensorboard", "wandb")))
    assert plain.exit_code == tracked.exit_code == 0
    log, other = ((run.path / "metrics.jsonl").read_bytes() for run in (plain, tracked))
    assert log == other
    assert log.count(b'"kind":"train"') == 3
    states = [checkpoint.read(run.path / "checkpoints" / "last.pt")[1]["agent"] for run in (plain, tracked)]
    assert repr(states[0]) == repr(states[1])
    assert capfd.readouterr().err.count("failed and is switched off") == 2


def test_an_unknown_writer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--track takes tensorboard, wandb, got 'tensorbord'"):
        make(("tensorbord",), tmp_path)


def test_nothing_heavy_is_imported_before_it_is_chosen() -> None:
    code = (
        "import sys, gymnast.output.trackers; "
        "print([m for m in ('wandb', 'tensorboard', 'torch', 'av') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# Weights & Biases, each time in a process of its own, which is what has to leave nothing behind.

SCRIPT = """
    import json, sys, time
    from pathlib import Path
    from gymnast.output import trackers
    from gymnast.output.trackers import WandbSettings, Writers

    trackers.WANDB_INIT_SECONDS = 3
    trackers.WANDB_FINISH_SECONDS = 3
    began = time.monotonic()
    given = json.loads(sys.argv[1])
    made = Writers(
        ["wandb"], Path(given["dir"]), config={"lr": 1e-3}, run_name="env/dqn/seed0",
        wandb=WandbSettings(mode=given["mode"], **given.get("settings", {})),
        env_step=given.get("env_step", 0), state=given.get("state"),
    )
    for step, values in given["scalars"]:
        made.scalars(step, values)
    if "video" in given:
        made.video(given["video_step"], Path(given["video"]), 30.0)
    made.summary({"final/mean_return": 475.0})
    state = made.state()
    made.close(0)
    print(json.dumps({"state": state, "seconds": time.monotonic() - began}))
"""


def wandb_run(given: dict[str, Any], cwd: Path, **environ: str) -> tuple[dict[str, Any], list[str]]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    env = {**clean, "HOME": str(cwd), **environ}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=90)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.splitlines()


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: a 7-byte header, then LevelDB's log format in blocks of 32 KB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32_768 - position % 32_768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def history(run_dir: Path, run_id: str) -> list[dict[str, Any]]:
    files = sorted(run_dir.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb"))
    rows = [record.history for file in files for record in wandb_records(file) if record.HasField("history")]
    return [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item} for row in rows]


@pytest.mark.slow
def test_wandb_offline_is_read_back_and_a_resumed_run_goes_on_under_its_id(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    path = video(run_dir / "v.mp4", frames=3, fps=30)
    given = {"dir": str(run_dir), "mode": "offline", "video": str(path), "video_step": 10}
    given["settings"] = {"project": "mine", "entity": "us", "group": "together", "tags": ["a", "b"]}
    given["scalars"] = [
        [10, {"train/loss": 0.5}],
        [10, {"eval/mean_return": 7.0}],
        [20, {"train/loss": 0.25, "train/updates": 2**53 + 1}],
    ]
    first, lines = wandb_run(given, tmp_path)
    run_id = first["state"]["wandb_id"]
    assert lines == []
    (file,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(file))
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_id, run.project, run.display_name) == (run_id, "mine", "env/dqn/seed0")
    assert (run.entity, run.run_group, list(run.tags)) == ("us", "together", ["a", "b"])
    assert {item.key: item.value_json for item in run.config.update}["lr"] == "0.001"
    metrics = {record.metric.name or record.metric.glob_name: record.metric for record in records}
    assert metrics["*"].step_metric == "env_step"
    summaries = [item for record in records for item in record.summary.update]
    assert [item.value_json for item in summaries if item.key == "final/mean_return"] == ["475.0"]
    rows = history(run_dir, run_id)
    assert [(row["_step"], row["env_step"], row["train/loss"]) for row in rows] == [(10, 10, 0.5), (20, 20, 0.25)]
    assert rows[0]["eval/mean_return"] == 7.0
    assert rows[1]["train/updates"] == 2**53 + 1  # integers of any size
    assert rows[1]["video/_type"] == "video-file"  # of an earlier best agent, which W&B's own step would drop
    assert rows[1]["video_env_step"] == 10
    assert metrics["video"].step_metric == "video_env_step"

    given = {"dir": str(run_dir), "mode": "offline", "env_step": 20, "state": first["state"]}
    second, _ = wandb_run({**given, "scalars": [[30, {"train/loss": 0.125}]]}, tmp_path)
    assert second["state"] == first["state"]
    assert [row["env_step"] for row in history(run_dir, run_id)] == [10, 20, 30]
    assert not (tmp_path / "wandb").exists()  # all of it lies in the run's folder
    assert processes_of(run_dir) == []


@pytest.mark.slow
def test_wandb_without_login_or_without_network_logs_offline_and_says_so_once(tmp_path: Path) -> None:
    given = {"dir": str(tmp_path), "mode": "online", "scalars": [[10, {"train/loss": 0.5}]]}
    unreachable = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
    for environ in ({}, unreachable):
        done, lines = wandb_run(given, tmp_path, **environ)
        (line,) = [line for line in lines if line.startswith("gymnast:")]
        assert line.startswith("gymnast: wandb logs offline, upload later with `wandb sync ")
        assert [row["env_step"] for row in history(tmp_path, done["state"]["wandb_id"])] == [10]
        assert done["seconds"] < 30


@pytest.mark.slow
def test_the_environment_variable_decides_under_the_default_mode(tmp_path: Path) -> None:
    given = {"dir": str(tmp_path), "mode": "online", "scalars": [[10, {"train/loss": 0.5}]]}
    done, lines = wandb_run(given, tmp_path, WANDB_MODE="offline")
    assert lines == []
    assert len(history(tmp_path, done["state"]["wandb_id"])) == 1
    wandb_run({**given, "dir": str(tmp_path / "none"), "mode": "disabled"}, tmp_path)
    assert not list((tmp_path / "none").glob("**/*.wandb"))


class WandBServer(BaseHTTPRequestHandler):
    """As much of W&B's server as a run needs to begin; notes the bodies of all requests."""

    bodies: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.bodies.append(body)
        project = {"id": "p", "name": "gymnast", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": "run", "displayName": "run", "config": "{}", "project": project}
        found = {"model": None, "upsertBucket": {"bucket": bucket, "inserted": True}}
        answer = json.dumps({"data": found}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.slow
def test_a_wandb_server_that_vanishes_holds_up_neither_the_run_nor_its_end(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), WandBServer)
    threading.Thread(target=server.serve_forever).start()
    address = f"http://127.0.0.1:{server.server_port}"
    given = {"dir": str(tmp_path), "mode": "online", "scalars": [[step, {"x": 1.0}] for step in range(500)]}

    def vanish() -> None:
        while not any("UpsertBucket" in body for body in WandBServer.bodies):
            time.sleep(0.05)
        time.sleep(0.2)
        server.shutdown()
        server.server_close()

    vanishing = threading.Thread(target=vanish)
    vanishing.start()
    done, lines = wandb_run(given, tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40)
    vanishing.join()
    assert done["seconds"] < 30
    assert any(line.startswith(f"wandb: {address}/me/gymnast/runs/") for line in lines)  # where to look at it
    (begun,) = [body for body in WandBServer.bodies if "UpsertBucket" in body]
    assert json.loads(json.loads(begun)["variables"]["config"])["lr"]["value"] == 1e-3
    (file,) = tmp_path.glob("wandb/run-*/run-*.wandb")
    assert sum(record.HasField("history") for record in wandb_records(file)) == 500


def processes_of(run_dir: Path) -> list[str]:
    """Command lines of wandb's service processes whose working folder or arguments name the run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text().replace("\0", " ")
            folder = os.readlink(entry / "cwd")
        except OSError:
            continue
        if "wandb-core" in command and str(run_dir.parent) in command + folder:
            found.append(command)
    return found
