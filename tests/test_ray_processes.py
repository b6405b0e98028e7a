"""Actors and workers on a Ray cluster: as those of this machine, and lost ones are replaced."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gymnast.cli.main import main
from gymnast.envs.rows.processes import WorkerError
from gymnast.settings.options import TrainOptions
from gymnast.training.crew import Lost
from gymnast.training.gradient_loop import GradientLoop
from gymnast.training.parts import Parts
from tests.inline_crew import InlineCrew
from tests.test_async import FAST


def test_a_gradient_of_a_worker_is_a_step_of_the_learner() -> None:
    """The first step of SGD is minus the learning rate times the gradient of the first rollout."""
    with ExitStack() as stack:
        config = replace(FAST, workers=1, optimizer="sgd", optimizer_eps=None, learning_rate=0.1)
        parts = Parts.make("a3c", TrainOptions(env="gymnast/Catch-v0"), config, env=None, stack=stack)
        parts.env.reset()
        loop = GradientLoop(parts, InlineCrew())
        agent: Any = parts.agent
        before = agent.weights.data.clone()
        loop.advance(5, lambda: False)
        (member,) = loop.crew.members.values()  # type: ignore[attr-defined]
        twin = member.agent
        assert torch.equal(twin.weights.data, before)  # it takes no step itself
        step = -0.1 * torch.from_numpy(member._gradient)
        torch.testing.assert_close(agent.weights.data, before + step)
        assert step.abs().max() > 0.0
        loop.advance(200, lambda: False)
        assert (loop.env_step, agent.updates) == (200, 40)
        assert loop.episodes.count == 200 // 9
        assert loop.counts()["weights_age"] <= 2


ray: Any = pytest.importorskip("ray")


class Member:
    """Answers with its process, or ends it."""

    def answer(self, request: str, handed: Any) -> Any:
        if request == "end":
            os.kill(os.getpid(), signal.SIGKILL)
        if request == "fail":
            raise ValueError("no such thing\nat all")
        return os.getpid(), None if handed is None else float(handed.sum())

    def close(self) -> None: ...


@pytest.fixture
def crew() -> Iterator[Any]:
    from gymnast.training.ray_crew import RayCrew

    made = RayCrew("a3c worker", "local", 2)
    yield made
    made.close()


def answer(crew: Any, number: int, request: str, handed: Any = None) -> Any:
    crew.ask(number, request, handed)
    while not (found := crew.answers(1.0)):
        pass
    assert [who for who, _ in found] == [number]
    return found[0][1]


@pytest.mark.slow
def test_a_member_of_a_cluster(crew: Any) -> None:
    """It answers, is lost when its process ends, and another takes its place; its own error is not a loss."""
    crew.start(0, Member)
    before, total = answer(crew, 0, "sum", crew.publish(np.ones(1_000)))
    assert (total, before != os.getpid()) == (1_000.0, True)
    lost = answer(crew, 0, "end")
    assert isinstance(lost, Lost)
    assert lost.cause.startswith("a3c worker 0 on the cluster is lost (")
    crew.start(0, Member)
    assert answer(crew, 0, "sum")[0] not in (before, os.getpid())
    with pytest.raises(WorkerError, match=r"a3c worker 0 on the cluster stopped by ValueError: no such thing$"):
        answer(crew, 0, "fail")


def words(agent: str, out: Path, name: str, *more: str) -> list[str]:
    plain = ["train", agent, "--env", "CartPole-v1", "--no-video", "--out", str(out), "--name", name]
    return [*plain, "--log-every", "300", "--eval-episodes", "2", *more]


@pytest.mark.slow
@pytest.mark.long
def test_es_is_the_same_run_on_a_cluster(tmp_path: Path) -> None:
    changes = ["--steps", "900", "--population-size", "6", "--hidden-sizes", "4", "--workers", "2"]
    assert main(words("es", tmp_path, "here", *changes)) == 0
    assert main(words("es", tmp_path, "there", *changes, "--ray", "local")) == 0
    here, there = ((tmp_path / "CartPole-v1" / "es" / name) for name in ("here", "there"))
    assert (here / "metrics.jsonl").read_bytes() == (there / "metrics.jsonl").read_bytes()
    first, second = (torch.load(path / "checkpoints" / "best.pt", weights_only=True) for path in (here, there))
    assert torch.equal(first["agent"]["centre"], second["agent"]["centre"])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("agent", ["a3c", "dqn"])
def test_a_run_on_a_cluster(agent: str, tmp_path: Path) -> None:
    changes = ["--workers", "2"] if agent == "a3c" else ["--actors", "2", "--prioritized", "--n-step", "3"]
    assert main(words(agent, tmp_path, "run", "--steps", "2000", *changes, "--ray", "local")) == 0
    path = tmp_path / "CartPole-v1" / agent / "run"
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [record["env_step"] for record in records if record["kind"] == "final"] == [2_000]
    assert main(["resume", str(path), "--steps", "2500"]) == 0


@pytest.mark.slow
@pytest.mark.long
def test_no_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = words("es", tmp_path, "run", "--workers", "1000", "--ray", "local")
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("gymnast: --ray local: the cluster has a CPU for ")
    assert said.endswith(" processes, 1000 are asked for\n")


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(words("es", tmp_path, "run", "--workers", "2", "--ray", "local")) == 2
    assert capsys.readouterr().err == 'gymnast: --ray needs ray: pip install "gymnast[ray]"\n'
    assert list(tmp_path.iterdir()) == []
