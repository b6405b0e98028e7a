"""Runs kept in an object store, a server of S3's protocol on this machine, where s3fs and moto are installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from gymnast.cli.main import main
from gymnast.suites import planned_run
from gymnast.suites.options import SuiteOptions
from gymnast.suites.ray_cluster import carry_out

pytestmark = [pytest.mark.long]
pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
ATTEMPT = "import sys; from tests.test_object_store import URL, attempt; sys.exit(attempt(sys.argv[1], URL).code)"
URL = "s3://bucket/runs/CartPole-v1/dqn/mine-seed3"
WORDS = ["--env", "CartPole-v1", "--preset", "cartpole", "--checkpoint-every", "200", "--eval-episodes", "2"]


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    """The file system of a server with one bucket; what is started here finds it through the environment."""
    with pytest.MonkeyPatch.context() as patch:
        server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        address = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": address, "NO_PROXY": "127.0.0.1"}).items():
            patch.setenv(name, value)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        files.mkdir("bucket")
        yield files
        server.stop()


def attempt(driver: str, url: str | None) -> Any:
    """One attempt at the run, in the driver's folder or at a URL, as a node of a cluster makes it."""
    item = planned_run.plan("dqn", "dqn", WORDS, SuiteOptions(steps=1_000)).at(3, driver, "mine-seed3")
    return carry_out(planned_run.task(planned_run.replace(item, url=url)))


def test_a_killed_attempt_goes_on_elsewhere_with_what_the_store_has(
    store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one begins with an empty disk, and the run is that of one that nobody disturbed."""
    folders = [tmp_path / name for name in ("lost", "other")]
    for folder in folders:
        folder.mkdir()
    command = [sys.executable, "-c", ATTEMPT, str(tmp_path / "driver")]
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(folders[0])}, start_new_session=True) as lost:
        limit = time.monotonic() + 240
        while not store.exists(f"{URL}/checkpoints/last.pt"):
            assert lost.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.05)
            store.invalidate_cache()
        os.killpg(lost.pid, signal.SIGKILL)
    assert b'"final"' not in store.cat_file(f"{URL}/metrics.jsonl")
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(folders[1])}, timeout=300)
    assert done.returncode == 0
    assert attempt(str(tmp_path), None).code == 0
    store.invalidate_cache()
    undisturbed = (tmp_path / "CartPole-v1/dqn/mine-seed3/metrics.jsonl").read_bytes()
    assert store.cat_file(f"{URL}/metrics.jsonl") == undisturbed
    assert b'"resumed"' in store.cat_file(f"{URL}/config.json")
    assert list(folders[1].glob("gymnast-runs/*")) == []
    capsys.readouterr()
    scores = []
    for place in (URL, str(tmp_path / "CartPole-v1/dqn/mine-seed3")):
        assert main(["evaluate", place, "--episodes", "2"]) == 0
        scores.append(capsys.readouterr().out)
    assert scores[0] == scores[1]


def test_errors_of_the_store_are_one_line(
    store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are of botocore's own classes."""
    assert main(["evaluate", "s3://bucket/nothing"]) == 2
    assert capsys.readouterr().err == "gymnast: s3://bucket/nothing: nothing is there\n"
    fsspec.filesystem("s3").clear_instance_cache()
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert main(["evaluate", "s3://bucket/nothing"]) == 2
    assert capsys.readouterr().err == (
        "gymnast: s3://bucket/nothing: NoCredentialsError: Unable to locate credentials\n"
    )
    fsspec.filesystem("s3").clear_instance_cache()
