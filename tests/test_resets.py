"""Resets: which weights begin anew, when, and what stays."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.optim.optimizers import FROM_ZERO
from gymnast.cli.main import main
from gymnast.envs.step import Obs
from tests.test_rainbow import Run

SMALL = DQNConfig(
    hidden_sizes=(6, 5), batch_size=4, replay_size=64, learning_starts=10, train_period=2, reset_period=40, tau=0.5
)


def parts(agent: DQN) -> dict[str, Tensor]:
    networks = {"online": agent.online, "target": agent.target}
    return {f"{of}.{name}": part.clone() for of, one in networks.items() for name, part in one.named_parameters()}


def test_a_reset_draws_the_head_anew_and_the_backbone_in_part() -> None:
    run = Run("CartPole-v1", dataclasses.replace(SMALL, reset_keep=0.75)).go(38)
    agent = run.agent
    resets = agent.extras.resets
    assert resets is not None
    before, twin = parts(agent), torch.Generator()
    twin.set_state(resets.generator.get_state())
    fresh = {of: dict(resets.make(twin).named_parameters()) for of in ("online", "target")}
    assert any(value.abs().sum() > 0 for state in agent.optimizer.state.values() for value in state.values())
    assert resets(40, (agent.online, agent.target), agent.optimizer)
    for name, part in parts(agent).items():
        of, _, own = name.partition(".")
        new = fresh[of][own]
        expected = new if own.startswith("head") else 0.75 * before[name] + 0.25 * new
        torch.testing.assert_close(part, expected.detach())
    assert not torch.equal(agent.online.head.stream.output.weight, agent.target.head.stream.output.weight)  # type: ignore[union-attr]
    assert all(value.abs().sum() == 0 for state in agent.optimizer.state.values() for value in state.values())
    assert not resets(79, (agent.online, agent.target), agent.optimizer)
    assert resets(80, (agent.online, agent.target), agent.optimizer)


def test_resets_follow_env_steps_whatever_the_number_of_environments() -> None:
    seen = []
    for rows in (1, 4):
        run = Run("CartPole-v1", SMALL, num_envs=rows).go(120)
        assert run.agent.extras.resets is not None
        seen.append(run.agent.extras.resets.done)
        assert run.agent.weights.data.isfinite().all()
    assert seen == [3, 3]


def test_a_prior_stays() -> None:
    run = Run("CartPole-v1", dataclasses.replace(SMALL, bootstrap_heads=2, prior_scale=1.0)).go(30)
    before = {name: part.clone() for name, part in run.agent.online.prior.state_dict().items()}  # type: ignore[union-attr]
    run.go(60)
    after = run.agent.online.prior.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(part, after[name]) for name, part in before.items())


@pytest.mark.parametrize("optimizer", FROM_ZERO)
def test_every_allowed_optimizer_begins_as_a_new_one(optimizer: str) -> None:
    """Its first step after a reset is that of a new optimizer."""
    run = Run("CartPole-v1", dataclasses.replace(SMALL, optimizer=optimizer)).go(38)
    agent, other = run.agent, DQN(run.agent.observation_space, run.agent.action_space, run.agent.config)
    assert agent.extras.resets is not None
    agent.extras.resets(40, (agent.online, agent.target), agent.optimizer)
    other.weights.data.copy_(agent.weights.data)
    grad = torch.randn(agent.weights.grad.shape, generator=torch.Generator().manual_seed(0))
    for one in (agent, other):
        one.weights.grad.copy_(grad)
        one.optimizer.step()
    torch.testing.assert_close(agent.weights.data, other.weights.data)


class Own(nn.Module):
    out_features = 3

    def forward(self, obs: Obs) -> Tensor:
        assert isinstance(obs, Tensor)
        return obs


def test_a_module_cannot_be_drawn_anew() -> None:
    with pytest.raises(ValueError, match="reset_period needs a backbone by name or by class"):
        DQN(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), SMALL, network=Own())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--reset-keep 0.5", "--reset-keep 0.5 has no effect without --reset-period"),
        ("--reset-period 100 --reset-keep 1.5", "--reset-keep must be between 0 and 1, got 1.5"),
        ("--reset-period 100 --optimizer adagrad", "--reset-period needs one of the optimizers adam, adamw"),
        ("--reset-period 100 --seeds 0:2", "reset_period 100 cannot be used in a population"),
    ],
)
def test_bad_input_is_one_line(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dqn", "--env", "gymnast/CartPole-v1", *words.split()]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
