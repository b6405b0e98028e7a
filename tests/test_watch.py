"""`gymnast watch`: what the page gets of runs as they go on, who gets it, and what nobody gets."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gymnast.cli.main import main
from gymnast.serving.watch import POLICY, build
from gymnast.serving.watched_runs import POINTS, SILENT_SECONDS, Log, WatchedRuns
from tests.runs import write_run

TOKEN = "a-token-of-some-length"


def get(runs: WatchedRuns, path: str, *, token: str | None = None, **given: Any) -> httpx.Response:
    """One request to the page's application, without a network."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(runs, token=token))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, **given)

    return asyncio.run(ask())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two ended runs of one agent, one of which has a video."""
    for seed in (0, 1):
        path = tmp_path / "runs" / "Env" / "dqn" / f"seed{seed}"
        write_run(path, env="Env-v0", agent="dqn", seed=seed, score=3.0 + seed)
    (path / "videos").mkdir()
    (path / "videos" / "best.mp4").write_bytes(b"film")
    (path / "videos" / "notes.txt").write_text("private")
    return tmp_path / "runs"


def append(path: Path, *records: dict[str, Any], torn: bytes = b"") -> None:
    with open(path, "ab") as file:
        file.write(b"".join(json.dumps(record).encode() + b"\n" for record in records) + torn)


def test_the_runs_and_how_they_ended(folder: Path) -> None:
    found = get(WatchedRuns(folder), "/api/runs").json()["runs"]
    assert list(found) == ["Env/dqn/seed0", "Env/dqn/seed1"]
    run = found["Env/dqn/seed1"]
    assert {name: run[name] for name in ("env", "agent", "label", "seed", "state", "final", "videos")} == {
        "env": "Env-v0",
        "agent": "dqn",
        "label": "dqn",
        "seed": 1,
        "state": "ended",
        "final": 4.0,
        "videos": ["best.mp4"],
    }


def test_curves_grow_with_the_run(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    log.read()  # before there is a file
    assert log.names == []
    append(log._path, {"kind": "eval", "env_step": 10, "mean_return": 1.5}, torn=b'{"kind":"ev')
    log.read()
    assert log.curve("eval/mean_return") == ([10], [1.5])
    append(log._path, torn=b'al","env_step":20,"mean_return":2.5}\n')
    append(log._path, {"kind": "train", "env_step": 30, "loss": None, "q": 7, "who": "x", "on": True})
    log.read()
    assert log.curve("eval/mean_return") == ([10, 20], [1.5, 2.5])
    assert (log.names, log.step, log.best) == (["eval/mean_return", "train/q"], 30, 2.5)
    append(log._path, {"kind": "final", "env_step": 30, "mean_return": 9.0})
    log.read()
    assert (log.ended, log.final, log.best) == (True, 9.0, 2.5)


def test_a_log_that_a_resumed_run_has_cut_is_read_anew(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    for value in range(20):
        append(log._path, {"kind": "eval", "env_step": value, "mean_return": value})
    log.read()
    lines = log._path.read_bytes().splitlines(keepends=True)
    log._path.write_bytes(b"".join(lines[:5]))
    for value in range(100, 130):  # longer than before
        append(log._path, {"kind": "eval", "env_step": value, "mean_return": value})
    log.read()
    assert log.curve("eval/mean_return")[1] == [*range(5), *range(100, 130)]


def test_long_curves_are_averaged(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    append(log._path, *({"kind": "train", "env_step": at, "q": 2 * at} for at in range(10 * POINTS + 3)))
    log.read()
    steps, values = map(np.array, log.curve("train/q"))
    assert len(steps) == POINTS
    np.testing.assert_allclose(values, 2 * steps)
    assert abs(steps.mean() - (10 * POINTS + 2) / 2) < 5


def test_a_run_that_writes_no_more_counts_as_stopped(folder: Path) -> None:
    path = folder / "Env" / "dqn" / "seed0"
    (path / "metrics.jsonl").write_text("")
    runs = WatchedRuns(folder)
    assert runs.refreshed()["Env/dqn/seed0"]["state"] == "running"
    for file in path.iterdir():
        if file.is_file():
            before = file.stat().st_mtime - SILENT_SECONDS - 1
            os.utime(file, (before, before))
    assert runs.refreshed()["Env/dqn/seed0"]["state"] == "stopped"


def test_new_runs_appear(folder: Path) -> None:
    runs = WatchedRuns(folder)
    assert len(runs.refreshed()) == 2
    write_run(folder / "Env" / "ppo" / "seed0", env="Env-v0", agent="ppo", seed=0, score=1.0)
    runs._looked -= 100
    assert list(runs.refreshed()) == ["Env/dqn/seed0", "Env/dqn/seed1", "Env/ppo/seed0"]


def test_an_empty_folder_and_a_run_itself_can_be_watched(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert WatchedRuns(tmp_path / "empty").refreshed() == {}
    assert list(WatchedRuns(folder / "Env" / "dqn" / "seed0").refreshed()) == ["."]


def test_curves_are_sent_once(folder: Path) -> None:
    runs = WatchedRuns(folder)
    append(folder / "Env/dqn/seed0/metrics.jsonl", {"kind": "eval", "env_step": 5, "mean_return": 2.0})
    runs.refreshed()
    asked = {"env": "Env-v0", "name": "eval/mean_return"}
    answer = get(runs, "/api/curves", params=asked)
    assert answer.json()["Env/dqn/seed0"][1][-1] == 2.0
    again = {"if-none-match": answer.headers["etag"]}
    assert get(runs, "/api/curves", params=asked, headers=again).status_code == 304
    assert get(runs, "/api/curves", params={"env": "other", "name": "x"}).json() == {}


def test_settings_and_videos(folder: Path) -> None:
    runs = WatchedRuns(folder)
    runs.refreshed()
    assert get(runs, "/api/config", params={"run": "Env/dqn/seed1"}).json()["agent"] == "dqn"
    film = get(runs, "/api/video", params={"run": "Env/dqn/seed1", "name": "best.mp4"}, headers={"range": "bytes=1-2"})
    assert (film.status_code, film.content, film.headers["content-type"]) == (206, b"il", "video/mp4")


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/api/config", {"run": "../.."}),
        ("/api/config", {"run": "/etc"}),
        ("/api/video", {"run": "Env/dqn/seed1", "name": "notes.txt"}),
        ("/api/video", {"run": "Env/dqn/seed1", "name": "../config.json"}),
        ("/api/video", {"run": "Env/dqn/seed0", "name": "best.mp4"}),
        ("/config.json", {}),
    ],
)
def test_nothing_else_of_the_disk_is_reached(folder: Path, path: str, given: dict[str, str]) -> None:
    runs = WatchedRuns(folder)
    runs.refreshed()
    assert get(runs, path, params=given).status_code == 404


def test_the_page_loads_nothing_from_elsewhere(folder: Path) -> None:
    answer = get(WatchedRuns(folder), "/")
    assert answer.headers["content-security-policy"] == POLICY
    assert set(re.findall(r"https?://[^\s\"']+", answer.text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|link)[^>]+(src|href)=\"(?!data:)", answer.text)
    assert resources.files("gymnast.serving").joinpath("watch.html").is_file()


def test_pages_from_elsewhere_are_refused(folder: Path) -> None:
    runs = WatchedRuns(folder)
    assert get(runs, "/api/runs", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert get(runs, "/api/runs", headers={"host": "elsewhere.example"}).status_code == 403


def test_a_token_is_brought_by_the_address_and_kept_as_a_cookie(folder: Path) -> None:
    runs = WatchedRuns(folder)
    assert get(runs, "/", token=TOKEN).status_code == 401
    assert get(runs, "/?token=wrong", token=TOKEN).status_code == 401
    assert get(runs, f"/api/runs?token={TOKEN}", token=TOKEN).status_code == 401  # only the page's own address
    first = get(runs, f"/?token={TOKEN}", token=TOKEN)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    kept = {"cookie": f"other=1; {cookie.split(';')[0]}"}
    assert get(runs, "/api/runs", token=TOKEN, headers=kept).status_code == 200
    assert get(runs, "/api/runs", token=TOKEN, headers={"cookie": "gymnast-token=wrong"}).status_code == 401
    assert get(runs, "/api/runs", token=TOKEN, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing"], "no folder missing; runs are written to runs, or to what --out names"),
        ([".", "--port", "70000"], "--port must be between 0 and 65535, got 70000"),
        ([".", "--host", "0.0.0.0"], "--host 0.0.0.0 is reachable from other machines, and so needs --token-file FILE"),
        ([".", "--token-file", "none"], "--token-file none: No such file or directory"),
    ],
)
def test_wrong_options(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *words]) == 2
    assert capsys.readouterr().err == f"gymnast: {message}\n"


def test_without_fastapi_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["watch"]) == 2
    assert capsys.readouterr().err == 'gymnast: gymnast watch needs fastapi: pip install "gymnast[serve]"\n'


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "gymnast", "watch", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1], process
        process.kill()


@pytest.mark.slow
def test_the_command(server: tuple[str, subprocess.Popen[str]]) -> None:
    address, process = server
    with httpx.Client(trust_env=False) as client:
        assert "gymnast watch" in client.get(address).text
        assert len(client.get(f"{address}api/runs").json()["runs"]) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
