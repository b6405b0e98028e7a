"""Recurrent Q-learning (row 14): resets inside sequences, burn-in, loss, acting, exact resume, learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast import envs
from gymnast.agents import DQN, DQNConfig
from gymnast.agents.experience.sequences import mixed
from gymnast.agents.value.r2d2 import warmed
from gymnast.evaluation.play import evaluate
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.recurrent import Core
from gymnast.replay.sequences import SequenceBatch
from gymnast.training.loop import Loop
from gymnast.training.train import resume, train
from tests.test_resume import last_state, options, same

GAMMA = 0.9
CELLS = ("lstm", "gru")
KINDS = (*CELLS, "transformer")
SMALL = DQNConfig(
    recurrent="lstm",
    memory_size=6,
    sequence_length=5,
    burn_in=3,
    sequence_period=4,
    hidden_sizes=(8, 8),
    batch_size=4,
    replay_size=200,
    learning_starts=20,
    target_period=40,
)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The core.


def core(cell: Any, *, features: int = 3, units: int = 5) -> Core:
    made = Core(cell, features, units)
    initialise(made, "torch", activation=None, generator=torch.Generator().manual_seed(0))
    return made


@pytest.mark.parametrize("cell", CELLS)
def test_a_boundary_inside_a_sequence_is_the_boundary_of_two_sequences(cell: str) -> None:
    made = core(cell)
    features, memory = torch.randn(2, 9, 3), torch.randn(2, made.memory_size)
    start = torch.zeros(2, 9, dtype=torch.bool)
    start[:, 4] = True
    none = torch.zeros(2, 9, dtype=torch.bool)
    output, after = made(features, start, memory), made.after(features, start, memory)
    first = made(features[:, :4], none[:, :4], memory)
    second = made(features[:, 4:], none[:, 4:], torch.zeros_like(memory))
    second_after = made.after(features[:, 4:], none[:, 4:], torch.zeros_like(memory))
    assert torch.allclose(output, torch.cat([first, second], 1), atol=1e-6)
    assert torch.allclose(after, second_after, atol=1e-6)
    without = made(features, none, memory)
    assert torch.allclose(output[:, :4], without[:, :4], atol=1e-6)
    assert (output[:, 4:] - without[:, 4:]).abs().amax() > 1e-3  # it would be seen if the memory went on


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_sequences_equal_single_steps_wherever_episodes_begin(cell: str, share: float) -> None:
    made, rng = core(cell), torch.Generator().manual_seed(1)
    rows, steps = 4, 12
    features = torch.randn(rows, steps, 3, generator=rng, requires_grad=True)
    memory = torch.randn(rows, made.memory_size, generator=rng)
    start = torch.rand(rows, steps, generator=rng) < share
    output, after = made(features, start, memory), made.after(features, start, memory)
    naive = torch.zeros(rows, steps, 5)
    remembered = [memory[row : row + 1] for row in range(rows)]
    for row in range(rows):
        for step in range(steps):
            before = torch.zeros(1, made.memory_size) if start[row, step] else remembered[row]
            naive[row, step], remembered[row] = made.step(features[row : row + 1, step], before)
    assert torch.allclose(output, naive, atol=1e-6)
    assert torch.allclose(after, torch.cat(remembered), atol=1e-6)
    weights = torch.randn(output.shape, generator=rng)
    fast = torch.autograd.grad((output * weights).sum(), [features, *made.parameters()])
    slow = torch.autograd.grad((naive * weights).sum(), [features, *made.parameters()])
    for one, other in zip(fast, slow, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_lstm_has_its_papers_equations_and_the_memory_is_output_and_cell() -> None:
    made = core("lstm", features=1, units=1)
    with torch.no_grad():
        made.layer.weight_ih_l0[:, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        made.layer.weight_hh_l0[:, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4])
        made.layer.bias_ih_l0.zero_()
        made.layer.bias_hh_l0.zero_()
    output, memory = made.step(torch.tensor([[0.5]]), torch.tensor([[2.0, -1.0]]))  # h 2, c -1

    def sigmoid(x: float) -> float:
        return 1 / (1 + np.exp(-x))

    # Gates at 0.5 w + 2 u: input 0.7, forget 1.4, candidate 2.1, output 2.8.
    cell = sigmoid(1.4) * -1.0 + sigmoid(0.7) * np.tanh(2.1)
    assert output.item() == pytest.approx(sigmoid(2.8) * np.tanh(cell), abs=1e-6)
    assert memory[0].tolist() == pytest.approx([sigmoid(2.8) * np.tanh(cell), cell], abs=1e-6)


@pytest.mark.parametrize("init", ["torch", "orthogonal", "xavier", "he"])
def test_the_generator_alone_makes_the_cores_weights(init: str) -> None:
    made, again, other = Core("lstm", 4, 8), Core("lstm", 4, 8), Core("lstm", 4, 8)
    for network, seed in ((made, 0), (again, 0), (other, 1)):
        initialise(network, init, activation=None, generator=torch.Generator().manual_seed(seed))
    same_weights = [torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True)]
    assert all(same_weights)
    assert not torch.equal(made.layer.weight_ih_l0, other.layer.weight_ih_l0)
    if init == "torch":
        assert max(parameter.abs().max().item() for parameter in made.parameters()) <= 8**-0.5
        assert made.layer.weight_ih_l0.abs().max() > 0.9 * 8**-0.5  # not 4**-0.5
    if init == "orthogonal":
        assert torch.allclose(made.layer.weight_hh_l0.T @ made.layer.weight_hh_l0, torch.eye(8), atol=1e-5)
        assert made.layer.bias_ih_l0.abs().max() == 0.0


# The loss.


def agent(config: DQNConfig = SMALL, *, num_envs: int = 2, space: Any = None, seed: int = 0) -> DQN:
    space = space or spaces.Box(-1, 1, (3,), np.float32)
    return DQN(space, spaces.Discrete(3), config, num_envs=num_envs, seed=seed)


def random_batch(rng: torch.Generator, *, memory_size: int, n: int) -> SequenceBatch:
    rows = 3
    prefix, length, actions = SMALL.burn_in, SMALL.sequence_length, 3
    successor = torch.arange(length) + 1 + torch.randint(0, n, (rows, length), generator=rng)
    masks = torch.rand(rows, length, actions, generator=rng) < 0.6
    masks[..., 0] |= ~masks.any(2)
    return SequenceBatch(
        memory=torch.randn(rows, memory_size, generator=rng),
        prefix_obs=torch.randn(rows, prefix, 3, generator=rng),
        prefix_start=torch.rand(rows, prefix, generator=rng) < 0.2,
        obs=torch.randn(rows, length + n, 3, generator=rng),
        start=torch.rand(rows, length + n, generator=rng) < 0.2,
        action=torch.randint(0, actions, (rows, length), generator=rng),
        reward=torch.randn(rows, length, generator=rng),
        discount=torch.rand(rows, length, generator=rng),
        successor=successor,
        next_mask=masks,
        valid=(torch.rand(rows, length, generator=rng) < 0.8).float(),
        weight=torch.rand(rows, generator=rng),
        index=torch.arange(rows),
    )


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_equals_a_naive_loop(cell: Any, double: bool) -> None:
    """Step by step and row by row: warm up, targets at the successors, weights, masks, priorities."""
    made = agent(replace(SMALL, recurrent=cell, double=double, n_step=2, loss="mse", dueling=True))
    rng = torch.Generator().manual_seed(3)
    made.target_weights.data.normal_(0, 0.3, generator=rng)
    batch = random_batch(rng, memory_size=made.online.memory_size, n=2)
    loss, error, metrics = made.sequence_loss(batch, None)

    def unrolled(network: Any, row: int) -> list[Tensor]:
        memory, outputs = batch.memory[row : row + 1], []
        for obs, start in ((batch.prefix_obs, batch.prefix_start), (batch.obs, batch.start)):
            for step in range(obs.shape[1]):
                memory = torch.zeros_like(memory) if start[row, step] else memory
                output, memory = network.step(obs[row : row + 1, step], memory)
                outputs.append(output[0, :, 0])
        return outputs[SMALL.burn_in :]

    total, count, taken = 0.0, 0, 0.0
    for row in range(3):
        errors = []
        with torch.no_grad():
            online, target = unrolled(made.online, row), unrolled(made.target, row)
        for step in range(SMALL.sequence_length):
            if not batch.valid[row, step]:
                continue
            after = int(batch.successor[row, step])
            by = online[after] if double else target[after]
            best = max((a for a in range(3) if batch.next_mask[row, step, a]), key=lambda a: by[a])
            aim = batch.reward[row, step] + batch.discount[row, step] * target[after][best]
            q = online[step][batch.action[row, step]]
            errors.append(abs(float(aim - q)))
            total, count, taken = total + float(batch.weight[row]) * errors[-1] ** 2, count + 1, taken + float(q)
        assert error[row].item() == pytest.approx(0.9 * max(errors) + 0.1 * np.mean(errors), abs=1e-5)
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert metrics["q"].item() == pytest.approx(taken / count, abs=1e-5)
    assert not error.requires_grad


def test_the_priority_mixes_largest_and_mean_error_of_what_is_valid() -> None:
    error = torch.tensor([[1.0, 3.0, 100.0], [4.0, 4.0, 4.0], [7.0, 7.0, 7.0]])
    valid = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert mixed(error, valid, eta=0.9).tolist() == pytest.approx([0.9 * 3 + 0.1 * 2, 4.0, 0.0])
    assert mixed(error, valid, eta=0.0).tolist() == pytest.approx([2.0, 4.0, 0.0])


@pytest.mark.parametrize("cell", CELLS)
def test_burn_in_carries_no_gradient(cell: Any) -> None:
    made, rng = agent(replace(SMALL, recurrent=cell)), torch.Generator().manual_seed(0)
    batch = random_batch(rng, memory_size=made.online.memory_size, n=1)
    batch.start[:] = False
    for part in (batch.memory, batch.prefix_obs, batch.obs):
        part.requires_grad_()
    memory = warmed(made.online, batch)
    assert not memory.requires_grad
    made.weights.grad.zero_()
    loss, _, _ = made.sequence_loss(batch, None)
    loss.backward()
    assert batch.prefix_obs.grad is batch.memory.grad is None
    assert batch.obs.grad is not None
    assert batch.obs.grad[:, 0].abs().sum() > 0  # the first step that is learned from does
    # The weights' gradient is that of a batch which begins where the burn-in ended.
    grad = made.weights.grad.clone()
    later = replace(batch, memory=memory, prefix_obs=batch.prefix_obs[:, :0], prefix_start=batch.prefix_start[:, :0])
    made.weights.grad.zero_()
    assert torch.allclose(warmed(made.target, batch), memory, atol=1e-6)  # equal weights as yet
    made.sequence_loss(later, None)[0].backward()
    assert torch.allclose(grad, made.weights.grad, atol=1e-6)


def test_the_target_network_warms_its_own_memory_up() -> None:
    made, rng = agent(), torch.Generator().manual_seed(0)
    batch = random_batch(rng, memory_size=made.online.memory_size, n=1)
    made.target_weights.data.normal_(0, 0.3, generator=rng)
    assert not torch.allclose(warmed(made.target, batch), warmed(made.online, batch))


def test_a_batch_without_a_transition_is_finite() -> None:
    made = agent()
    batch = random_batch(torch.Generator().manual_seed(0), memory_size=made.online.memory_size, n=1)
    batch.valid[:] = 0.0
    loss, error, _ = made.sequence_loss(batch, None)
    assert loss.item() == 0.0
    assert error.tolist() == [0.0] * 3


# The agent.

PARTS: list[dict[str, Any]] = [
    {},
    {"recurrent": "gru", "burn_in": 0},
    {"double": True, "dueling": True, "prioritized": True, "n_step": 3, "values": "rescaled"},
    {"noisy": True, "prioritized": True, "priority": "rank", "values": "categorical"},
    {"noisy": True, "noise": "independent", "double": True, "values": "quantile", "quantiles": 5},
    {"noisy": True, "dueling": True, "double": True, "values": "implicit", "quantiles": 4},
]


def looped(config: DQNConfig, env: str, *, num_envs: int, steps: int, seed: int = 0, **settings: Any) -> Loop:
    made = envs.make(env, num_envs, device="cpu", seed=np.random.SeedSequence(seed), options=settings)
    made.reset()
    learner = DQN(made.single_observation_space, made.single_action_space, config, num_envs=num_envs, seed=seed)
    loop = Loop(learner, learner.actor(num_envs, explore=True, seed=seed), made)
    loop.advance(steps, lambda: False)
    return loop


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: " ".join(parts) or "plain")
@pytest.mark.parametrize("num_envs", [1, 3])
def test_every_part_learns_from_sequences(parts: dict[str, Any], num_envs: int) -> None:
    config = replace(SMALL, **parts)
    fresh = agent(config, num_envs=num_envs, space=spaces.Box(0, 1, (3,), np.float32))
    loop = looped(config, "gymnast/Memory-v0", num_envs=num_envs, steps=150, delay=3)
    learner = loop.agent
    assert isinstance(learner, DQN)
    assert learner.updates > 20
    assert all(np.isfinite(float(value)) for value in loop.metrics.values())
    core_before, core_after = fresh.online.core.state_dict(), learner.online.core.state_dict()
    assert all((core_before[name] != core_after[name]).any() for name in core_before)
    if config.prioritized:
        assert np.ptp(learner.replay.sampler.state_dict()["priority"].numpy()[: learner.replay.used]) > 0


def test_dict_observations_and_image_stacks_lie_in_sequences() -> None:
    space = spaces.Dict({"image": spaces.Box(0, 255, (2, 3), np.uint8), "place": spaces.Discrete(5)})
    learner = DQN(space, spaces.Discrete(2), SMALL, num_envs=1)
    actor = learner.actor(1, explore=True, seed=0)
    obs = {"image": torch.zeros(1, 2, 3, dtype=torch.uint8), "place": torch.zeros(1, dtype=torch.int64)}
    no = torch.zeros(1, dtype=torch.bool)
    for step in range(30):
        acted = actor.act(obs, torch.tensor([step == 0]))
        after = {"image": obs["image"] + 1, "place": (obs["place"] + 1) % 5}
        learner.store(obs, acted, envs.Step(after, no, after, torch.ones(1), no, no, 1, 0))
        obs = after
    batch = learner.replay.sample()
    assert batch.obs["image"].shape == (4, 6, 2, 3)
    assert ((batch.obs["image"][:, 1:].int() - batch.obs["image"][:, :-1].int()) == 1).all()
    assert torch.equal(batch.obs["place"], batch.obs["image"][:, :, 0, 0] % 5)
    assert np.isfinite(float(learner.learn()["loss"]))


@pytest.mark.parametrize("cell", KINDS)
def test_stored_memory_is_the_actors_and_acting_is_the_sequences_forward(cell: Any) -> None:
    """With weights that do not change, unrolling a sequence gives the values acted on and the memories to come."""
    config = replace(SMALL, recurrent=cell, memory_size=8, learning_starts=10_000, epsilon=0.5)
    env = envs.make("gymnast/Memory-v0", 2, device="cpu", seed=np.random.SeedSequence(0), options={"delay": 4})
    learner = DQN(env.single_observation_space, env.single_action_space, config, num_envs=2, seed=0)
    actor = learner.actor(2, explore=True, seed=0)
    obs, start = env.reset(), env.start
    kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # of a slot: memory before, values
    for _ in range(60):
        acted = actor.act(obs, start)
        assert acted.memory is not None
        assert not acted.memory[start].any()
        step = env.step(acted.action)
        learner.store(obs, acted, step)
        for row in range(2):
            slot = (learner.replay.ring.slot[row] - 2) % learner.replay.ring.slots
            kept[row, slot] = acted.memory[row], torch.from_numpy(actor._values[row]).clone()
        obs, start = step.obs, step.start
    checked = 0
    for _ in range(5):
        batch = learner.replay.sample()
        assert isinstance(batch, SequenceBatch)
        with torch.no_grad():
            features = learner.online.features(batch.obs, batch.start, warmed(learner.online, batch))
            q = learner.online.read(features)[..., 0]
        begin = learner.replay._begin(batch.index.numpy())
        for place, slot in enumerate(begin.tolist()):
            if (slot % 2, slot) in kept:
                assert torch.equal(batch.memory[place], kept[slot % 2, slot][0])
                checked += 1
            else:
                assert not batch.memory[place].any()  # an episode's end: reset before it is looked at
            for step_number in range(SMALL.sequence_length):
                if batch.valid[place, step_number]:
                    where = (slot + 2 * (SMALL.burn_in + step_number)) % learner.replay.ring.slots
                    assert torch.allclose(q[place, step_number], kept[slot % 2, where][1], atol=1e-6)
    assert checked > 5


def test_evaluations_have_a_memory_of_their_own() -> None:
    loop = looped(SMALL, "gymnast/Memory-v0", num_envs=2, steps=60, delay=4)
    before = loop.actor.state_dict()
    env = envs.make("gymnast/Memory-v0", 3, device="cpu", seed=np.random.SeedSequence(1), options={"delay": 4})
    first = evaluate(loop.agent, env, episodes=5, seed=0, name="dqn", interrupted=lambda: False)
    again = evaluate(loop.agent, env, episodes=5, seed=0, name="dqn", interrupted=lambda: False)
    assert first.returns == again.returns
    same(before, loop.actor.state_dict())
    other = loop.agent.actor(2, explore=True, seed=9)
    other.load_state_dict(before)
    obs, start = loop.env.obs, loop.env.start
    same(
        {"action": other.act(obs, start).action, **other.state_dict()},
        {"action": loop.actor.act(obs, start).action, **loop.actor.state_dict()},
    )


def test_life_loss_cuts_the_bootstrap_but_not_the_memory() -> None:
    learner = agent(replace(SMALL, life_loss=True), num_envs=1)
    actor, no = learner.actor(1, explore=True, seed=0), torch.zeros(1, dtype=torch.bool)
    obs = torch.zeros(1, 3)
    for step, lives in enumerate([3, 3, 2, 2]):
        acted = actor.act(obs, torch.tensor([step == 0]))
        after = obs + 0.1
        learner.store(obs, acted, envs.Step(after, no, after, torch.ones(1), no, no, 1, 0, lives=torch.tensor([lives])))
        obs = after
    assert learner.replay.start[:5].tolist() == [True, False, False, False, False]
    assert learner.replay.ring.bootstrap[:4].tolist() == [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"burn_in": -1}, "burn_in must be >= 0, got -1"),
        ({"sequence_length": 0}, "sequence_length must be >= 1, got 0"),
        ({"sequence_period": 6}, "sequence_period must be <= sequence_length 5, got 6"),
        ({"memory_size": 0}, "memory_size must be >= 1, got 0"),
        ({"priority_eta": 1.5}, "priority_eta must be between 0 and 1, got 1.5"),
        ({"recurrent_steps": 4}, "recurrent_steps needs recurrent transformer, got lstm"),
        ({"recurrent": "rnn"}, "recurrent must be one of none, lstm, gru, transformer, got 'rnn'"),
    ],
)
def test_bad_options_fail_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="recurrent lstm needs device cpu"):
        DQN(spaces.Box(0, 1, (3,), np.float32), spaces.Discrete(2), SMALL, device="cuda")


def test_learning_begins_as_soon_as_a_sequence_is_complete() -> None:
    """The fewest steps after which some stream must hold burn-in + length + n slots."""
    for num_envs in (1, 3):
        config = replace(SMALL, learning_starts=0, train_period=1)
        loop = looped(config, "gymnast/Memory-v0", num_envs=num_envs, steps=60)
        assert loop.agent.updates > 0
        learner = agent(replace(SMALL, learning_starts=0), num_envs=num_envs)
        assert learner.updates_due(7 * num_envs) == 0
        # 9 slots: the first observation and 8 steps of one stream, so 7 of each stream and one more.


@pytest.mark.parametrize(("num_envs", "cell"), [(1, "gru"), (3, "lstm"), (2, "transformer")])
def test_resumed_equals_uninterrupted(tmp_path: Path, num_envs: int, cell: Any) -> None:
    steps = 203
    config = replace(
        SMALL, recurrent=cell, memory_size=8, prioritized=True, double=True, n_step=2, values="rescaled", noisy=True
    )
    settings: dict[str, Any] = {"num_envs": num_envs, "eval_every": 90}
    whole = train("dqn", options(tmp_path / "a", "gymnast/Memory-v0", steps=2 * steps, **settings), config)
    half = train("dqn", options(tmp_path / "b", "gymnast/Memory-v0", steps=steps, **settings), config)
    assert whole.exit_code == half.exit_code == 0
    rest = resume(half.path, steps=2 * steps)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    mine, theirs = last_state(whole.path), last_state(rest.path)
    assert mine["actor"]["memory"].abs().sum() > 0
    same(mine, theirs)


LEARNING = DQNConfig(
    hidden_sizes=(32, 32),
    learning_rate=2e-3,
    epsilon="linear:1:0.05:4000",
    learning_starts=500,
    train_period=8,
    target_period=400,
    replay_size=20_000,
    gamma=0.95,
    double=True,
    dueling=True,
    prioritized=True,
    n_step=3,
    values="rescaled",
)


def score(loop: Loop) -> float:
    env = envs.make("gymnast/Memory-v0", 8, device="cpu", seed=np.random.SeedSequence(1))
    return evaluate(loop.agent, env, episodes=100, seed=3, name="dqn", interrupted=lambda: False).mean_return


def solved(config: DQNConfig, *, within: int) -> bool:
    """Whether an agent answers every question after so many env steps at most."""
    loop = looped(config, "gymnast/Memory-v0", num_envs=8, steps=within // 2)
    for until in range(within // 2, within + 1, within // 8):
        loop.advance(until, lambda: False)
        if score(loop) == 1.0:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_memory_is_solved_with_memory(cell: Any) -> None:
    config = replace(LEARNING, recurrent=cell, memory_size=32, sequence_length=16, burn_in=8, sequence_period=8)
    assert solved(config, within=8_000)


@pytest.mark.slow
def test_memory_is_solved_by_attention() -> None:
    config = replace(LEARNING, recurrent="transformer", memory_size=32, sequence_length=16, sequence_period=8)
    config = replace(config, burn_in=8, recurrent_steps=12)
    assert solved(config, within=6_000)


@pytest.mark.slow
def test_memory_is_not_solved_without() -> None:
    """The standard error of chance over 100 episodes is 0.1."""
    assert abs(score(looped(LEARNING, "gymnast/Memory-v0", num_envs=8, steps=8_000))) < 0.4
