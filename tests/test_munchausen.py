"""Munchausen targets: by hand, against a loop over actions, with every kind of values, memory and population."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gymnast.agents import DQNConfig
from gymnast.agents.maths.td import categorical_projection
from gymnast.agents.value.munchausen import MunchausenBackup
from gymnast.agents.value.q_network import build_backup, build_values
from gymnast.agents.value.values import VALUES, ScalarValues
from gymnast.cli.main import main
from gymnast.replay.transitions import Batch
from tests.test_rainbow import SMALL as SMALL_DQN
from tests.test_rainbow import Run
from tests.test_recurrent import SMALL, agent, random_batch

CPU = torch.device("cpu")


def batch_of(reward: list[float], action: list[int], discount: list[float], **changes: Any) -> Batch:
    rows = len(reward)
    made = Batch(
        obs=torch.zeros(rows, 2),
        action=torch.tensor(action),
        reward=torch.tensor(reward),
        discount=torch.tensor(discount),
        next_obs=torch.zeros(rows, 2),
        weight=torch.ones(rows),
        next_mask=None,
        index=torch.arange(rows),
    )
    return dataclasses.replace(made, **changes)


def never() -> Tensor:
    raise AssertionError("no next action is chosen")


def test_the_target_by_hand() -> None:
    """Temperature 1/2, values 1 and 0: log pi is -0.1269 and -2.1269, so that the second one is clipped at -1.

    Bootstrapped is the soft value of 2 and 1, 1/2 log(e^4 + e^2) = 2.0635: the mean 1.8808 and the entropy 0.3653 / 2.
    """
    backup = MunchausenBackup(ScalarValues("mse"), alpha=0.9, temperature=0.5, clip=-1.0)
    sample = batch_of([1.0, 1.0, 3.0], [0, 1, 0], [0.9, 0.9, 0.0])
    now, following = (torch.tensor(pair).expand(3, 2).unsqueeze(2) for pair in ([1.0, 0.0], [2.0, 1.0]))
    reward, output = backup(sample, following, choice=never, before=lambda: now)
    assert output.shape == (3, 1)
    bonus, soft = -0.9 * 0.5 * 0.126928, 0.5 * math.log(math.exp(4) + math.exp(2))
    targets = reward + sample.discount * output.squeeze(1)
    assert targets.tolist() == pytest.approx([1 + bonus + 0.9 * soft, 1 - 0.9 + 0.9 * soft, 3 + bonus], abs=1e-6)
    assert soft == pytest.approx(1.880797 + 0.5 * 0.365334, abs=1e-6)


def test_a_low_temperature_and_no_bonus_are_the_greedy_target() -> None:
    rng = torch.Generator().manual_seed(0)
    now, following = torch.randn(2, 5, 3, 1, generator=rng)
    sample = batch_of([0.5] * 5, [0, 1, 2, 0, 1], [0.9] * 5)
    values = ScalarValues("mse")
    backup = MunchausenBackup(values, alpha=0.0, temperature=1e-4, clip=-1.0)
    plain = build_backup(DQNConfig(), values, key=0)
    reward, output = backup(sample, following, choice=never, before=lambda: now)
    greedy_reward, greedy = plain(sample, following, choice=never, before=never)
    torch.testing.assert_close(reward + 0.9 * output[:, 0], greedy_reward + 0.9 * greedy[:, 0])


@pytest.mark.parametrize("kind", VALUES)
def test_the_expected_outputs_have_the_policys_value(kind: Any) -> None:
    made = build_values(DQNConfig(values=kind, quantiles=3, atoms=4), CPU)
    rng = torch.Generator().manual_seed(1)
    width = made.outputs if kind != "implicit" else 6
    output, policy = torch.randn(5, 2, width, generator=rng), torch.rand(5, 2, generator=rng).softmax(1)
    policy[0] = torch.tensor([1.0, 0.0])  # an action that is never taken
    mean = (policy * made.q(output)).sum(1)
    expected = made.expected(output, policy)
    torch.testing.assert_close(made.q(expected.unsqueeze(1)).squeeze(1), mean)
    torch.testing.assert_close(made.q(expected[:1].unsqueeze(1)), made.q(output[:1, :1]))


def test_a_categorical_target_is_the_mixture_of_the_actions() -> None:
    """The policy mixes the actions' distributions, not their logits; reward and entropy move the mixture."""
    config = DQNConfig(values="categorical", atoms=11, v_min=-2.0, v_max=2.0, munchausen=True)
    config = dataclasses.replace(config, munchausen_temperature=0.3, munchausen_alpha=0.5)
    values = build_values(config, CPU)
    rng = torch.Generator().manual_seed(2)
    now, following = torch.randn(2, 4, 3, 11, generator=rng)
    sample = batch_of([0.1, 0.2, -0.3, 0.4], [2, 0, 1, 1], [0.9, 0.0, 0.9, 0.5])
    reward, output = build_backup(config, values, key=0)(sample, following, choice=never, before=lambda: now)
    support = torch.linspace(-2.0, 2.0, 11)
    for row in range(4):
        q, next_q = (logits[row].softmax(1) @ support for logits in (now, following))
        log_pi = (q / 0.3).log_softmax(0)[sample.action[row]]
        pi = (next_q / 0.3).softmax(0)
        assert reward[row].item() == pytest.approx(
            sample.reward[row].item()
            + 0.5 * max(-1.0, 0.3 * log_pi.item())
            - sample.discount[row].item() * 0.3 * (pi * pi.log()).sum().item(),
            abs=1e-6,
        )
        mixture = pi @ following[row].softmax(1)
        torch.testing.assert_close(output[row].softmax(0), mixture)
    aim = categorical_projection(output.softmax(1), reward, sample.discount, support)
    torch.testing.assert_close(aim.sum(1), torch.ones(4))


def test_quantiles_are_mixed_one_by_one() -> None:
    values = build_values(DQNConfig(values="quantile", quantiles=2), CPU)
    output = torch.tensor([[[0.0, 4.0], [2.0, 2.0]]])
    assert values.expected(output, torch.tensor([[0.25, 0.75]])).tolist() == [[1.5, 2.5]]


def test_a_recurrent_loss_equals_a_naive_loop() -> None:
    made = agent(dataclasses.replace(SMALL, recurrent="gru", munchausen=True, n_step=2, loss="mse"))
    rng = torch.Generator().manual_seed(3)
    made.target_weights.data.normal_(0, 0.3, generator=rng)
    batch = random_batch(rng, memory_size=made.online.memory_size, n=2)  # type: ignore[attr-defined]
    batch.next_mask, batch.prefix_start[:], batch.start[:] = None, False, False
    loss, _, _ = made.sequence_loss(batch, None)

    def unrolled(network: Any, row: int) -> Tensor:
        memory, outputs = batch.memory[row : row + 1], []
        for seen in (*batch.prefix_obs[row], *batch.obs[row]):
            output, memory = network.step(seen.unsqueeze(0), memory)
            outputs.append(output[0, :, 0])
        return torch.stack(outputs[SMALL.burn_in :])

    total = 0.0
    with torch.no_grad():
        for row in range(3):
            online, target = unrolled(made.online, row), unrolled(made.target, row)
            for step in range(SMALL.sequence_length):
                action, after = int(batch.action[row, step]), int(batch.successor[row, step])
                bonus = max(-1.0, 0.03 * float((target[step] / 0.03).log_softmax(0)[action]))
                soft = 0.03 * float((target[after] / 0.03).logsumexp(0))
                aim = float(batch.reward[row, step]) + 0.9 * bonus + float(batch.discount[row, step]) * soft
                squared = (aim - float(online[step][action])) ** 2
                total += float(batch.weight[row] * batch.valid[row, step]) * squared
    assert loss.item() == pytest.approx(total / float(batch.valid.sum()), rel=1e-4)


def test_the_policies_have_allowed_actions_only() -> None:
    """As if the other actions did not exist, in both states; a state that allows none is an end."""
    backup = build_backup(DQNConfig(munchausen=True, munchausen_temperature=0.5), ScalarValues("mse"), key=0)
    q, next_q = torch.tensor([[1.0, 9.0, 0.5], [1.0, 2.0, 3.0]]), torch.tensor([[7.0, 0.2, 0.4], [1.0, 1.0, 1.0]])
    masks = torch.tensor([[True, False, True], [True, True, True]])
    next_masks = torch.tensor([[False, True, True], [False, False, False]])
    sample = batch_of([1.0, 2.0], [2, 1], [0.9, 0.0], mask=masks, next_mask=next_masks)
    reward, output = backup(sample, next_q.unsqueeze(2), choice=never, before=lambda: q.unsqueeze(2))
    small = batch_of([1.0], [1], [0.9])
    expected, value = backup(
        small, next_q[:1, 1:].unsqueeze(2), choice=never, before=lambda: q[:1, [0, 2]].unsqueeze(2)
    )
    assert reward[0].item() == pytest.approx(expected.item())
    assert output[0].item() == pytest.approx(value.item())
    assert reward.isfinite().all()
    assert output.isfinite().all()


@pytest.mark.parametrize("changes", [{}, {"recurrent": "gru"}, {"bootstrap_heads": 2}, {"values": "quantile"}])
def test_agents_learn_where_actions_are_masked(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL_DQN, munchausen=True, **changes)
    run = Run("Taxi-v4", config, num_envs=2).go(120)
    assert run.metrics
    assert all(metrics["loss"].isfinite() for metrics in run.metrics)
    assert run.agent.weights.data.isfinite().all()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dqn", "--munchausen", "--double"], "double cannot be combined with munchausen"),
        (["rainbow", "--munchausen"], "double cannot be combined with munchausen"),
        (["dqn", "--munchausen-temperature", "0"], "--munchausen-temperature must be > 0, got 0.0"),
        (["dqn", "--munchausen-clip", "1"], "--munchausen-clip must be <= 0, got 1.0"),
        (["dqn", "--munchausen-alpha", "1.5"], "--munchausen-alpha must be between 0 and 1, got 1.5"),
    ],
)
def test_bad_input_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", words[0], "--env", "CartPole-v1", *words[1:]]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
