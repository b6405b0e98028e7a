"""A run's folder kept at a URL: what is there can be resumed at every moment, and counts nothing that is not there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.storage import mirror
from gymnast.storage.last import LastCheckpoint
from gymnast.storage.mirror import Mirror
from gymnast.suites import planned_run
from gymnast.suites.options import SuiteOptions
from gymnast.suites.ray_cluster import carry_out

FINAL = b'{"kind":"final","env_step":20}\n'


def a_run(folder: Path, *, step: int, blocks: list[str], final: bool = False) -> None:
    """A folder as a run leaves it at a step: the files of the last checkpoint are those of its replay."""
    replay = folder / "checkpoints" / "replay"
    replay.mkdir(parents=True, exist_ok=True)
    for name in blocks:
        if not (replay / name).exists():
            (replay / name).write_bytes(name.encode())
    content = {"agent": {"replay": {"files": {"blocks": [{"name": name} for name in blocks]}}}, "step": step}
    torch.save(content, folder.parent / "new.pt")
    (folder.parent / "new.pt").rename(folder / "checkpoints" / "last.pt")
    for file in replay.iterdir():
        if file.name not in blocks:
            file.unlink()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    records = b"".join(b'{"kind":"train","env_step":%d}\n' % number for number in range(0, step + 1, 10))
    (folder / "metrics.jsonl").write_bytes(records + (FINAL if final else b""))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def consistent(folder: Path) -> int:
    """The step at which a run resumes; asserts that all that its checkpoint counts on is there."""
    last = LastCheckpoint(folder / "checkpoints")
    step = torch.load(last.path, weights_only=True)["step"]
    for name in last.replay_names():
        assert (folder / "checkpoints" / "replay" / name).read_bytes() == name.encode()
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["env_step"] for line in lines][: step // 10 + 1] == list(range(0, step + 1, 10))
    return int(step)


class Lost(BaseException):
    """The machine is lost: nothing after it happens, not even tidying up."""


def test_what_is_fetched_is_what_was_sent(tmp_path: Path) -> None:
    url, here, there = f"file://{tmp_path}/kept/run", tmp_path / "here" / "run", tmp_path / "there" / "run"
    a_run(here, step=10, blocks=["a", "b"])
    (here / ".lock").touch()
    Mirror(url, here).send(ended=True)
    Mirror(url, there).fetch()
    assert files(there) == {name: content for name, content in files(here).items() if name != ".lock"}
    Mirror(url, tmp_path / "light").fetch(mirror.read_by_reports)
    assert files(tmp_path / "light").keys() == set(mirror.READ_BY_REPORTS)


def test_a_machine_lost_at_any_moment_leaves_what_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each operation on the storage, even half a copy, either the old or the new checkpoint is whole."""
    for lost_at in range(1, 60):
        base = tmp_path / str(lost_at)
        here, kept = base / "here" / "run", base / "kept" / "run"
        a_run(here, step=10, blocks=["a", "b"])
        (here / "old.pt").touch()
        sender = Mirror(f"file://{kept}", here)
        sender.send(ended=False)
        (here / "old.pt").unlink()
        a_run(here, step=20, blocks=["b", "c"], final=True)
        operations = 0

        def counted(call: Callable[..., Any], *, half: bool = False, lost_at: int = lost_at) -> Callable[..., Any]:
            def one(*arguments: Any, **options: Any) -> Any:
                nonlocal operations
                operations += 1
                if operations == lost_at:
                    if half:
                        Path(arguments[1]).write_bytes(b"half")
                    raise Lost
                return call(*arguments, **options)

            return one

        storage = sender._files
        for name in ("put_file", "mv", "rm_file"):
            monkeypatch.setattr(storage, name, counted(getattr(storage, name), half=name == "put_file"))
        try:
            sender.send(ended=True)
        except Lost:
            finished = FINAL in (kept / "metrics.jsonl").read_bytes()
            shutil.rmtree(here)
            monkeypatch.undo()
            Mirror(f"file://{kept}", here).fetch()
            assert consistent(here) in (10, 20)
            assert not finished or consistent(here) == 20
        else:
            assert operations < lost_at  # it was not lost any more
            assert consistent(kept) == 20
            assert files(kept) == files(here)
            assert "old.pt" not in files(kept)
            return
    pytest.fail("the last operation was not reached")


def test_a_checkpoint_saved_meanwhile_is_not_mixed_with_the_one_that_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, kept = tmp_path / "here" / "run", tmp_path / "kept" / "run"
    a_run(here, step=10, blocks=["a", "b"])
    sender = Mirror(f"file://{kept}", here)
    put = sender._files.put_file

    def slow(*arguments: Any, **options: Any) -> Any:
        a_run(here, step=20, blocks=["c", "d"])
        return put(*arguments, **options)

    monkeypatch.setattr(sender._files, "put_file", slow)
    sender.send(ended=False)
    monkeypatch.undo()
    assert consistent(kept) == 10
    assert sender.changed()
    sender.send(ended=False)
    assert consistent(kept) == 20
    assert not sender.changed()


def test_only_what_has_changed_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here" / "run"
    a_run(here, step=10, blocks=["a", "b"])
    sender = Mirror(f"file://{tmp_path}/kept/run", here)
    sender.send(ended=False)
    a_run(here, step=20, blocks=["b", "c"])
    sent: list[str] = []
    put = sender._files.put_file
    monkeypatch.setattr(
        sender._files, "put_file", lambda source, target: sent.append(Path(target).name) or put(source, target)
    )
    sender.send(ended=False)
    assert sorted(sent) == [".c.part", ".config.json.part", ".last.pt.part", ".metrics.jsonl.part"]


def test_a_storage_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, kept = tmp_path / "here" / "run", tmp_path / "kept" / "run"
    a_run(here, step=10, blocks=[])
    sender = Mirror(f"file://{kept}", here)
    send, failures = sender.send, [OSError("no route"), OSError("no route")]
    monkeypatch.setattr(mirror.time, "sleep", lambda seconds: None)

    def failing(*, ended: bool) -> None:
        if failures:
            raise failures.pop()
        send(ended=ended)

    monkeypatch.setattr(sender, "send", failing)
    sender.send_surely()
    assert consistent(kept) == 10
    failures += [OSError("no route")] * 9
    with pytest.raises(OSError, match="no route"):
        sender.send_surely()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("memory://runs", "the memory of one process is not seen by the others"),
        ("nowhere://runs", "Protocol not known: nowhere"),
        ("file:///proc/runs", ""),
    ],
)
def test_a_url_where_nothing_can_be_written(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=rf"^--out {url}: {why}"):
        mirror.check(url)


def test_a_url_needs_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "gymnast/Chain-v0", "--agents", "q-learning", "--out", f"file://{tmp_path}/kept"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"gymnast: --out must be a folder without --ray, got the URL file://{tmp_path}/kept\n"
    )
    assert main(["train", "q-learning", "--env", "gymnast/Chain-v0", "--out", "s3://bucket/runs"]) == 2
    assert capsys.readouterr().err.startswith("gymnast: --out must be a folder, got the URL s3://bucket/runs; ")
    assert list(tmp_path.iterdir()) == []


def test_an_attempt_finds_everything_at_the_url(tmp_path: Path) -> None:
    """A task carried out twice, without Ray: the second finds the run finished, with more steps it resumes it."""
    url = f"file://{tmp_path}/kept/gymnast-Chain-v0/q-learning/r-seed0"
    options = SuiteOptions(steps=200, checkpoint_every=50)
    words = ["--env", "gymnast/Chain-v0"]

    def attempt(steps: int) -> Any:
        asked = SuiteOptions(steps=steps, checkpoint_every=options.checkpoint_every)
        item = planned_run.plan("q-learning", "q-learning", words, asked).at(0, str(tmp_path / "driver"), "r-seed0")
        return carry_out(planned_run.task(planned_run.replace(item, url=url)))

    kept = tmp_path / "kept/gymnast-Chain-v0/q-learning/r-seed0"
    assert attempt(200).code == 0
    before = files(kept)
    assert FINAL[:15] in before["metrics.jsonl"]
    assert {"checkpoints/last.pt", "checkpoints/best.pt", "config.json"} <= before.keys()
    assert attempt(200).code == 0
    assert files(kept) == before
    assert attempt(300).code == 0
    assert len(json.loads((kept / "config.json").read_bytes())["resumed"]) == 1
    planned_run.discard(planned_run.replace(runs_of_one(tmp_path), url=url))
    assert "checkpoints/last.pt" not in files(kept)
    ended = attempt(400)
    assert (ended.code, "has no checkpoint to resume from" in ended.why) == (2, True)
    assert not (tmp_path / "driver").exists()


def runs_of_one(tmp_path: Path) -> Any:
    options = SuiteOptions(steps=300)
    item = planned_run.plan("q-learning", "q-learning", ["--env", "gymnast/Chain-v0"], options)
    return item.at(0, str(tmp_path / "driver"), "r-seed0")
