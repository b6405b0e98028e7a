"""Commands that read runs take URLs for paths, and show them instead of the copies that they work with."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import gettempdir

import pytest

from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.reports import figures
from gymnast.serving.served import read_policy
from gymnast.serving.watch import opened
from gymnast.storage.near import near
from tests.runs import write_run

RUN = "gymnast-Chain-v0/q-learning/mine"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, which also stands for a URL."""
    folder = tmp_path_factory.mktemp("kept")
    words = ["train", "q-learning", "--env", "gymnast/Chain-v0", "--steps", "200", "--name", "mine", "--no-video"]
    assert main([*words, "--out", str(folder)]) == 0
    return folder


def leftovers() -> list[Path]:
    return list(Path(gettempdir()).glob("gymnast-*"))


@pytest.mark.parametrize("place", [RUN, f"{RUN}/", f"{RUN}/checkpoints/last.pt"])
def test_a_run_at_a_url_is_evaluated_like_a_folder(kept: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, found = leftovers(), []
    for root in (str(kept), f"file://{kept}"):
        assert main(["evaluate", f"{root}/{place}", "--episodes", "3", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    checkpoint = f"file://{found[0].pop('checkpoint')}"
    assert found[1].pop("checkpoint") == checkpoint
    assert found[0] == found[1]
    assert read_policy(f"file://{kept}/{place}", device="cpu", trust=False).path == f"file://{kept}/{place}"
    assert leftovers() == before


def test_runs_at_a_url_are_reported(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures, "draw_all", lambda found, out, *, more: [])
    tables = []
    for name, root in (("near", str(kept)), ("far", f"file://{kept}")):
        assert main(["report", root, "--out", str(tmp_path / name), "--resamples", "100"]) == 0
        tables.append((tmp_path / name / "report.md").read_text(encoding="utf-8"))
    assert tables[0] == tables[1]
    assert f"file://{kept}/absent: nothing is there" in said(["report", f"file://{kept}/absent"], capsys)


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err


def test_mistakes_name_the_url(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"file://{kept}/gymnast-Chain-v0"
    assert said(["evaluate", url], capsys) == f"gymnast: {url} is not a run folder: it has no config.json\n"
    assert said(["export", f"file://{kept}/absent"], capsys) == f"gymnast: file://{kept}/absent: nothing is there\n"
    assert said(["watch", "nowhere://a"], capsys).startswith("gymnast: nowhere://a: Protocol not known: nowhere")
    with pytest.raises(UsageError, match=f"^{url}/x.pt: nothing is there$"), near(f"{url}/x.pt"):
        pass


def test_runs_at_a_url_are_watched_as_they_go_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "Env" / "dqn" / "a", env="Env-v0", score=None)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").write_bytes(b"much")
    with opened(f"file://{tmp_path}") as runs:
        assert runs.refreshed()["Env/dqn/a"]["step"] == 100
        assert runs.name == f"file://{tmp_path}"
        assert not list(runs.root.rglob("*.pt"))
        with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"kind":"eval","env_step":150,"mean_return":7.0}\n')
        write_run(tmp_path / "Env" / "dqn" / "b", env="Env-v0", seed=1)
        runs._looked -= 100
        found = runs.refreshed()
        assert (list(found), found["Env/dqn/a"]["step"]) == (["Env/dqn/a", "Env/dqn/b"], 150)
