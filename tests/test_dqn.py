"""DQN: targets by hand, exact ratios whatever num_envs is, state, spaces, and that it learns."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.base import Acted
from gymnast.agents.maths.td import chosen, huber, mse, td_target, weighted_mean
from gymnast.agents.value.values import ScalarValues
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.replay.transitions import Batch

torch.set_num_threads(1)  # two threads beside a busy core are many times slower than one
BOX = spaces.Box(-np.inf, np.inf, (2,))
SMALL = DQNConfig(
    hidden_sizes=(8,),
    batch_size=4,
    replay_size=200,
    learning_starts=10,
    train_period=2,
    target_period=10,
    learning_rate=0.01,
    max_grad_norm=None,
)


def agent(config: DQNConfig = SMALL, *, actions: int = 2, num_envs: int = 1, space: Any = BOX, **options: Any) -> DQN:
    return DQN(space, spaces.Discrete(actions), config, num_envs=num_envs, seed=3, **options)


def step(obs: Tensor, reward: float = 1.0, *, terminated: bool = False, truncated: bool = False, **more: Any) -> Step:
    rows = len(obs)
    ends = torch.full((rows,), terminated), torch.full((rows,), truncated)
    reward_rows = torch.full((rows,), reward)
    ended = ends[0] | ends[1]
    return Step(obs, ended, obs, reward_rows, *ends, num_active=rows, num_ended=int(ended.sum()), **more)


def feed(learner: DQN, steps: int, *, learn: bool = False, seed: int = 0) -> list[dict[str, Tensor]]:
    """Random transitions, as the loop hands them over."""
    rng = np.random.default_rng(seed)
    rows, metrics = learner.num_envs, []
    obs = torch.from_numpy(rng.normal(size=(rows, 2)).astype(np.float32))
    for _ in range(steps):
        action = torch.from_numpy(rng.integers(2, size=rows))
        successor = torch.from_numpy(rng.normal(size=(rows, 2)).astype(np.float32))
        learner.store(obs, Acted(action), step(successor, float(rng.normal())))
        obs = successor
        for _ in range(learner.updates_due(learner.env_step) if learn else 0):
            metrics.append(learner.learn())
    return metrics


def snapshot(learner: DQN) -> Any:
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


# The maths.


def test_losses_by_hand() -> None:
    target = td_target(torch.tensor([1.0, 2.0]), torch.tensor([0.9, 0.0]), torch.tensor([10.0, 10.0]))
    assert target.tolist() == [10.0, 2.0]
    error = torch.tensor([0.5, -1.0, 3.0, -3.0])
    assert huber(error, torch.zeros(4)).tolist() == [0.125, 0.5, 2.5, 2.5]
    assert mse(error, torch.zeros(4)).tolist() == [0.25, 1.0, 9.0, 9.0]
    assert chosen(torch.arange(12.0).view(2, 3, 2), torch.tensor([2, 0])).tolist() == [[4, 5], [6, 7]]
    assert weighted_mean(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.5])).item() == 1.25


def test_scalar_values_by_hand() -> None:
    output = torch.tensor([[2.0], [5.0]], requires_grad=True)
    reward, discount, following = torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]), torch.tensor([[4.0], [9.0]])
    loss, error = ScalarValues("huber").td_loss(output, reward, discount, following)
    assert loss.tolist() == [0.5, 3.5]  # targets 3 and 1
    assert error.tolist() == [1.0, 4.0]
    assert not error.requires_grad
    loss.sum().backward()
    assert output.grad is not None
    assert output.grad.tolist() == [[-1.0], [1.0]]
    assert ScalarValues("mse").td_loss(output, reward, discount, following)[0].tolist() == [1.0, 16.0]
    assert ScalarValues("mse").q(torch.zeros(2, 3, 1)).shape == (2, 3)


class Table(nn.Module):
    """Features that are the observation, so that the head's weights are the values."""

    out_features = 2

    def forward(self, obs: Tensor) -> Tensor:
        return obs


def test_td_loss_by_hand() -> None:
    """Two states, two actions: Q(s, a) = online[a, s], and the target's own best action is bootstrapped from."""
    learner = agent(dataclasses.replace(SMALL, loss="mse", gamma=0.5, hidden_sizes=None), network=Table())
    with torch.no_grad():
        learner.online.head.stream.output.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # [A, S]
        learner.target.head.stream.output.weight.copy_(torch.tensor([[10.0, 20.0], [30.0, 5.0]]))
        learner.online.head.stream.output.bias.zero_()
        learner.target.head.stream.output.bias.zero_()
    states = torch.eye(2)
    batch = Batch(
        obs=states,
        action=torch.tensor([1, 0]),  # Q(0, 1) = 3, Q(1, 0) = 2
        reward=torch.tensor([1.0, 1.0]),
        discount=torch.tensor([0.5, 0.0]),
        next_obs=states.flip(0),  # max over the target of state 1 is 20
        weight=torch.tensor([1.0, 0.5]),
        next_mask=None,
        index=torch.arange(2),
    )
    loss, error, metrics = learner.loss(batch, None)
    assert error.tolist() == [8.0, 1.0]  # targets 1 + 0.5 * 20 = 11, and 1 + 0
    assert loss.item() == (64 + 0.5 * 1) / 2
    assert metrics["loss"].item() == loss.item()
    assert metrics["q"].item() == 2.5


@pytest.mark.parametrize(("end", "target"), [("truncated", 1.0 + 0.5 * 7.0), ("terminated", 1.0)])
def test_truncation_keeps_the_bootstrap(end: str, target: float) -> None:
    """A one-state environment whose final observation is worth 7."""
    learner = agent(dataclasses.replace(SMALL, gamma=0.5, hidden_sizes=None), actions=1, network=Table())
    with torch.no_grad():
        for network in (learner.online, learner.target):
            network.head.stream.output.weight.copy_(torch.tensor([[0.0, 7.0]]))
            network.head.stream.output.bias.zero_()
    first, final = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    for _ in range(5):
        after = step(final, **{end: True})
        after.obs = first
        learner.store(first, Acted(torch.tensor([0])), after)
    _, error, metrics = learner.loss(learner.replay.sample(), None)
    assert metrics["q"] == 0.0
    assert error.tolist() == [target] * 4


# Ratios and schedules: functions of the env step.


def history(num_envs: int, *, reload: bool = False) -> list[tuple[int, int, float]]:
    """(env step at which it was due, target copies, learning rate) of every update of 480 env steps."""
    config = dataclasses.replace(SMALL, learning_rate="linear:0.01:0:500", train_period=3, learning_starts=48)
    learner, seen = agent(config, num_envs=num_envs), []
    feed_steps = 480 // num_envs
    for number in range(feed_steps):
        feed(learner, 1, seed=number)
        for _ in range(learner.updates_due(learner.env_step)):
            due = learner.pace.step_of(learner.updates)
            learner.learn()
            seen.append((due, learner._target_updates, learner.optimizer.param_groups[0]["lr"]))
        if reload and number == feed_steps // 2:
            other = agent(config, num_envs=num_envs)
            other.load_state_dict(snapshot(learner))
            learner = other
    return seen


def test_updates_targets_and_schedules_do_not_depend_on_num_envs() -> None:
    one = history(1)
    assert len(one) == (480 - 48) // 3
    assert [copies for _, copies, _ in one] == [due // 10 for due, _, _ in one]
    assert [rate for _, _, rate in one] == [pytest.approx(0.01 * (1 - due / 500)) for due, _, _ in one]
    assert history(4) == one
    assert history(16) == one
    assert history(4, reload=True) == one


@pytest.mark.parametrize(("period", "updates"), [(1, 1), (10, 1), (4, 3), (256, 128)])
@pytest.mark.parametrize("num_envs", [1, 5])
def test_exact_replay_ratio(period: int, updates: int, num_envs: int) -> None:
    config = dataclasses.replace(SMALL, train_period=period, updates_per_train=updates, learning_starts=100)
    learner = agent(config, num_envs=num_envs)
    done = 0
    for env_step in range(num_envs, 1000, num_envs):
        due = learner.updates_due(env_step)
        done += due
        learner.updates += due
        assert done == max(env_step - 100, 0) // period * updates


def test_soft_targets_count_every_period_passed() -> None:
    """Three target periods between two updates are three steps towards weights that stayed the same."""
    learner = agent(dataclasses.replace(SMALL, target_period=2, tau=0.25, train_period=6))
    feed(learner, 16)
    before = learner.target_weights.data.clone()
    learner._target_updates = learner.pace.step_of(0) // 2 - 3
    learner.learn()
    expected = before
    for _ in range(3):
        expected = expected + 0.25 * (learner.weights.data - expected)
    torch.testing.assert_close(learner.target_weights.data, expected)


def test_periodic_targets_are_copies_of_their_own() -> None:
    learner = agent()
    feed(learner, 43, learn=True)  # the last update falls due at 42, after the copy at 40
    assert learner._target_updates == 4
    assert not torch.equal(learner.target_weights.data, learner.weights.data)
    pointers = [
        network.state_dict()["head.stream.output.weight"].data_ptr() for network in (learner.online, learner.target)
    ]
    assert pointers[0] != pointers[1]


def test_epsilon_follows_the_env_step() -> None:
    config = dataclasses.replace(SMALL, epsilon="linear:1:0:100")
    for num_envs in (1, 4):
        learner = agent(config, num_envs=num_envs)
        feed(learner, 40 // num_envs)
        assert learner.scheduled()["epsilon"] == pytest.approx(0.6)


# The learner's own view of rewards and ends.


def test_clipped_rewards_are_the_learner_s_alone() -> None:
    learner = agent(dataclasses.replace(SMALL, clip_rewards=True))
    obs = torch.zeros(1, 2)
    for reward in (5.0, -3.0, 0.5):
        after = step(obs, reward)
        learner.store(obs, Acted(torch.tensor([0])), after)
        assert after.reward.item() == reward
    assert learner.replay.reward[:3].tolist() == [1.0, -1.0, 0.5]


def test_a_lost_life_ends_learning_but_not_the_episode() -> None:
    learner = agent(dataclasses.replace(SMALL, life_loss=True))
    obs, ends = torch.zeros(1, 2), torch.tensor([False])
    for lives, over in ((3, False), (2, False), (2, False), (1, True), (3, False), (3, False)):
        after = step(obs, terminated=over, lives=torch.tensor([lives]))
        learner.store(obs, Acted(torch.tensor([0])), after)
    bootstraps = learner.replay.bootstrap[learner.replay.ready]
    assert bootstraps.tolist() == [1, 0, 1, 0, 1, 1]
    assert not ends.any()
    with pytest.raises(ValueError, match="life_loss needs an environment that reports lives"):
        learner.store(obs, Acted(torch.tensor([0])), step(obs))


def test_rows_that_are_not_active_are_not_stored() -> None:
    learner = agent(num_envs=2)
    obs = torch.zeros(2, 2)
    after = step(obs, active=torch.tensor([True, False]))
    after.num_active = 1
    learner.store(obs, Acted(torch.tensor([0, 1])), after)
    assert learner.env_step == learner.replay.count == 1


def test_gradients_are_clipped() -> None:
    by_norm = agent(dataclasses.replace(SMALL, max_grad_norm=1e-3, optimizer="sgd"))
    by_value = agent(dataclasses.replace(SMALL, max_grad_value=1e-4, optimizer="sgd"))
    for learner in (by_norm, by_value):
        feed(learner, 20)
        metrics = learner.learn()
        assert ("grad_norm" in metrics) == (learner is by_norm)
    assert by_norm.weights.grad.norm().item() == pytest.approx(1e-3, rel=1e-3)
    assert by_value.weights.grad.abs().max().item() == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "changes", [{"batch_size": 1}, {"loss": "mse"}, {"optimizer": "nature-rmsprop"}, {"n_step": 3}]
)
def test_learning_stays_finite(changes: dict[str, Any]) -> None:
    """Batch size 1, and rewards without any variance."""
    learner = agent(dataclasses.replace(SMALL, **changes))
    obs = torch.zeros(1, 2)
    for _ in range(30):
        learner.store(obs, Acted(torch.tensor([0])), step(obs, 0.0))
        for _ in range(learner.updates_due(learner.env_step)):
            metrics = learner.learn()
    assert all(math.isfinite(value) for value in metrics.values())


def test_a_loss_that_is_not_finite_is_seen_in_the_metrics() -> None:
    learner = agent()
    feed(learner, 20)
    learner.store(torch.zeros(1, 2), Acted(torch.tensor([0])), step(torch.zeros(1, 2), float("inf")))
    losses = [learner.learn()["loss"].item() for _ in range(30)]
    assert not all(map(math.isfinite, losses))


# State.


@pytest.mark.parametrize(
    "changes", [{}, {"n_step": 3}, {"optimizer": "sgd", "tau": 0.1}, {"network": f"{__name__}:Net"}]
)
def test_state_goes_on_exactly(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, **changes)
    one, other = agent(config), agent(config)
    feed(one, 60, learn=True)
    other.load_state_dict(snapshot(one))
    for seed in (7, 8):
        metrics = [feed(learner, 20, learn=True, seed=seed) for learner in (one, other)]
        assert len(metrics[0]) == 10
        assert same(*metrics)
    assert same(one.state_dict(), other.state_dict())


def test_two_agents_with_one_state_share_nothing() -> None:
    one, other = agent(), agent()
    feed(one, 30, learn=True)
    state = one.state_dict()
    kept = copy.deepcopy({name: value for name, value in state.items() if name != "replay"})
    other.load_state_dict(state)
    feed(other, 30, learn=True)
    assert same(kept, {name: value for name, value in one.state_dict().items() if name != "replay"})


def test_a_state_without_replay_begins_learning_anew() -> None:
    one, other = agent(), agent()
    feed(one, 60, learn=True)
    state = snapshot(one)
    del state["replay"]
    other.load_state_dict(state)
    assert other.env_step == 60
    assert [other.updates_due(env_step) for env_step in (60, 69, 70, 72, 74)] == [0, 0, 0, 1, 2]
    assert len(feed(other, 14, learn=True)) == 2
    assert other._target_updates == 7


def test_evaluation_changes_nothing_in_training() -> None:
    learner = agent()
    explorer = learner.actor(1, explore=True, seed=1)
    feed(learner, 30, learn=True)
    before, stream = snapshot(learner), copy.deepcopy(explorer.state_dict())
    generator = torch.get_rng_state()
    evaluator = learner.actor(5, explore=False, seed=2)
    for _ in range(20):
        evaluator.act(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(5, dtype=torch.bool))
    assert same(before, snapshot(learner))
    assert same(stream, explorer.state_dict())
    assert torch.equal(generator, torch.get_rng_state())


def test_an_agent_that_only_acts_keeps_no_replay() -> None:
    learner = agent(dataclasses.replace(SMALL, replay_size=10**13))
    obs = torch.zeros(1, 2)
    learner.actor(1, explore=False, seed=0).act(obs, torch.ones(1, dtype=torch.bool))
    assert learner.replay is None
    assert "replay" not in learner.state_dict()
    with pytest.raises(ValueError, match=r"replay_size 10,000,000,000,000 needs .* GB"):
        learner.actor(1, explore=True, seed=0)


# Acting.


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_acting_is_epsilon_greedy(num_envs: int, activation: str) -> None:
    """`relu` acts in NumPy, `tanh` in torch; the actions count from the space's own start."""
    config = dataclasses.replace(SMALL, epsilon=0.3, activation=activation)
    learner = DQN(BOX, spaces.Discrete(4, start=-2), config, num_envs=num_envs, seed=0)
    obs, start = torch.randn(num_envs, 2), torch.ones(num_envs, dtype=torch.bool)
    with torch.no_grad():
        best = learner.online(obs)[..., 0].argmax(1) - 2
    greedy, explorer = learner.actor(num_envs, explore=False, seed=1), learner.actor(num_envs, explore=True, seed=1)
    assert torch.equal(greedy.act(obs, start).action, best)
    actions = torch.stack([explorer.act(obs, start).action for _ in range(4000)])
    assert actions.dtype == torch.int64
    assert sorted(actions.unique().tolist()) == [-2, -1, 0, 1]
    shares = (actions == best).float().mean(0)
    torch.testing.assert_close(shares, torch.full((num_envs,), 0.7 + 0.3 / 4), rtol=0, atol=0.03)
    learner.store(obs, Acted(best), step(obs))
    assert learner.replay.action[:num_envs].tolist() == (best + 2).tolist()


def test_evaluation_epsilon() -> None:
    learner = agent(dataclasses.replace(SMALL, eval_epsilon=1.0))
    actor = learner.actor(1, explore=False, seed=0)
    actions = [actor.act(torch.zeros(1, 2), torch.zeros(1, dtype=torch.bool)).action.item() for _ in range(50)]
    assert set(actions) == {0, 1}


def test_an_actor_goes_on_from_its_state() -> None:
    learner = agent(dataclasses.replace(SMALL, epsilon=0.5), num_envs=3)
    one, other = (learner.actor(3, explore=True, seed=seed) for seed in (1, 2))
    obs, start = torch.randn(3, 2), torch.zeros(3, dtype=torch.bool)
    one.act(obs, start)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for _ in range(20):
        assert torch.equal(one.act(obs, start).action, other.act(obs, start).action)


def test_seeds() -> None:
    torch.manual_seed(1)
    one = DQN(BOX, spaces.Discrete(2), SMALL, seed=5)
    torch.manual_seed(2)
    same_seed, another = DQN(BOX, spaces.Discrete(2), SMALL, seed=5), DQN(BOX, spaces.Discrete(2), SMALL, seed=6)
    assert torch.equal(one.weights.data, same_seed.weights.data)
    assert not torch.equal(one.weights.data, another.weights.data)


# Spaces and options.


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=2),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Tuple([spaces.Discrete(2)])}),
        spaces.Box(0, 255, (4, 40, 40), np.uint8),
    ],
)
def test_every_observation_space_trains(space: Any) -> None:
    class Random(gym_env()):  # type: ignore[misc]
        """Random observations of the space, ends at random."""

        observation_space, action_space = space, spaces.Discrete(3, start=1)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.observation_space.seed(seed)
            self.frames = [self.observation_space.sample()]
            return self.show(), {}

        def show(self) -> Any:
            if space.shape != (4, 40, 40):
                return self.frames[-1]
            self.frames = [frames[:1] for frames in self.frames[-4:]]
            return np.concatenate([self.frames[0]] * (4 - len(self.frames)) + self.frames)

        def step(self, action: Any) -> Any:
            assert self.action_space.contains(int(action))
            self.frames.append(self.observation_space.sample())
            return self.show(), 1.0, bool(self.np_random.random() < 0.1), False, {}

    env = make(Random, 2, seed=0)
    learner = DQN(space, env.single_action_space, dataclasses.replace(SMALL, replay_size=400), num_envs=2, seed=0)
    actor, obs = learner.actor(2, explore=True, seed=0), env.reset()
    metrics: dict[str, Tensor] = {}
    for _ in range(60):
        acted = actor.act(obs, env.start)
        after = env.step(acted.action)
        learner.store(obs, acted, after)
        for _ in range(learner.updates_due(learner.env_step)):
            metrics = learner.learn()
        obs = after.obs
    env.close()
    assert learner.updates == 55
    assert math.isfinite(metrics["loss"])
    assert learner.replay.stack == (4 if space.shape == (4, 40, 40) else 1)


def gym_env() -> type[Any]:
    import gymnasium

    return gymnasium.Env


class Net(nn.Module):
    """A user's backbone."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__()
        self.layer, self.out_features = nn.Linear(2, 5), 5
        with torch.no_grad():
            self.layer.weight.fill_(0.3)

    def forward(self, obs: Tensor) -> Tensor:
        return self.layer(obs).sigmoid()


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2)])
def test_other_actions_are_refused(space: Any) -> None:
    with pytest.raises(ValueError, match="dqn needs Discrete actions, got"):
        DQN(BOX, space)


def test_images_that_are_no_stacks_are_refused() -> None:
    images = spaces.Box(0, 255, (4, 40, 40), np.uint8)
    learner = DQN(images, spaces.Discrete(2), SMALL, seed=0)
    obs, other = (torch.randint(0, 255, (1, 4, 40, 40), dtype=torch.uint8) for _ in range(2))
    with pytest.raises(ValueError, match="not stacks of 4 frames with the newest last: set frame_stack 1"):
        learner.store(obs, Acted(torch.tensor([0])), step(other))
    whole = DQN(images, spaces.Discrete(2), dataclasses.replace(SMALL, frame_stack=1), seed=0)
    whole.store(obs, Acted(torch.tensor([0])), step(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"replay_size": -1}, "replay_size must be >= 1, got -1"),
        ({"n_step": 0}, "n_step must be >= 1, got 0"),
        ({"learning_starts": -1}, "learning_starts must be >= 0, got -1"),
        ({"gamma": 1.5}, "gamma must be between 0 and 1, got 1.5"),
        ({"gamma": math.nan}, "gamma must be between 0 and 1, got nan"),
        ({"learning_rate": math.nan}, "learning_rate must be >= 0, got nan"),
        ({"learning_rate": "liner:1:0:5"}, "did you mean linear?"),
        ({"epsilon": 1.5}, "epsilon must be between 0 and 1, got 1.5"),
        ({"tau": 0.0}, "tau must be > 0 and <= 1, got 0.0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be > 0, got 0.0"),
        ({"optimizer_eps": math.inf}, "optimizer_eps must be > 0, got inf"),
        ({"optimizer": "adm"}, "did you mean adam?"),
        ({"optimizer": "sgd", "optimizer_eps": 1e-3}, "sgd has no epsilon"),
        ({"loss": "l1"}, "loss must be one of huber, mse, got 'l1'"),
        ({"init": "zero"}, "init must be one of"),
        ({"activation": "rule"}, "activation must be one of"),
        ({"hidden_sizes": ()}, "hidden_sizes must be at least one number >= 1"),
    ],
)
def test_wrong_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        DQNConfig(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# Learning.


def train(env_id: str, config: DQNConfig, steps: int, *, num_envs: int = 1) -> DQN:
    env = make(env_id, num_envs, seed=1)
    learner = DQN(env.single_observation_space, env.single_action_space, config, num_envs=num_envs, seed=0)
    actor, obs = learner.actor(num_envs, explore=True, seed=2), env.reset()
    while learner.env_step < steps:
        acted = actor.act(obs, env.start)
        after = env.step(acted.action)
        learner.store(obs, acted, after)
        for _ in range(learner.updates_due(learner.env_step)):
            learner.learn()
        obs = after.obs
    env.close()
    return learner


def returns(learner: DQN, env_id: str, episodes: int = 20) -> list[float]:
    env = make(env_id, 1, seed=9)
    actor, obs, found = learner.actor(1, explore=False, seed=0), env.reset(), []
    while len(found) < episodes:
        after = env.step(actor.act(obs, env.start).action)
        obs = after.obs
        if after.num_ended:
            found.append(float(after.episode_return[0]))
    env.close()
    return found


LEARN = DQNConfig(
    hidden_sizes=(32,),
    batch_size=32,
    replay_size=5_000,
    learning_starts=200,
    train_period=2,
    target_period=100,
    learning_rate=3e-3,
    epsilon="linear:1:0.1:1500",
)


@pytest.mark.parametrize("changes", [{}, {"n_step": 3}, {"tau": 0.05, "target_period": 4, "loss": "mse"}])
def test_solves_catch(changes: dict[str, Any]) -> None:
    learner = train("gymnast/Catch-v0", dataclasses.replace(LEARN, **changes), 4_000, num_envs=2)
    assert sum(returns(learner, "gymnast/Catch-v0")) >= 18


def test_values_of_the_chain_are_the_optimal_ones() -> None:
    env = make("gymnast/Chain-v0", 1, seed=0)
    table = env.transition_table()
    env.close()
    assert table is not None
    learner = train("gymnast/Chain-v0", dataclasses.replace(LEARN, epsilon=1.0, gamma=0.9), 6_000)
    q = np.zeros((table.next_state.shape[0], 2))
    for _ in range(200):
        q = (table.probability * (table.reward + 0.9 * ~table.terminated * q.max(1)[table.next_state])).sum(2)
    with torch.no_grad():
        learned = learner.online(torch.arange(len(q)))[..., 0].numpy()
    np.testing.assert_allclose(learned, q[: len(learned)], atol=0.08)
    assert (learned.argmax(1) == 1).all()
