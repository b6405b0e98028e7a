"""Policy searches whose candidates are played by workers: one run, whoever plays, and whoever is lost."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import EvolutionStrategies, EvolutionStrategiesConfig
from gymnast.cli.main import main
from gymnast.envs.errors import EnvWarning
from gymnast.envs.rows.processes import WorkerError
from gymnast.evaluation.environment import make_env
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.training.parts import Parts
from gymnast.training.search_loop import KEPT, SearchLoop
from gymnast.training.search_worker import episode_seed
from gymnast.training.train import resume, train
from tests.inline_crew import InlineCrew

SEARCHES = ("es", "ga", "hill-climbing")
ES = EvolutionStrategiesConfig(workers=2, population_size=6, hidden_sizes=(4,))
CHANGES: dict[str, dict[str, Any]] = {
    "es": {"population_size": 6},
    "ga": {"population_size": 6, "parents": 2, "elite_candidates": 2, "episodes": 2},
    "hill-climbing": {"population_size": 3},
}


def config_of(name: str, workers: int) -> Any:
    return type(agents.default_config(name))(workers=workers, hidden_sizes=(4,), **CHANGES[name])


@pytest.fixture
def run() -> Iterator[Callable[..., SearchLoop]]:
    with ExitStack() as stack:

        def begin(name: str, workers: int, crew: InlineCrew, **changes: Any) -> SearchLoop:
            options = TrainOptions(env="CartPole-v1", **changes)
            parts = Parts.make(name, options, config_of(name, workers), env=None, stack=stack)
            parts.env.reset()
            return SearchLoop(parts, crew)

        yield begin


def never() -> bool:
    return False


def learned(loop: SearchLoop) -> bytes:
    return pickle.dumps([loop.agent.parameters.numpy(), loop.env_step, loop.agent.updates, list(loop.episodes.returns)])


class Shuffled(InlineCrew):
    """Members answer in an order of chance."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def answers(self, timeout: float) -> list[tuple[int, Any]]:
        self.rng.shuffle(self.asked)  # type: ignore[arg-type]
        return super().answers(timeout)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_run_does_not_depend_on_who_plays(run: Callable[..., SearchLoop], name: str) -> None:
    loops = [run(name, 1, InlineCrew()), run(name, 3, Shuffled(0)), run(name, 3, Shuffled(1))]
    for loop in loops:
        loop.advance(2_000, never)
    assert loops[0].agent.updates >= 2
    assert len({learned(loop) for loop in loops}) == 1


def test_a_round_by_hand(run: Callable[..., SearchLoop]) -> None:
    """The first generation of ES: each candidate's episode played alone by its seed, and the update from the ranks."""
    loop = run("es", 2, InlineCrew(), seed=3)
    agent: Any = loop.agent
    candidates = [agent.candidate(index).clone() for index in range(6)]
    twin: Any = type(agent)(
        agent.observation_space, agent.action_space, config_of("es", 0), seed=np.random.SeedSequence(3).spawn(6)[1]
    )
    twin.propose()
    returns = []
    env = make_env("CartPole-v1", 1)
    for number, candidate in enumerate(candidates):
        assert torch.equal(candidate, twin.candidate(number))
        env.reset(episode_seeds=[episode_seed(3, 0, number)])
        obs, total = env.obs, 0.0
        while True:
            step = env.step(twin.choose(twin.network(candidate, obs), None))
            total, obs = total + float(step.reward), step.obs
            if step.num_ended:
                break
        returns.append(total)
    env.close()
    loop.advance(int(sum(returns)), never)  # a step of CartPole pays 1
    assert (loop.env_step, agent.updates) == (sum(returns), 1)
    assert list(loop.episodes.returns) == returns
    twin.env_step = loop.env_step
    twin.select(torch.tensor(returns, dtype=torch.float64))
    assert torch.equal(agent.parameters, twin.parameters)


def test_only_seeds_and_returns_travel(run: Callable[..., SearchLoop]) -> None:
    """The state goes once to each worker; then a round is its returns."""

    class Watched(InlineCrew):
        def ask(self, number: int, request: Any, handed: Any = None) -> None:
            seen.append((number, request, handed))
            super().ask(number, request, handed)

    seen: list[tuple[int, Any, Any]] = []
    crew = Watched()
    loop = run("es", 2, crew)
    loop.advance(1_500, never)
    assert [number for number, _, given in seen if given is not None] == [0, 1]
    later = [request for _, request, _ in seen if request.ended]
    assert len(later) > 5
    assert all(len(ended.returns) == 6 for request in later for ended in request.ended)
    assert max(len(pickle.dumps(request)) for request in later) < 1_000


def test_a_lost_worker_changes_nothing(run: Callable[..., SearchLoop]) -> None:
    whole, torn = run("es", 2, InlineCrew()), run("es", 2, InlineCrew(lose=lambda number, asked: asked in (9, 20)))
    whole.advance(1_000, never)
    with pytest.warns(EnvWarning, match="member [01] was killed: replaced; its episodes are played again"):
        torn.advance(1_000, never)
    assert learned(whole) == learned(torn)


def test_a_worker_that_missed_many_rounds_gets_the_whole_state(run: Callable[..., SearchLoop]) -> None:
    class Slow(InlineCrew):
        """The second worker answers last."""

        def answers(self, timeout: float) -> list[tuple[int, Any]]:
            self.asked.sort(key=lambda waiting: waiting[0])
            return super().answers(timeout)

    loop, alone = run("hill-climbing", 2, Slow()), run("hill-climbing", 1, InlineCrew())
    loop._knows, loop._ended = [None, None], {}
    loop._start()
    loop._knows[1] = -KEPT  # as after many rounds without a request
    for each in (loop, alone):
        each.advance(600, never)
    assert learned(loop) == learned(alone)


def test_other_candidates_are_found_out(run: Callable[..., SearchLoop]) -> None:
    """A worker that rounds differently gets the state; one that still does stops the run."""
    whole, crew = run("es", 1, InlineCrew()), InlineCrew()
    whole.advance(1_000, never)
    loop = run("es", 1, crew)
    loop.advance(200, never)
    member: Any = crew.members[0]
    member.agent.centre.data.add_(1e-6)
    loop.advance(1_000, never)
    assert learned(loop) == learned(whole)
    member.agent.candidate = lambda index: loop.agent.candidate(index) + 1e-6
    with pytest.raises(WorkerError, match="worker 0 makes other candidates from the same state"):
        loop.advance(2_000, never)


@pytest.mark.slow
def test_it_resumes_exactly(tmp_path: Path) -> None:
    """With processes: 2N steps are N, stop, and N more, byte for byte; and so are those of one worker with two rows."""
    results = {}
    for name, workers, parts in (("whole", 2, [900]), ("halves", 1, [450, 900])):
        options = TrainOptions(
            env="CartPole-v1",
            steps=parts[0],
            video=False,
            out=str(tmp_path),
            name=name,
            log_every=300,
            eval_every=450,
            eval_episodes=2,
        )
        result = train("es", options, config_of("es", workers))
        for steps in parts[1:]:
            # its final evaluation is not part of the whole run's log
            result = resume(result.path, steps=steps)
        records = (result.path / "metrics.jsonl").read_text().splitlines()
        results[name] = [line for line in records if '"kind":"final"' not in line], records[-1]
    assert results["whole"] == results["halves"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("es --workers -1", "--workers must be >= 0, got -1"),
        ("es --workers 2 --overlap", "overlap cannot be combined with workers"),
        ("ga --workers 2 --profile", "profile cannot be combined with workers, which train in other processes"),
        ("es --ray local", "ray local has no effect without learners, actors, workers or seeds"),
        (
            "es --workers 2 --vectorization native",
            "workers need an environment with seeded episodes",
        ),
    ],
)
def test_wrong_options(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent, *given = words.split()
    assert main(["train", agent, "--env", "CartPole-v1", "--out", str(tmp_path / "out"), *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_agent_without_rows_of_its_own_counts_episodes_in_order() -> None:
    agent = EvolutionStrategies(spaces.Box(-1, 1, (2,)), spaces.Discrete(2), ES)
    agent.propose()
    for number in range(6):
        assert agent.trials.ended == number
        agent.played(float(number), 10)
    assert (agent.updates_due(60), agent.env_step) == (1, 60)
    assert agent.trials.fitness().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
