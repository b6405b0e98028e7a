"""Runs on a Ray cluster: as those of this machine, and no node or driver that is lost changes the report."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gymnast.cli.main import main
from gymnast.reports import figures
from tests.test_benchmark import TEXTS, finished, four_runs

ray = pytest.importorskip("ray")
CLUSTER = """
import os, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(int(sys.argv[1]))]
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("lost", flush=True)
cluster.shutdown()
"""
"""A head node and others, each with room for one run; every line of input ends one without a warning."""
WORDS = ["benchmark", "gymnast/Chain-v0", "--agents", "q-learning", "--seeds", "2", "--steps", "300", "--name", "r"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cpus-per-run", "2"], "--cpus-per-run has no effect without --ray"),
        (["--gpus-per-run", "1"], "--gpus-per-run has no effect without --ray"),
        (["--send-code"], "--send-code has no effect without --ray"),
        (
            ["--ray", "local", "--jobs", "2"],
            "--jobs has no effect with --ray: the cluster runs as many as it has room for",
        ),
        (["--ray", "local", "--cpus-per-run", "0"], "--cpus-per-run must be > 0, got 0"),
        (["--ray", "local", "--gpus-per-run", "-1"], "--gpus-per-run must be >= 0, got -1"),
        (["--ray", ""], "--ray must be local or the address of a cluster, got ''"),
    ],
)
def test_wrong_options(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--out", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gymnast: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


TRAIN = ["train", "q-learning", "--env", "gymnast/Chain-v0", "--steps", "300", "--eval-every", "100"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ray", "local"], "ray local has no effect without learners, actors, workers or seeds"),
        (["--no-send-code"], "--ray local|ADDRESS is missing, without which nothing runs on Ray"),
        (["--seeds", "0:2", "--gpus-per-run", "1"], "--gpus-per-run has no effect without --ray"),
        (["--seeds", "2", "--ray", "local"], "--seeds must be A:B, the seeds from A to B - 1, got '2'"),
        (["--seeds", "0:2", "--ray", "local", "--seed", "1"], "--seed cannot be combined with --seeds --ray: "),
        (["--seeds", "0:2", "--ray", "local", "--vary", "gamma=0,1"], "--vary cannot be combined with --seeds --ray: "),
        (
            ["--seeds", "0:2", "--ray", "local", "--stop-return=1"],
            "--stop-return cannot be combined with --seeds --ray",
        ),
        (["--seeds", "0:2", "--ray", "local", "--num-envs", "0"], "--num-envs must be >= 1, got 0"),
    ],
)
def test_wrong_options_of_train(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "--out", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gymnast: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_one_run_per_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The runs are those of `gymnast train --seed`; the same command again keeps them, and writes the same report."""
    monkeypatch.setattr(figures, "draw_all", lambda found, out, *, more: [])
    words = [*TRAIN, "--checkpoint-every", "100", "--out", str(tmp_path / "many"), "--name", "mine"]
    assert main([*words, "--seeds", "3:5", "--ray", "local"]) == 0
    runs = tmp_path / "many/gymnast-Chain-v0/q-learning"
    assert sorted(path.name for path in runs.iterdir() if path.is_dir()) == ["mine-seed3", "mine-seed4"]
    report = (tmp_path / "many/reports/mine/report.md").read_bytes()
    before = finished(tmp_path / "many")
    capsys.readouterr()
    assert main([*words, "--seeds", "3:5", "--ray", "local"]) == 0
    assert "started" not in capsys.readouterr().err
    assert finished(tmp_path / "many") == before
    assert (tmp_path / "many/reports/mine/report.md").read_bytes() == report
    one = ["--seed", "4", "--name", "one", "--out", str(tmp_path), "--checkpoint-every", "100", "--no-video"]
    assert main([*TRAIN, *one]) == 0
    alone = tmp_path / "gymnast-Chain-v0/q-learning/one/metrics.jsonl"
    assert alone.read_bytes() == (runs / "mine-seed4/metrics.jsonl").read_bytes()


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*WORDS, "--out", str(tmp_path), "--ray", "local"]) == 2
    assert capsys.readouterr().err == 'gymnast: --ray needs ray: pip install "gymnast[ray]"\n'


def test_an_address_where_nobody_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{held.getsockname()[1]}"
        assert main([*WORDS, "--out", str(tmp_path), "--ray", address]) == 2
    said = capsys.readouterr().err
    assert said == f"gymnast: --ray {address}: no cluster answers there: Connection refused\n"


def test_a_cluster_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise Exception("The node did not register in time\nmore of it")  # the bare class, as Ray does

    monkeypatch.setattr(ray, "init", start)
    assert main([*WORDS, "--out", str(tmp_path), "--ray", "local"]) == 2
    said = capsys.readouterr().err
    assert said == "gymnast: --ray local: The node did not register in time\n"


@pytest.mark.slow
def test_a_cluster_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run of two fails, and is named; a run that no node has room for is refused."""
    monkeypatch.setattr(figures, "draw_all", lambda found, out, *, more: [])
    monkeypatch.chdir(tmp_path)
    words = ["benchmark", "gymnast/Chain-v0", "CartPole-v1", "--agents", "q-learning", "--seeds", "1", "--steps", "300"]
    assert main([*words, "--out", "mine", "--name", "r", "--ray", "local"]) == 1
    said = capsys.readouterr()
    failed = "CartPole-v1 q-learning seed 0 failed: "
    assert "gymnast/Chain-v0 q-learning seed 0 finished (1/2)" in said.err
    assert f"gymnast: {failed}" in said.err
    assert f"Left out as unfinished: {failed[:-9]}" in (tmp_path / "mine/reports/r/report.md").read_text()
    assert [path.parent.name for path in finished(tmp_path / "mine")] == ["r-seed0"]
    assert main([*WORDS, "--out", "other", "--ray", "local", "--cpus-per-run", "1000"]) == 2
    assert capsys.readouterr().err == (
        "gymnast: --ray local: no node has the 1000 CPUs that --cpus-per-run and --gpus-per-run ask for\n"
    )


@contextmanager
def cluster(nodes: int) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A cluster of this machine, by its address; a line to the process removes a node."""
    command = [sys.executable, "-c", CLUSTER, str(nodes)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, encoding="utf-8", **pipes) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process


def until(condition: Any, driver: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kept", ["folder", "url"])
def test_a_lost_node_and_a_killed_driver_change_nothing(kept: str, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert main(four_runs(whole)) == 0
    words = four_runs(torn)
    if kept == "url":
        words[words.index(str(torn))] = f"file://{torn}"
    del words[words.index("--jobs") : words.index("--jobs") + 2]
    with cluster(nodes=2) as (address, nodes):
        assert nodes.stdin is not None
        assert nodes.stdout is not None
        command = [sys.executable, "-m", "gymnast", *words[:1], "--ray", address, *words[1:]]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
            until(lambda: list(torn.glob("gymnast-*/*/*/checkpoints/last.pt")), driver)
            nodes.stdin.write("\n")
            nodes.stdin.flush()
            assert nodes.stdout.readline() == "lost\n"
            until(lambda: finished(torn), driver)
            driver.send_signal(signal.SIGKILL)
        before = finished(torn)
        assert 0 < len(before) < 4
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr
    after = finished(torn)
    assert len(after) == 4
    assert before.items() <= after.items()  # what was done is left alone
    assert any("resumed" in (path.parent / "config.json").read_text() for path in after)
    for name in TEXTS:
        first, second = (out / "reports" / "benchmark" / name for out in (whole, torn))
        assert first.read_bytes() == second.read_bytes(), name
    for path in after:
        assert path.read_bytes() == (whole / path.relative_to(torn)).read_bytes()
