"""Hindsight: its goals, rewards and discounts against whole episodes kept naively, and what agents learn by it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast import TrainOptions, resume, train
from gymnast.agents import OffPolicyActorCritic, OffPolicyActorCriticConfig
from gymnast.cli.main import main
from gymnast.envs import make
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DeviceUniform
from gymnast.replay.hindsight import GoalRewards, Hindsight, Strategy
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Uniform
from gymnast.replay.transitions import NStep
from gymnast.training.threads import measure
from tests.test_resume import last_state, same

GAMMA = 0.9
BATCH = 64
PLACE = spaces.Box(-np.inf, np.inf, (2,), np.float32)
SPACE = spaces.Dict(observation=PLACE, achieved_goal=PLACE, desired_goal=PLACE)
STRATEGIES: tuple[Strategy, ...] = ("final", "future", "episode")


def reward_of(achieved: Any, desired: Any) -> Any:
    """Some function of the goals, exact in float32."""
    return (3 * achieved[..., 0] + desired[..., 1]) % 7 - 3


def over_of(achieved: Any, desired: Any) -> Any:
    return (achieved[..., 0] + desired[..., 1]) % 4 == 1


def with_ends(achieved: Tensor, desired: Tensor) -> tuple[Tensor, Tensor | None]:
    return reward_of(achieved, desired), over_of(achieved, desired)


def without_ends(achieved: Tensor, desired: Tensor) -> tuple[Tensor, Tensor | None]:
    return reward_of(achieved, desired), None


@dataclass
class Row:
    """An observation, and the action that followed it if one did."""

    achieved: float
    desired: float
    episode: int
    acted: bool = False
    ends: bool = False
    """Nothing of the episode follows after the action, or nobody knows it."""
    terminated: bool = False


@dataclass
class World:
    """N streams of episodes with random ends, and everything that they gave, by stream."""

    num_envs: int
    ends: bool
    seed: int = 0
    count: int = 0
    episodes: int = 0
    streams: list[list[Row]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.now = [self.begin() for _ in range(self.num_envs)]
        self.streams = [[] for _ in range(self.num_envs)]
        self.fresh = [True] * self.num_envs
        self.obs = self.batch(self.now)

    def begin(self) -> Row:
        self.episodes += 1
        return Row(self.number(), -self.number(), self.episodes)

    def number(self) -> int:
        self.count += 1
        return self.count

    @staticmethod
    def batch(rows: list[Row]) -> dict[str, Tensor]:
        def leaf(numbers: list[float]) -> Tensor:
            return torch.tensor([[number, 2 * number] for number in numbers], dtype=torch.float32)

        achieved, desired = leaf([row.achieved for row in rows]), leaf([row.desired for row in rows])
        return {"observation": achieved + 0.5, "achieved_goal": achieved, "desired_goal": desired}

    def reset_outside(self) -> None:
        """As if somebody reset one row between two steps."""
        row = int(self.rng.integers(self.num_envs))
        if self.streams[row] and not self.fresh[row]:
            self.streams[row][-2].ends = True
        self.now[row], self.fresh[row] = self.begin(), True
        self.obs = self.batch(self.now)

    def step(self, replay: Hindsight) -> None:
        active = self.rng.random(self.num_envs) < 0.9
        after = []
        for row, now in enumerate(self.now):
            if not active[row]:
                after.append(now)
                continue
            if self.fresh[row]:
                self.streams[row].append(now)
            successor = Row(self.number(), now.desired, now.episode)
            pair = np.array([successor.achieved]), np.array([0, 2 * now.desired])
            now.terminated = bool(over_of(*pair)) if self.ends else bool(self.rng.random() < 0.1)
            now.acted, now.ends = True, now.terminated or bool(self.rng.random() < 0.1)
            self.streams[row].append(successor)
            after.append(successor)
        next_obs = self.batch(after)
        ended = [bool(active[row]) and now.ends for row, now in enumerate(self.now)]
        terminated = [bool(active[row]) and now.terminated for row, now in enumerate(self.now)]
        self.fresh = [ended[row] or (self.fresh[row] and not active[row]) for row in range(self.num_envs)]
        self.now = [self.begin() if ended[row] else after[row] for row in range(self.num_envs)]
        following = self.batch(self.now)
        replay.add(
            self.obs,
            torch.zeros(self.num_envs, dtype=torch.int64),
            reward=reward_of(next_obs["achieved_goal"], next_obs["desired_goal"]),
            terminated=torch.tensor(terminated),
            truncated=torch.tensor(ended) & ~torch.tensor(terminated),
            next_obs=next_obs,
            following=following,
            active=torch.from_numpy(active),
        )
        self.obs = following


def build(
    world: World, strategy: Strategy, *, n: int, rows: int, ratio: float = 0.8, device: bool = False
) -> Hindsight:
    sizes: dict[str, Any] = {"size": rows * world.num_envs, "num_envs": world.num_envs, "batch_size": BATCH}
    rewards: GoalRewards = with_ends if world.ends else without_ends
    layout, transitions = Layout(SPACE), NStep(n, GAMMA)
    ring: Ring | DeviceRing
    if device:
        sampler = DeviceUniform(torch.Generator().manual_seed(1))
        ring = DeviceRing(layout, sampler, transitions, **sizes, device=torch.device("cpu"))
    else:
        ring = Ring(layout, Uniform(np.random.default_rng(1)), transitions, **sizes)
    generator = torch.Generator().manual_seed(2)
    return Hindsight(ring, rewards, strategy=strategy, ratio=ratio, generator=generator)


def window(rows: list[Row], at: int, n: int, goal: float | None, *, ends: bool) -> tuple[float, float, Row] | None:
    """Return, discount and last observation of n steps on from a row; None if they are not complete yet."""
    total = 0.0
    for power in range(n):
        row = rows[at + power]
        if not row.acted:
            return None
        reached, wanted = np.array([rows[at + power + 1].achieved]), rows[at].desired if goal is None else goal
        pair = reached, np.array([0, 2 * wanted])
        total += GAMMA**power * float(reward_of(*pair))
        over = bool(over_of(*pair)) if ends and goal is not None else row.terminated
        if over or row.ends or power == n - 1:
            # A window that a goal ends earlier than the stored one still has the successor of that one.
            end = at + power + 1
            while not rows[end - 1].ends and end < at + n:
                if not rows[end].acted:
                    return None
                end += 1
            return total, 0.0 if over else GAMMA ** (power + 1), rows[end]
    raise AssertionError


def allowed(world: World, strategy: Strategy, *, n: int, rows: int) -> dict[float, list[float]]:
    """The goals of each transition that can be sampled, both by what was achieved there."""
    found: dict[float, list[float]] = {}
    for stream in world.streams:
        kept = stream[-rows:]
        for at, row in enumerate(kept):
            if not row.acted or window(kept, at, n, None, ends=world.ends) is None:
                continue
            own = [place for place, other in enumerate(kept) if other.episode == row.episode]
            after = {"future": at, "episode": own[0], "final": own[-1] - 1}[strategy]
            found[row.achieved] = [kept[place].achieved for place in own if place > after]
    return found


CASES = [(1, 1, False, False), (1, 1, True, False), (3, 1, True, False), (2, 3, False, True), (2, 3, True, True)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("num_envs", "n", "ends", "device"), CASES)
def test_goals_are_those_of_the_episode_uniformly(
    strategy: Strategy, num_envs: int, n: int, ends: bool, device: bool
) -> None:
    rows, ratio = 17, 0.7
    world = World(num_envs, ends)
    replay = build(world, strategy, n=n, rows=rows, ratio=ratio, device=device)
    for _ in range(60):
        world.step(replay)
    expected = allowed(world, strategy, n=n, rows=rows)
    assert max(map(len, expected.values())) > (1 if strategy != "final" else 0)
    counts: dict[tuple[float, float], int] = {}
    drawn = kept = 0
    for _ in range(400):
        batch = replay.sample()
        pairs = zip(batch.obs["achieved_goal"][:, 0].tolist(), batch.obs["desired_goal"][:, 0].tolist(), strict=True)
        for row, goal in pairs:
            drawn += 1
            if goal < 0:
                kept += 1
            else:
                counts[row, goal] = counts.get((row, goal), 0) + 1
    cells = {(row, goal): 1 / len(goals) / len(expected) for row, goals in expected.items() for goal in goals}
    assert counts.keys() <= cells.keys()
    total, free = sum(counts.values()), len(cells) - 1
    squares = sum((counts.get(cell, 0) - share * total) ** 2 / (share * total) for cell, share in cells.items())
    assert squares < free + 4 * (2 * free) ** 0.5  # chi-square has the mean `free` and twice as much variance
    assert abs(kept / drawn - (1 - ratio)) < 4 * (ratio * (1 - ratio) / drawn) ** 0.5


@pytest.mark.parametrize("device", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rewards_and_discounts_are_those_of_the_goals(strategy: Strategy, device: bool) -> None:
    """Random sizes, ends, pauses and resets from outside, from the first step to long after the ring is full."""
    rng, changed = np.random.default_rng(3), 0
    for seed in range(12):
        num_envs, n, ends = int(rng.integers(1, 4)), int(rng.integers(1, 5)), bool(rng.integers(2))
        rows = int(rng.integers(n + 4, 25))
        world = World(num_envs, ends, seed)
        replay = build(world, strategy, n=n, rows=rows, device=device)
        for _ in range(int(rng.integers(5, 90))):
            world.step(replay)
            if rng.random() < 0.05:
                world.reset_outside()
        expected = allowed(world, strategy, n=n, rows=rows)
        if not expected:
            continue
        place = {
            row.achieved: (stream[-rows:], at) for stream in world.streams for at, row in enumerate(stream[-rows:])
        }
        batch = replay.sample()
        for sample in range(BATCH):
            row, goal = (float(batch.obs[name][sample, 0]) for name in ("achieved_goal", "desired_goal"))
            kept, at = place[row]
            other = goal > 0
            assert not other or goal in expected[row]
            found = window(kept, at, n, goal if other else None, ends=ends)
            assert found is not None
            total, discount, last = found
            assert float(batch.reward[sample]) == pytest.approx(total, abs=1e-5)
            assert float(batch.discount[sample]) == pytest.approx(discount, abs=1e-6)
            assert float(batch.next_obs["achieved_goal"][sample, 0]) == last.achieved
            assert batch.next_obs["desired_goal"][sample].tolist() == [goal, 2 * goal]
            assert batch.obs["desired_goal"][sample].tolist() == [goal, 2 * goal]
            changed += other
    assert changed > 300


def memory(replay: Hindsight) -> str:
    arrays = replay.ring.state_dict()["arrays"]
    return hashlib.sha256(b"".join(array.numpy().tobytes() for array in arrays.values())).hexdigest()


def test_memory_does_not_change() -> None:
    world = World(2, True)
    replay = build(world, "future", n=2, rows=30)
    for _ in range(80):
        world.step(replay)
    before = memory(replay)
    for _ in range(50):
        replay.sample()
    assert memory(replay) == before
    world.step(replay)
    assert memory(replay) != before


@pytest.mark.parametrize("device", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_saved_replay_goes_on_with_the_same_goals(strategy: Strategy, device: bool) -> None:
    for steps in (7, 40, 101):
        world = World(3, True, seed=steps)
        replay, other = (build(world, strategy, n=2, rows=21, device=device) for _ in range(2))
        for _ in range(steps):
            world.step(replay)
        other.load_state_dict(replay.state_dict())
        script = World(3, True, seed=99)
        again = World(3, True, seed=99)
        for _ in range(40):
            script.step(replay)
            again.step(other)
            one, two = replay.sample(), other.sample()
            for name in ("reward", "discount", "index"):
                assert torch.equal(getattr(one, name), getattr(two, name))
            assert torch.equal(one.obs["desired_goal"], two.obs["desired_goal"])


def test_what_was_saved_without_hindsight_is_refused() -> None:
    replay = build(World(1, True), "future", n=1, rows=20)
    with pytest.raises(ValueError, match="the saved replay was kept without hindsight"):
        replay.load_state_dict(replay.ring.state_dict())


def test_observations_without_goals_are_refused() -> None:
    ring = Ring(Layout(PLACE), Uniform(np.random.default_rng(0)), NStep(1, GAMMA), size=20, num_envs=1, batch_size=4)
    with pytest.raises(ValueError, match="hindsight needs observations with the keys achieved_goal and desired_goal"):
        Hindsight(ring, with_ends, strategy="future", ratio=0.8, generator=torch.Generator())


def test_rewards_that_do_not_depend_on_the_goals_alone_are_refused() -> None:
    for rewards, message in (
        (lambda a, d: (reward_of(a, d) + 1, None), "a step gave the reward .* and terminated .*, compute_reward .*"),
        (lambda a, d: (reward_of(a, d), ~over_of(a, d)), "compute_reward .* and compute_terminated "),
    ):
        world = World(2, True)
        replay = build(world, "future", n=1, rows=20)
        replay.rewards = rewards
        with pytest.raises(ValueError, match=message) as error:
            world.step(replay)
        assert "\n" not in str(error.value)


QUICK = OffPolicyActorCriticConfig(
    hindsight="future",
    gamma=0.9,
    learning_rate=3e-3,
    batch_size=128,
    hidden_sizes=(32, 32),
    tau=0.05,
    learning_starts=1_000,
    train_period=4,
    replay_size=20_000,
)
QUIET: dict[str, Any] = {"env": "gymnast/Reach-v0", "video": False, "eval_every": 0, "log_every": 500, "name": "run"}


def score(path: Path, config: OffPolicyActorCriticConfig, steps: int, **options: Any) -> float:
    """The mean return of a SAC in Reach after so many steps; -50 is that of never being at the goal."""
    chosen = TrainOptions(**QUIET, steps=steps, out=str(path), eval_episodes=40, **options)
    final = train("sac", chosen, config).final
    assert final is not None
    return final.mean_return


def test_with_hindsight_it_learns_where_without_it_does_not(tmp_path: Path) -> None:
    how: dict[str, Any] = {"num_envs": 16, "native": True, "env_options": '{"tolerance": 0.05}'}
    assert score(tmp_path / "with", QUICK, 5_000, **how) > -30.0
    assert score(tmp_path / "without", replace(QUICK, hindsight="none"), 5_000, **how) < -45.0


LONGER = replace(QUICK, gamma=0.95, learning_rate=1e-3, train_period=1, learning_starts=500, tau=0.02)


@pytest.mark.long
@pytest.mark.parametrize(
    ("strategy", "policy"), [*((name, "stochastic") for name in STRATEGIES), ("future", "deterministic")]
)
def test_every_strategy_solves_reach(tmp_path: Path, strategy: Strategy, policy: Any) -> None:
    config = replace(LONGER, hindsight=strategy, policy=policy, exploration_noise=0.2)
    assert score(tmp_path, config, 8_000) > -15.0


@pytest.mark.long
@pytest.mark.parametrize("policy", ["stochastic", "deterministic"])
def test_without_hindsight_reach_is_not_solved(tmp_path: Path, policy: Any) -> None:
    assert score(tmp_path, replace(LONGER, hindsight="none", policy=policy, exploration_noise=0.2), 20_000) < -30.0


@pytest.mark.parametrize("native", [False, True])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, native: bool) -> None:
    config = replace(QUICK, n_step=3, prioritized=True, batch_size=16, learning_starts=60, train_period=4)
    config = replace(config, replay_size=300)
    options = TrainOptions(**QUIET, steps=700, num_envs=3, native=native, eval_episodes=2, out=str(tmp_path / "a"))
    whole = train("sac", options, config)
    half = train("sac", replace(options, steps=331, out=str(tmp_path / "b")), config)
    rest = resume(half.path, steps=700)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    same(last_state(whole.path), last_state(rest.path))


class Shaped(gym.RewardWrapper[Any, Any]):
    """Reach with a reward that its `compute_reward` knows nothing of."""

    def __init__(self) -> None:
        super().__init__(gym.make("gymnast/Reach-v0"))

    def reward(self, reward: Any) -> float:
        return float(reward) + 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env", "Pendulum-v1", "--hindsight", "future"], "hindsight needs goals, which Pendulum-v1 does not have"),
        (["--env", "gymnast/Pendulum-v1", "--hindsight", "final"], "which gymnast/Pendulum-v1 does not have"),
        (["--env", "gymnast/Reach-v0", "--hindsight-ratio", "0.5"], "has no effect without --hindsight"),
        (["--env", "gymnast/Reach-v0", "--hindsight", "past"], "none, final, future"),
        (
            ["--env", "gymnast/Reach-v0", "--hindsight", "future", "--hindsight-ratio", "1.5"],
            "hindsight-ratio must be between 0 and 1, got 1.5",
        ),
        (
            ["--env", "tests.test_hindsight:Shaped", "--hindsight", "future"],
            "a step gave the reward -0.5 and terminated False, compute_reward -1 and compute_terminated False",
        ),
    ],
)
def test_what_has_no_goals_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ["--steps", "100", "--no-video", "--out", str(tmp_path)]
    code = main(["train", "sac", *words, *rest])
    error = capsys.readouterr().err
    assert code == (1 if "Shaped" in words[1] else 2)
    assert message in error
    assert "Traceback" not in error


def test_recorded_updates_are_refused() -> None:
    with pytest.raises(ValueError, match="cuda_graphs cannot be combined with hindsight"):
        OffPolicyActorCriticConfig(hindsight="future", cuda_graphs=True)


def test_in_python_the_rewards_are_given_by_hand() -> None:
    env = make("gymnast/Reach-v0", 2, seed=0)
    config = replace(QUICK, learning_starts=20, batch_size=8)
    agent = OffPolicyActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=2)
    with pytest.raises(ValueError, match="set_goal_rewards"):
        agent.actor(2, explore=True, seed=0)
    rewards = env.goal_rewards()
    assert rewards is not None
    agent.set_goal_rewards(rewards)
    actor, obs = agent.actor(2, explore=True, seed=0), env.reset()
    for _ in range(40):
        acted = actor.act(obs, env.start)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        obs = step.obs
    assert bool(agent.learn()["loss"].isfinite())
    assert isinstance(agent.replay, Hindsight)
    agent.set_goal_rewards(with_ends)  # as those of a new environment in place of a broken one
    assert agent.replay.rewards is with_ends


def test_the_trial_of_threads_has_rewards_of_goals() -> None:
    env = make("gymnast/Reach-v0", 2, seed=0)
    config = replace(QUICK, learning_starts=20, batch_size=8)
    agent = OffPolicyActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=2)
    rewards = env.goal_rewards()
    assert rewards is not None
    agent.set_goal_rewards(rewards)
    assert measure(agent, env, (1, 1))[1] > 0


def test_an_agent_that_only_acts_needs_no_rewards() -> None:
    agent = OffPolicyActorCritic(SPACE, spaces.Box(-1, 1, (2,)), replace(QUICK, policy="deterministic"))
    assert agent.needs_goal_rewards
    agent.actor(1, explore=False, seed=0)
