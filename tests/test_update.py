"""The learner's update by backward, by transform, compiled and captured: the same numbers."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.base import Acted, restore_generator
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.compiled import Compiled
from gymnast.envs.step import Step
from gymnast.replay.transitions import Batch

SPACE, ACTIONS = spaces.Box(-1.0, 1.0, (5,), np.float32), spaces.Discrete(3, start=2)
PLAIN = DQNConfig(hidden_sizes=(12, 10), batch_size=16, replay_size=400, learning_starts=0, max_grad_norm=0.5)
PARTS: dict[str, dict[str, Any]] = {
    "plain": {"loss": "mse", "max_grad_value": 0.1},
    "double": {"double": True, "dueling": True, "dueling_aggregation": "max"},
    "rainbow": {
        "double": True,
        "dueling": True,
        "noisy": True,
        "prioritized": True,
        "values": "categorical",
        "atoms": 11,
        "n_step": 3,
    },
    "quantile": {"values": "quantile", "quantiles": 7, "prioritized": True, "priority": "rank"},
    "implicit": {"values": "implicit", "quantiles": 5, "noisy": True, "noise": "independent", "double": True},
    "rescaled": {"values": "rescaled", "max_grad_norm": None},
}


def made(device: str = "cpu", **changes: Any) -> DQN:
    """An agent with 60 steps of three streams in its replay, which have masks of their actions."""
    agent = DQN(SPACE, ACTIONS, replace(PLAIN, **changes), num_envs=3, device=device, seed=1)
    generator = torch.Generator().manual_seed(0)
    obs = torch.rand((3, 5), generator=generator).to(device)
    for _ in range(60):
        draws = torch.rand((3, 9), generator=generator).to(device)
        following, ended, none = draws[:, :5], draws[:, 5] < 0.1, torch.zeros(3, dtype=torch.bool, device=device)
        step = Step(following, ended, following, draws[:, 6], ended, none, num_active=3, num_ended=None)
        step.next_action_mask = torch.cat([draws[:, 7:] < 0.6, torch.ones((3, 1), dtype=torch.bool, device=device)], 1)
        agent.store(obs, Acted((draws[:, 8] * 3).long() + 2), step)
        obs = following
    return agent


def one_batch(agent: DQN) -> tuple[Batch, Tensor | None]:
    batch, noise = copy.deepcopy(agent.replay.sample()), agent._noise
    return batch, None if noise is None else torch.rand(noise.shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("part", PARTS)
def test_transform_equals_backward(part: str) -> None:
    """The gradient that is compiled is the one that backward gives, clipped alike, with the same errors and metrics."""
    agent, same = made(**PARTS[part]), made(**PARTS[part])
    batch, noise = one_batch(agent)
    expected_error, expected = agent._update._by_backward(batch, noise)
    same._online, same._target = same.online, same.target  # a plain network has a backward pass written out
    error, metrics = same._update._by_transform(batch, noise)
    assert agent.weights.grad.abs().max() > 1e-4
    torch.testing.assert_close(same.weights.grad, agent.weights.grad, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(error, expected_error, rtol=1e-5, atol=1e-6)
    assert not error.requires_grad
    torch.testing.assert_close(metrics, expected, rtol=1e-5, atol=1e-6)


def test_transform_equals_backward_for_images() -> None:
    """Where weights do not lie in memory as they are counted: each gradient belongs to its own entry."""
    space, config = spaces.Box(0, 255, (4, 10, 10), np.uint8), replace(PLAIN, network="minatar-cnn", noisy=True)
    agent, same = (DQN(space, ACTIONS, config, seed=1) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 16, 4, 10, 10), generator=generator, dtype=torch.uint8)
    ones, index = torch.ones(16), torch.arange(16)
    batch = Batch(images[0], index % 3, ones, ones, images[1], ones, None, index)
    assert agent._noise is not None
    noise = torch.rand(agent._noise.shape, generator=generator)
    agent._update._by_backward(batch, noise)
    same._update._by_transform(batch, noise)
    assert agent.weights.grad.abs().max() > 1e-4
    torch.testing.assert_close(same.weights.grad, agent.weights.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_an_update_is_one_graph(part: str) -> None:
    """Dynamo traces the update without a break, whatever the parts, and again no more."""
    agent = made(**PARTS[part], compile=True)
    counted = torch._dynamo.testing.CompileCounter()
    traced = torch.compile(agent._update._by_transform, fullgraph=True, backend=counted)
    for _ in range(3):
        traced(*one_batch(agent))
        agent._update._step()
    assert counted.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("part", ["plain", pytest.param("rainbow", marks=pytest.mark.long)])
def test_compiled_equals_eager(part: str) -> None:
    """Five updates give the same weights, and either goes on from the other's state."""
    eager, compiled = made(**PARTS[part]), made(**PARTS[part], compile=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="compile: ")  # no falling back
        for _ in range(2):
            for _ in range(5):
                expected, metrics = eager.learn(), compiled.learn()
                torch.testing.assert_close(metrics, expected, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(compiled.weights.data, eager.weights.data, rtol=1e-3, atol=1e-5)
            one, other = compiled.state_dict(), eager.state_dict()
            assert one["optimizer"]["param_groups"] == other["optimizer"]["param_groups"]
            eager.load_state_dict(one)
            compiled.load_state_dict(other)


@pytest.mark.slow
def test_without_a_compiler_the_update_runs_uncompiled() -> None:
    eager, compiled = made(double=True), made(double=True, compile=True)
    settings = {"cpp.cxx": (None, "/nowhere/c++"), "force_disable_caches": True}
    with (
        torch._inductor.config.patch(settings),
        pytest.warns(UserWarning, match=r"compile: running uncompiled.*No working C\+\+ compiler") as said,
    ):
        metrics = [compiled.learn() for _ in range(3)]
    assert len([warning for warning in said if "compile:" in str(warning.message)]) == 1
    expected = [eager.learn() for _ in range(3)]
    torch.testing.assert_close(metrics, expected, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_compiled_runs_as_it_is() -> None:
    function = Compiled(lambda x: x.item() + 1 if x.sum() > 0 else x, otherwise=lambda x: x + 10)
    with pytest.warns(UserWarning, match="compile: running uncompiled") as said:
        assert [function(torch.ones(1)).item() for _ in range(3)] == [11, 11, 11]
    assert len(said) == 1
    assert "\n" not in str(said[0].message)


def test_learning_rate_follows_its_schedule() -> None:
    agent = made(learning_rate="linear:0.1:0:200", train_period=4)
    rates = []
    for _ in range(3):
        agent.learn()
        rates.append(agent.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1 * (1 - step / 200) for step in (5, 9, 13)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cuda_graphs": True}, "cuda_graphs needs device cuda, got cpu"),
        ({"cuda_graphs": True, "optimizer": "adagrad"}, "cuda_graphs cannot be combined with optimizer adagrad"),
        ({"compile": True, "recurrent": "lstm"}, "compile needs recurrent none, got lstm"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        DQN(SPACE, ACTIONS, replace(PLAIN, **changes))
    assert "\n" not in str(raised.value)


def test_optimizer_states_move_between_kinds_of_learners() -> None:
    """What a captured one keeps (a tensor as learning rate, `capturable`) is not what another takes over."""
    one, other = (optimizers.build("adam", torch.nn.Parameter(torch.ones(3)), lr=0.1) for _ in range(2))
    for optimizer, gradient in ((one, 1.0), (other, 5.0)):
        optimizer.param_groups[0]["params"][0].grad = torch.full((3,), gradient)
        optimizer.step()
    one.param_groups[0] |= {"lr": torch.tensor(0.25), "capturable": True}
    optimizers.set_learning_rate(one, 0.5)
    state = optimizers.state_of(one)
    assert state["param_groups"][0]["lr"] == 0.5
    assert not isinstance(state["param_groups"][0]["lr"], Tensor)
    optimizers.load_state(other, state)
    assert not other.param_groups[0]["capturable"]
    assert other.param_groups[0]["lr"] == 0.1
    moments = next(iter(other.state.values()))
    torch.testing.assert_close(moments["exp_avg"], torch.full((3,), 0.1))
    assert moments["exp_avg"] is not next(iter(one.state.values()))["exp_avg"]


def test_a_generator_of_another_device_keeps_its_own_state() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    restore_generator(generator, torch.zeros(16, dtype=torch.uint8))
    assert torch.equal(generator.get_state(), before)
    restore_generator(generator, torch.Generator().manual_seed(4).get_state())
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(4).get_state())


def test_actions_chosen_on_the_device() -> None:
    """Greedy, random and masked; a row that allows none takes the first action, as on the CPU."""
    agent = made(noisy=True)
    actor = agent.actor(4, explore=False, seed=0)
    obs = torch.rand(4, 5)
    greedy = agent.values.q(agent.online(obs)).argmax(1) + 2
    assert torch.equal(actor.act_on_device(obs, None, 0.0), greedy)
    mask = torch.tensor([[True, False, True], [False, True, False], [False, False, False], [True, True, True]])
    counts = torch.zeros(4, 3)
    for _ in range(500):
        counts[torch.arange(4), actor.act_on_device(obs, mask, 1.0) - 2] += 1
    assert (counts[0] > 180).tolist() == [True, False, True]
    assert counts[1].tolist() == [0, 500, 0]
    assert counts[2].tolist() == [500, 0, 0]
    assert (counts[3] > 110).all()
    masked = actor.act_on_device(obs, mask, 0.0)
    assert torch.equal(masked, actor._act_masked(obs, mask, 0.0).action)
    exploring = agent.actor(4, explore=True, seed=0)
    before = exploring._noise.clone()
    exploring.act_on_device(obs, None, 0.0)
    assert not torch.equal(exploring._noise, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_captured_equals_eager(part: str, compile: bool) -> None:
    """Ten updates, the state moved to the other kind of learner in the middle."""
    eager = made("cuda", **PARTS[part])
    captured = made("cuda", **PARTS[part], cuda_graphs=True, compile=compile)
    for _ in range(2):
        for _ in range(8):
            expected, metrics = eager.learn(), captured.learn()
            torch.testing.assert_close(metrics, expected, rtol=1e-3, atol=1e-4)
        assert captured._captured is not None
        assert captured._captured._graph is not None
        torch.testing.assert_close(captured.weights.data, eager.weights.data, rtol=1e-3, atol=1e-4)
        one, other = captured.state_dict(), eager.state_dict()
        eager.load_state_dict(one)
        captured.load_state_dict(other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "nature-rmsprop"])
def test_captured_learning_rate_follows_its_schedule(optimizer: str) -> None:
    rate = {"optimizer": optimizer, "learning_rate": "linear:0.01:0:50"}
    eager, captured = made("cuda", **rate), made("cuda", **rate, cuda_graphs=True)
    for _ in range(12):
        eager.learn()
        captured.learn()
    torch.testing.assert_close(captured.weights.data, eager.weights.data, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_nothing_waits_for_the_device(part: str, cuda_graphs: bool) -> None:
    """Act, store, sample, update and re-prioritise read nothing back."""
    agent = made("cuda", **PARTS[part], cuda_graphs=cuda_graphs)
    actor = agent.actor(3, explore=True, seed=0)
    for _ in range(5):
        agent.learn()
    obs, none = torch.rand((3, 5), device="cuda"), torch.zeros(3, dtype=torch.bool, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            acted = actor.act(obs, none)
            agent.store(obs, acted, Step(obs, none, obs, obs[:, 0], none, none, num_active=3, num_ended=None))
            agent.learn()
    finally:
        torch.cuda.set_sync_debug_mode("default")
