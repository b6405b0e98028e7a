"""Ape-X: actors in other processes bring each transition once, with its priority, and lost actors are replaced."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.experience.replay import layout_of
from gymnast.agents.value.actors import exploration
from gymnast.cli.main import main
from gymnast.envs.errors import EnvWarning
from gymnast.envs.factory import EnvLike
from gymnast.envs.rows.processes import WorkerError
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DevicePrioritized
from gymnast.replay.transitions import NStep
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.training.ape_x_loop import STEPS, ApeXLoop
from gymnast.training.parts import Parts
from gymnast.training.train import resume, train
from tests.inline_crew import InlineCrew
from tests.spawned import eventually, gone, spawned
from tests.test_async import started

SMALL = DQNConfig(actors=2, hidden_sizes=(16,), replay_size=4_000, learning_starts=100, actor_sync=64)


class Counting(gym.Env[NDArray[np.float32], int]):
    """Each observation names its environment, episode and step; episodes last 3 to 9 steps and end in either way."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self.episode = 0

    def _obs(self) -> NDArray[np.float32]:
        return np.array([self.name, self.episode, self.count], np.float32)

    def reset(self, **options: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(**options)
        if not self.episode:
            self.name = float(self.np_random.integers(1 << 20))
        self.episode, self.count, self.length = self.episode + 1, 0, int(self.np_random.integers(3, 10))
        return self._obs(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.count += 1
        ended = self.count == self.length
        return self._obs(), float(self.count), ended and self.length % 2 == 0, ended and self.length % 2 == 1, {}


@pytest.fixture
def made() -> Iterator[Callable[..., Parts]]:
    with ExitStack() as stack:

        def make(env: EnvLike, config: DQNConfig = SMALL, **changes: Any) -> Parts:
            id = env if isinstance(env, str) else "CartPole-v1"
            parts = Parts.make("dqn", TrainOptions(env=id, **changes), config, env=env, stack=stack)
            parts.env.reset()
            return parts

        yield make


def test_the_rows_explore_as_in_the_paper() -> None:
    """Horgan et al. 2018: epsilon 0.4 and alpha 7, by hand for four rows, and one row alone."""
    found = exploration(DQNConfig(actors=2), 4)
    assert found == pytest.approx([0.4, 0.4 ** (1 + 7 / 3), 0.4 ** (1 + 14 / 3), 0.4**8])
    assert exploration(DQNConfig(actors=1), 1) == pytest.approx([0.4])
    agent = DQN(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), DQNConfig(actors=2), num_envs=4)
    assert agent.scheduled()["epsilon"] == pytest.approx(found.mean())


def test_each_row_explores_by_its_own_epsilon() -> None:
    agent = DQN(spaces.Box(-1, 1, (3,)), spaces.Discrete(4), DQNConfig(hidden_sizes=(8,)), num_envs=2)
    actor = agent.predicting_actor(2, deterministic=False, seed=0)
    actor.row_epsilon = np.array([1.0, 0.0])
    obs, start = torch.ones(2, 3), torch.zeros(2, dtype=torch.bool)
    actions = torch.stack([actor.act(obs, start).action for _ in range(200)])
    assert set(actions[:, 0].tolist()) == {0, 1, 2, 3}
    assert set(actions[:, 1].tolist()) == {int(agent.q_values(obs)[1].argmax())}


def transitions(agent: DQN) -> list[tuple[Any, ...]]:
    """Every transition that may be sampled, sorted: observation, reward, discount, next observation."""
    replay: Any = agent.replay
    found = []
    for slot in np.flatnonzero(replay.ready):
        batch_index = np.array([slot])
        size = len(replay._index)
        replay.sampler.sample = lambda ready, count, index, weight, slot=batch_index: index.fill(slot[0])
        batch = replay.sample()
        assert size == len(batch.action)
        parts = batch.obs[0], batch.reward[0], batch.discount[0], batch.next_obs[0]
        found.append(tuple(np.concatenate([np.atleast_1d(part.numpy()) for part in parts]).tolist()))
    return sorted(found)


@pytest.mark.parametrize("n_step", [1, 3])
def test_every_transition_comes_once_and_whole(made: Callable[..., Parts], n_step: int) -> None:
    """The oracle is the environment's own rule: what follows each step, n steps on, by its name, episode and count."""
    config = replace(SMALL, n_step=n_step, learning_starts=10_000, gamma=0.5)
    parts = made(Counting, config, num_envs=2)
    loop = ApeXLoop(parts, InlineCrew())
    loop.advance(601, lambda: False)
    assert loop.env_step == 602  # 601 steps do not go into rows of two
    assert isinstance(parts.agent, DQN)
    found = transitions(parts.agent)
    assert len({step[:3] for step in found}) == len(found)  # none is there twice
    assert len({step[0] for step in found}) == 4  # two actors with two rows each
    assert len(found) >= 602 - 4 * (n_step - 1)
    ends = {step[5:8] for step in found if step[4] == 0.0}
    for name, episode, count, reward, discount, *after in found:
        steps = after[2] - count
        assert tuple(after[:2]) == (name, episode)
        assert 1 <= steps <= n_step
        assert reward == pytest.approx(sum(0.5**k * (count + k + 1) for k in range(int(steps))))
        assert discount in (0.0, 0.5**steps)
        assert (discount == 0.0) == (tuple(after) in ends)
        assert discount > 0.0 or after[2] % 2 == 0  # only even lengths are terminal
    assert loop.episodes.count > 50
    assert all(3 <= length <= 9 for length in loop.episodes.lengths)


def test_updates_and_env_steps_keep_their_ratio(made: Callable[..., Parts]) -> None:
    parts = made("gymnast/Catch-v0", replace(SMALL, train_period=4, updates_per_train=2))
    loop = ApeXLoop(parts, InlineCrew())
    loop.advance(500, lambda: False)
    assert (loop.env_step, parts.agent.updates) == (500, (500 - 100) // 4 * 2)
    assert loop.counts()["weights_age"] <= 2 * (64 + 2 * STEPS) // 4 * 2


@pytest.mark.parametrize("changes", [{}, {"double": True, "values": "categorical", "dueling": True}])
def test_first_priorities_are_those_of_the_learner(made: Callable[..., Parts], changes: dict[str, Any]) -> None:
    """While the learner has the weights that the actors have, its own errors give the same priorities."""
    config = replace(SMALL, n_step=3, prioritized=True, learning_starts=10_000, **changes)
    parts = made(Counting, config, num_envs=2)
    loop = ApeXLoop(parts, InlineCrew())
    loop.advance(400, lambda: False)
    agent: Any = parts.agent
    ready = np.flatnonzero(agent.replay.ready)
    found = agent.replay.sampler._order.masses[ready]
    expected = []
    for slot in ready:
        agent.replay.sampler.sample = lambda ready, count, index, weight, slot=slot: (index.fill(slot), weight.fill(1))
        error = agent.loss(agent.replay.sample(), None)[1][0]
        expected.append((float(error) + 1e-6) ** config.priority_alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(set(np.round(found, 6))) > 20


def test_first_priorities_reach_a_replay_on_the_device(made: Callable[..., Parts]) -> None:
    """The ring of a GPU, here on the CPU, gets the same transitions with the same priorities."""
    config = replace(SMALL, n_step=3, prioritized=True, learning_starts=10_000)
    loops = []
    for on_device in (False, True):
        parts = made(Counting, config, num_envs=2)
        agent: Any = parts.agent
        if on_device:
            sampler = DevicePrioritized(torch.Generator(), alpha=config.priority_alpha, beta=agent.beta)
            shape = {"size": config.replay_size, "num_envs": 4, "batch_size": config.batch_size}
            layout = layout_of(config, agent.observation_space)
            agent.replay = DeviceRing(layout, sampler, NStep(3, config.gamma), device=agent.device, **shape)
        loops.append(ApeXLoop(parts, InlineCrew()))
        loops[-1].advance(400, lambda: False)
    ring, other = (loop.agent.replay for loop in loops)  # type: ignore[attr-defined]
    ready = np.flatnonzero(ring.ready)
    assert np.array_equal(ready, np.flatnonzero(other.ready.numpy()[: ring.slots]))
    np.testing.assert_array_equal(ring.action[ready], other.action.numpy()[ready])
    masses = other.sampler.state_dict()["priority"].numpy()
    np.testing.assert_allclose(ring.sampler._order.masses[ready], masses[ready], rtol=1e-5)


def test_a_lost_actor_is_replaced_and_nothing_is_stored_twice(made: Callable[..., Parts]) -> None:
    """Its answer is dropped and counted; the next one has other episodes and the same exploration."""
    parts = made(Counting, replace(SMALL, n_step=3, learning_starts=10_000))
    crew = InlineCrew(lose=lambda number, asked: asked in (5, 8))
    loop = ApeXLoop(parts, crew)
    with pytest.warns(EnvWarning, match="member [01] was killed: replaced; 32 env steps asked of it are dropped"):
        loop.advance(640, lambda: False)
    assert crew.started[:2] == [0, 1]
    assert len(crew.started) == 4
    assert loop.env_step == 640
    assert (loop.counts()["actors_lost"], loop.counts()["steps_dropped"]) == (2, 2 * STEPS)
    agent: Any = parts.agent
    found = transitions(agent)
    assert len({step[:3] for step in found}) == len(found)
    assert len({step[0] for step in found}) == 4  # two actors and two that replaced them
    for step in found:
        assert step[:2] == step[5:7]  # no window runs from one actor's episode into another's
    epsilons = [crew.members[number].actor.row_epsilon for number in (0, 1)]  # type: ignore[attr-defined]
    assert np.concatenate(epsilons) == pytest.approx([0.4, 0.4**8])


def test_an_answer_that_comes_again_is_refused(made: Callable[..., Parts]) -> None:
    class Repeating(InlineCrew):
        def answers(self, timeout: float) -> list[tuple[int, Any]]:
            answers = super().answers(timeout)
            for number, answer in answers:
                self.kept = getattr(self, "kept", {})
                answers = [(number, self.kept.setdefault(number, answer))]
            return answers

    loop = ApeXLoop(made(Counting), Repeating())
    with pytest.raises(WorkerError, match="actors number 0 brought 32 steps from step 0 on, where 32 from step 32 on"):
        loop.advance(300, lambda: False)
    assert loop.env_step == 2 * STEPS


def test_an_actor_that_is_lost_before_its_first_answer_stops_the_run(made: Callable[..., Parts]) -> None:
    loop = ApeXLoop(made(Counting), InlineCrew(lose=lambda number, asked: True))
    with pytest.raises(WorkerError, match="member 0 was killed"):
        loop.advance(300, lambda: False)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("rainbow", {}),
        ("r2d2", {"burn_in": 2, "sequence_length": 4, "sequence_period": 2}),
        ("dqn", {"bootstrap_heads": 3, "prioritized": True}),
        ("dqn", {"values": "implicit", "quantiles": 4, "prioritized": True, "priority": "rank", "munchausen": True}),
        ("dqn", {"noisy": True, "prioritized": True, "act_by_target": True}),
    ],
)
def test_relatives_of_dqn_learn_from_actors(made: Callable[..., Parts], name: str, changes: dict[str, Any]) -> None:
    own = {"actors": 2, "hidden_sizes": (8,), "replay_size": 2_000, "learning_starts": 100, "batch_size": 8}
    config = replace(agents.default_config(name), **(own | changes))
    loop = ApeXLoop(made("gymnast/Catch-v0", config), InlineCrew())
    loop.advance(200, lambda: False)
    assert loop.env_step == 200
    assert loop.agent.updates == loop.agent.updates_due(200) + loop.agent.updates > 0
    assert torch.isfinite(loop.metrics["loss"])


class Boards(gym.Env[dict[str, Any], int]):
    """A dictionary of observations, with masks of allowed actions, and lives."""

    observation_space = spaces.Dict({"a": spaces.Box(0, 1, (2,)), "b": spaces.Discrete(5)})
    action_space = spaces.Discrete(3, start=1)

    def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(**options)
        self.count = 0
        return self._obs(), {"action_mask": np.array([1, 1, 0], np.int8)}

    def _obs(self) -> dict[str, Any]:
        return {"a": np.full(2, self.count / 5, np.float32), "b": np.int64(self.count % 5)}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        assert action in (1, 2)
        self.count += 1
        return self._obs(), 1.0, self.count == 5, False, {"action_mask": np.array([1, 1, 0], np.int8)}


def test_dictionaries_and_masks_arrive(made: Callable[..., Parts]) -> None:
    loop = ApeXLoop(made(Boards, replace(SMALL, prioritized=True)), InlineCrew())
    loop.advance(200, lambda: False)
    agent: Any = loop.agent
    batch = agent.replay.sample()
    ready = agent.replay.ready
    assert agent.replay.mask[ready][:, :2].all()
    assert not agent.replay.mask[ready][:, 2].any()
    assert set(agent.replay.action[ready]) == {0, 1}
    torch.testing.assert_close(batch.obs["a"][:, 0], batch.obs["b"].float() / 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dqn --actors -1", "--actors must be >= 0, got -1"),
        ("dqn --actors 2 --actor-sync 0", "--actor-sync must be >= 1, got 0"),
        ("dqn --actors 2 --actor-epsilon 0", "--actor-epsilon must be > 0 and <= 1, got 0.0"),
        ("dqn --actors 2 --actor-alpha -1", "--actor-alpha must be >= 0, got -1.0"),
        ("dqn --actor-sync 10", "--actor-sync 10 has no effect without --actors"),
        ("dqn --actors 2 --epsilon 0.1", "--epsilon 0.1 has no effect with --actors"),
        ("rainbow --actors 2 --actor-epsilon 0.1", "--actor-epsilon 0.1 has no effect with --noisy"),
        ("dqn --actors 2 --intrinsic rnd", "intrinsic rnd cannot be combined with actors"),
        ("dqn --actors 2 --overlap", "overlap cannot be combined with actors"),
        ("dqn --actors 2 --vectorization async", "vectorization async cannot be combined with actors"),
        ("dqn --actors 2 --exact-resume", "exact_resume cannot be combined with actors"),
        ("dqn --actors 2 --profile", "profile cannot be combined with actors, which act in other processes"),
        ("dqn --actors 2 --seeds 0:2", "actors 2 cannot be used in a population"),
        ("dqn --ray local", "ray local has no effect without learners, actors, workers or seeds"),
        ("dqn --ray ", "--ray must be local or the address of a cluster, got ''"),
        ("ppo --actors 2", "train ppo has no option --actors"),
    ],
)
def test_wrong_options(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = re.sub(r"--ray $", "--ray=", words).split()
    assert main(["train", given[0], "--env", "CartPole-v1", "--out", str(tmp_path / "out"), *given[1:]]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# With processes.


@pytest.mark.slow
def test_it_learns_to_catch_and_resumes(tmp_path: Path) -> None:
    config = replace(SMALL, hidden_sizes=(64,), learning_rate=1e-3, prioritized=True, n_step=3, double=True)
    config = replace(config, train_period=2, target_period=200)
    options = TrainOptions(
        env="gymnast/Catch-v0", steps=5_000, video=False, out=str(tmp_path), name="run", eval_episodes=50
    )
    result = train("dqn", options, config)
    assert (result.exit_code, result.env_step) == (0, 5_000)
    assert result.final is not None
    assert result.final.mean_return > 0.9
    records = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if record["kind"] == "train"][-1]
    assert (last["updates"], last["actors_lost"], last["steps_dropped"]) == ((5_000 - 100) // 2, 0, 0)
    assert last["episodes"] == pytest.approx(5_000 / 9, abs=4)
    again = resume(result.path, steps=5_400)
    assert (again.exit_code, again.env_step) == (0, 5_400)


@pytest.mark.slow
def test_a_killed_actor_is_replaced_and_a_signal_leaves_a_resumable_run(tmp_path: Path) -> None:
    process, path = started(tmp_path, agent="dqn", processes="actors")
    first = spawned(process)
    assert len(first) == 2
    first[0].kill()
    eventually(lambda: (path / "metrics.jsonl").read_text().count('"actors_lost":1') > 1)
    second = spawned(process)
    assert len(second) == 2
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"dqn actor 0 (pid {first[0].pid}) was killed by SIGKILL (out of memory?): replaced" in text
    eventually(lambda: gone([*first, *second]))
    kept = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    again = resume(path, steps=kept["env_step"] + 3_000)
    assert again.exit_code == 0


@pytest.mark.slow
@pytest.mark.long
def test_it_solves_cartpole(tmp_path: Path) -> None:
    words = ["train", "dqn", "--env", "CartPole-v1", "--preset", "cartpole", "--actors", "2", "--actor-sync", "64"]
    words += ["--double", "--stop-return", "475", "--no-video", "--name", "run", "--out", str(tmp_path)]
    assert main(words) == 0
    records = [json.loads(line) for line in next(tmp_path.glob("*/*/run/metrics.jsonl")).read_text().splitlines()]
    assert records[-1]["mean_return"] >= 475
