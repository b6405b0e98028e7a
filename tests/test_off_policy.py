"""Off-policy actor-critics: targets and losses against naive oracles, periods, actions, and that they learn."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import OffPolicyActorCritic, OffPolicyActorCriticConfig
from gymnast.agents.base import Acted
from gymnast.agents.maths.actor_critic import (
    critic_loss,
    quantile_critic_loss,
    soft_value,
    squashed_log_prob,
    temperature_slope,
    truncated,
)
from gymnast.agents.off_policy.policies import Choice, Deterministic, Softmax, SquashedNormal
from gymnast.agents.table import ALGORITHMS
from gymnast.envs.step import Step
from gymnast.replay.transitions import Batch

OBS = spaces.Box(-np.inf, np.inf, (3,), np.float32)
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))
ROWS = 32
NAMES = [name for name, kind in ALGORITHMS.items() if kind.base == "sac"]
SMALL = {"hidden_sizes": (40, 40), "policy_hidden_sizes": (40,), "batch_size": ROWS, "learning_starts": 16}
SMALL |= {"replay_size": 2_000}


def config(name: str = "sac", **changes: Any) -> OffPolicyActorCriticConfig:
    own = ALGORITHMS[name].changes if name in ALGORITHMS else {}
    return OffPolicyActorCriticConfig(**{**own, **SMALL, **changes})


def agent(name: str = "sac", space: gym.Space[Any] = BOX, num_envs: int = 1, **changes: Any) -> OffPolicyActorCritic:
    return OffPolicyActorCritic(OBS, space, config(name, **changes), num_envs=num_envs, seed=3)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def a_batch(space: gym.Space[Any] = BOX) -> Batch:
    action = normal(ROWS, 2, seed=2).tanh() if isinstance(space, spaces.Box) else torch.arange(ROWS) % 3
    discount = torch.where(torch.arange(ROWS) % 5 == 0, 0.0, 0.9)  # every fifth is terminal
    return Batch(
        obs=normal(ROWS, 3, seed=1),
        action=action,
        reward=normal(ROWS, seed=3),
        discount=discount,
        next_obs=normal(ROWS, 3, seed=4),
        weight=normal(ROWS, seed=5).abs(),
        next_mask=None,
        index=torch.arange(ROWS),
    )


# Densities.


def test_the_squashed_density_is_that_of_the_squashed_number() -> None:
    """It integrates to 1 over (-1, 1), by a fine sum, and its mean logarithm is minus the entropy."""
    action = torch.linspace(-1, 1, 2_000_001, dtype=torch.float64)[1:-1]
    for mean, log_std in ((0.0, -1.0), (0.8, -0.5), (-1.5, 0.2)):
        raw = action.atanh()
        noise = (raw - mean) / math.exp(log_std)
        log_prob = squashed_log_prob(noise.unsqueeze(1), torch.full_like(noise, log_std).unsqueeze(1), raw.unsqueeze(1))
        assert log_prob.exp().sum().item() * 1e-6 == pytest.approx(1.0, abs=1e-3)
    both = torch.cat([normal(5, 2, seed=1), normal(5, 2, seed=2) * 0.3], 1)
    noise = normal(5, 2, seed=3)
    choice = SquashedNormal(2).choose(both, noise)
    distribution = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(both[:, :2], both[:, 2:].exp()), torch.distributions.TanhTransform()
    )
    assert choice.action is not None
    expected = distribution.log_prob(choice.action).sum(1, keepdim=True)
    torch.testing.assert_close(choice.log_prob, expected, rtol=1e-3, atol=1e-3)


def test_densities_of_extreme_actions_are_finite() -> None:
    output = torch.tensor([[50.0, 2.0], [-300.0, -20.0]])
    choice = SquashedNormal(1).choose(output, torch.tensor([[3.0], [-2.0]]))
    assert choice.log_prob.isfinite().all()
    assert choice.action is not None
    assert (choice.action.abs() <= 1.0).all()


# Targets.


def sampled(agent: OffPolicyActorCritic, batch: Batch, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The next actions and their log-probabilities, by torch's own distributions."""
    output = agent.network(batch.next_obs)
    mean, log_std = output.chunk(2, 1)
    raw = mean + log_std.clamp(-20, 2).exp() * noise
    log_prob = torch.distributions.Normal(mean, log_std.exp()).log_prob(raw) - torch.log(1 - raw.tanh() ** 2)
    return raw.tanh(), log_prob.sum(1)


def critic(agent: OffPolicyActorCritic, member: int, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """[B, K], one critic of an agent by plain linear layers."""
    network = agent.target.critics
    features = torch.cat([obs, action], 1)
    for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        features = features @ weight[member].T + bias[member]
        if number < len(network.weights) - 1:
            features = features.relu()
    return features


def target_of(agent: OffPolicyActorCritic, batch: Batch, **draws: Any) -> torch.Tensor:
    """Targets [B, K'] as the loss computes them."""
    found = dict[str, torch.Tensor]()
    plain = agent.losses.target_of

    def seen(*args: Any) -> torch.Tensor:
        found["target"] = plain(*args)
        return found["target"]

    agent.losses.target_of = seen  # type: ignore[method-assign]
    agent.losses.of_critics(batch, agent._draw(ROWS)._replace(**draws))
    return found["target"]


@torch.no_grad()
def test_targets_of_sac() -> None:
    """r + discount * (min Q' - alpha log pi) row by row; a discount of 0 leaves the reward."""
    own, batch, noise = agent(initial_temperature=0.3), a_batch(), normal(ROWS, 2, seed=7)
    action, log_prob = sampled(own, batch, noise)
    target = target_of(own, batch, next_action=noise)
    both = torch.stack([critic(own, member, batch.next_obs, action) for member in range(2)])
    for row in range(ROWS):
        value = min(both[0, row].item(), both[1, row].item()) - 0.3 * log_prob[row].item()
        expected = batch.reward[row].item() + batch.discount[row].item() * value
        assert target[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@torch.no_grad()
def test_targets_of_td3() -> None:
    """By the target policy, with clipped noise on an action that stays in its bounds."""
    own, batch, noise = agent("td3", target_noise=0.6, target_noise_clip=0.5), a_batch(), 3 * normal(ROWS, 2, seed=7)
    own.network.layers.weights[0].mul_(3.0)  # acts otherwise than its target
    action = own.target_policy(batch.next_obs).tanh()
    action = (action + (0.6 * noise).clamp(-0.5, 0.5)).clamp(-1, 1)
    smallest = torch.minimum(*(critic(own, member, batch.next_obs, action) for member in range(2)))
    expected = batch.reward.unsqueeze(1) + batch.discount.unsqueeze(1) * smallest
    torch.testing.assert_close(target_of(own, batch, next_action=noise), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_targets_of_ddpg_have_no_noise_and_no_minimum() -> None:
    own, batch = agent("ddpg"), a_batch()
    expected = batch.discount.unsqueeze(1) * critic(own, 0, batch.next_obs, own.target_policy(batch.next_obs).tanh())
    target = target_of(own, batch)
    torch.testing.assert_close(target, batch.reward.unsqueeze(1) + expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_targets_of_redq_take_a_random_subset() -> None:
    own, batch, noise = agent("redq", critics=5), a_batch(), normal(ROWS, 2, seed=7)
    action, log_prob = sampled(own, batch, noise)
    target = target_of(own, batch, next_action=noise, subset=torch.tensor([4, 1]))
    smallest = torch.minimum(*(critic(own, member, batch.next_obs, action).squeeze(1) for member in (1, 4)))
    expected = batch.reward + batch.discount * (smallest - own.temperature.value * log_prob)
    torch.testing.assert_close(target.squeeze(1), expected, rtol=1e-4, atol=1e-4)
    drawn = torch.stack([own._draw(1).subset for _ in range(2_000)])  # type: ignore[misc]
    assert (drawn[:, 0] != drawn[:, 1]).all()
    counts = torch.bincount(drawn.flatten(), minlength=5)
    assert (counts.float() - 800).abs().max() < 5 * math.sqrt(800 * 0.6)


@torch.no_grad()
def test_targets_of_tqc_pool_and_truncate() -> None:
    own, batch, noise = agent("tqc", critics=3, quantiles=4, drop_quantiles=1), a_batch(), normal(ROWS, 2, seed=7)
    action, log_prob = sampled(own, batch, noise)
    target = target_of(own, batch, next_action=noise)
    pooled = torch.cat([critic(own, member, batch.next_obs, action) for member in range(3)], 1)
    for row in range(ROWS):
        kept = sorted(pooled[row].tolist())[:9]  # 12 quantiles without the largest three
        bonus = own.temperature.value.item() * log_prob[row].item()
        expected = [batch.reward[row].item() + batch.discount[row].item() * (one - bonus) for one in kept]
        assert target[row].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_truncated_drops_the_largest_of_all() -> None:
    quantiles = torch.tensor([[[5.0, 1.0]], [[2.0, 9.0]]])
    assert truncated(quantiles, 1).tolist() == [[1.0, 2.0]]
    assert truncated(quantiles, 0).tolist() == [[1.0, 2.0, 5.0, 9.0]]


@torch.no_grad()
def test_discrete_targets_are_expectations() -> None:
    """Sums over the actions, the minimum taken before, and masked actions count nothing (Christodoulou 2019)."""
    own = agent(space=spaces.Discrete(3, start=4), initial_temperature=0.5)
    batch = a_batch(own.action_space)
    batch.next_mask = torch.ones(ROWS, 3, dtype=torch.bool)
    batch.next_mask[::2, 1] = False
    target = target_of(own, batch)
    q = own.target(batch.next_obs, None)[..., 0]  # [M, B, A]
    logits = own.network(batch.next_obs)
    for row in range(ROWS):
        actions = [0, 2] if row % 2 == 0 else [0, 1, 2]
        probability = torch.softmax(logits[row, actions], 0)
        value = sum(
            p.item() * (q[:, row, action].min().item() - 0.5 * math.log(p.item()))
            for p, action in zip(probability, actions, strict=True)
        )
        expected = batch.reward[row].item() + batch.discount[row].item() * value
        assert target[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


# Losses.


def test_critic_losses_by_hand() -> None:
    prediction = torch.tensor([[[1.0], [2.0]], [[3.0], [2.5]]])  # two critics, two rows
    loss, error = critic_loss(prediction, torch.tensor([[2.0], [2.0]]))
    assert loss.tolist() == [1.0 + 1.0, 0.0 + 0.25]
    assert error.tolist() == [1.0, 0.25]


def test_quantile_critic_loss_equals_a_loop() -> None:
    prediction, target = normal(2, 3, 4, seed=1), normal(3, 5, seed=2)
    tau = (torch.arange(4) + 0.5).unsqueeze(0) / 4
    loss, error = quantile_critic_loss(prediction, target, tau)
    for row in range(3):
        total = 0.0
        for member in range(2):
            for quantile in range(4):
                for wanted in target[row].tolist():
                    gap = wanted - prediction[member, row, quantile].item()
                    huber = 0.5 * gap**2 if abs(gap) <= 1 else abs(gap) - 0.5
                    total += abs(tau[0, quantile].item() - (gap < 0)) * huber / (4 * 5)
        assert loss[row].item() == pytest.approx(total, rel=1e-5)
        assert error[row].item() == pytest.approx(
            abs(prediction[:, row].mean().item() - target[row].mean().item()), rel=1e-5
        )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("crossq", "droq")])
def test_critic_gradients_equal_autograds(name: str) -> None:
    """Those of a loss that is written naively over separate networks."""
    own, batch = (
        agent(name, critics=3 if name in ("tqc", "redq") else ALGORITHMS[name].changes.get("critics", 2)),
        a_batch(),
    )
    draws = own._draw(ROWS)
    loss, _, _ = own.losses.of_critics(batch, draws)
    grads = torch.autograd.grad(loss, list(own.online.parameters()))
    target = target_of(own, batch, **draws._asdict()).detach()
    total = torch.zeros(())
    own.target, kept = own.online, own.target  # `critic` reads this one
    for member in range(own.config.critics):
        prediction = critic(own, member, batch.obs, batch.action)
        if own.config.values == "quantile":
            each, _ = quantile_critic_loss(prediction.unsqueeze(0), target, own.losses.midpoints)
        else:
            each = (prediction - target).square().squeeze(1)
        total = total + (batch.weight * each).mean()
    own.target = kept
    for one, other in zip(grads, torch.autograd.grad(total, list(own.online.parameters())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "combined"), [("sac", "min"), ("redq", "mean"), ("td3", "first")])
def test_policy_gradients_equal_autograds(name: str, combined: str) -> None:
    own, batch = agent(name), a_batch()
    draws = own._draw(ROWS)
    loss, entropy, _ = own.losses.of_policy(batch, draws)
    loss.backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in own.online.parameters())
    grads = [parameter.grad.clone() for parameter in own.network.parameters()]
    output = own.network(batch.obs)
    if name == "td3":
        action, bonus = output.tanh(), torch.zeros(ROWS)
    else:
        mean, log_std = output.chunk(2, 1)
        raw = mean + log_std.exp() * draws.action
        density = torch.distributions.Normal(mean, log_std.exp()).log_prob(raw) - torch.log(1 - raw.tanh() ** 2)
        action, bonus = raw.tanh(), own.temperature.value * density.sum(1)
        torch.testing.assert_close(entropy, -density.sum(1).detach(), rtol=1e-3, atol=1e-3)
    own.target = own.online
    q = torch.stack([critic(own, member, batch.obs, action).squeeze(1) for member in range(own.config.critics)])
    value = {"min": q.amin(0), "mean": q.mean(0), "first": q[0]}[combined]
    expected = torch.autograd.grad((bonus - value).mean(), list(own.network.parameters()))
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_crossq_normalises_both_ends_together() -> None:
    """One batch of 2B rows in training mode, no gradient through the successors, and no target network in use."""
    own, batch = agent("crossq", norm_warm_up=5), a_batch()
    draws = own._draw(ROWS)
    own.online.train()
    loss, _, _ = own.losses.of_critics(batch, draws)
    grads = torch.autograd.grad(loss, list(own.online.parameters()))
    twin = agent("crossq", norm_warm_up=5)
    twin.online.train()
    with torch.no_grad():
        output = twin.network(batch.next_obs)
        choice = twin.policy.choose(output, draws.next_action)
    pair = torch.cat([torch.cat([batch.obs, batch.action], 1), torch.cat([batch.next_obs, choice.action], 1)])
    q, next_q = twin.online.critics(pair).squeeze(2).chunk(2, 1)  # [M, B] each
    value = next_q.detach().amin(0) - twin.temperature.value * choice.log_prob.squeeze(1)
    error = q - (batch.reward + batch.discount * value)
    expected = torch.autograd.grad((batch.weight * error.square().sum(0)).mean(), list(twin.online.parameters()))
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert own.targets == []


def test_the_temperature_keeps_the_entropy_at_its_target() -> None:
    assert temperature_slope(torch.tensor([1.0, -3.0]), -2.0).item() == ((1 + 2) + (-3 + 2)) / 2
    own = agent(temperature_learning_rate=0.1)
    before = own.temperature.value.item()
    own.temperature.learn(torch.full((8,), own.temperature.target + 1.0))  # too random: a smaller weight
    assert own.temperature.value.item() == pytest.approx(before * math.exp(-0.1), rel=1e-4)
    own.temperature.learn(torch.full((8,), own.temperature.target - 50.0))
    assert own.temperature.value.item() > before * math.exp(-0.1)


def test_target_entropies() -> None:
    assert agent().temperature.target == -2.0
    assert agent(space=spaces.Discrete(3)).temperature.target == pytest.approx(0.98 * math.log(3))
    assert agent(target_entropy=-7.5).temperature.target == -7.5


def test_a_given_temperature_follows_its_schedule() -> None:
    own = agent(temperature="linear:1:0:100")
    own.temperature.anneal(25)
    assert own.temperature.value.item() == pytest.approx(0.75)
    own.temperature.learn(torch.zeros(4))
    assert own.temperature.value.item() == pytest.approx(0.75)


def test_soft_value_of_a_deterministic_policy_is_its_action_value() -> None:
    q, choice = normal(4, 1), Deterministic(2).choose(normal(4, 2), None)
    assert torch.equal(soft_value(q, choice.probability, choice.log_prob, torch.tensor(0.0)), q.squeeze(1))


def test_entropy_of_choices() -> None:
    choice = Softmax(4).choose(torch.zeros(2, 4), None)
    assert choice.entropy.tolist() == pytest.approx([math.log(4)] * 2)
    assert Choice(None, torch.ones(1, 1), torch.tensor([[-1.5]])).entropy.tolist() == [1.5]


# Periods.


def stream(own: OffPolicyActorCritic, steps: int, *, learn: bool = True) -> list[int]:
    """Random transitions stored, and updates when they are due; the updates after each step."""
    actor = own.actor(own.num_envs, explore=True, seed=1)
    rows, done = own.num_envs, list[int]()
    obs, no = normal(rows, 3), torch.zeros(rows, dtype=torch.bool)
    for number in range(steps):
        acted = actor.act(obs, no)
        following = normal(rows, 3, seed=number + 10)
        ended = torch.full((rows,), number % 7 == 6)
        own.store(
            obs,
            acted,
            Step(
                obs=following,
                start=ended,
                next_obs=following,
                reward=normal(rows, seed=number),
                terminated=ended,
                truncated=no,
                num_active=rows,
                num_ended=0,
            ),
        )
        obs = following
        for _ in range(own.updates_due(own.env_step) if learn else 0):
            own.learn()
        done.append(own.updates)
    return done


@pytest.mark.parametrize("num_envs", [1, 4, 16])
def test_one_update_per_env_step_for_any_number_of_rows(num_envs: int) -> None:
    own = agent(num_envs=num_envs, hidden_sizes=(8,), policy_hidden_sizes=(8,))
    done = stream(own, 64 // num_envs)
    assert done[-1] == 64 - 16
    assert own.updates_due(64) == 0


def test_periods_of_policy_and_targets() -> None:
    """TD3: the policy and all targets move at every second update, and both at the same time."""
    own = agent("td3")
    stream(own, 20, learn=False)
    moved = []
    for _ in range(6):
        followed = own.policy_weights, *(target.weights for target in own.targets)
        before = [weights.data.clone() for weights in followed]
        critics = own.weights.data.clone()
        own.learn()
        moved.append([not torch.equal(one, now.data) for one, now in zip(before, followed, strict=True)])
        assert not torch.equal(critics, own.weights.data)
    assert moved == [[False] * 3, [True] * 3] * 3


def test_targets_follow_by_tau() -> None:
    own = agent(tau=0.25)
    stream(own, 20, learn=False)
    before = own.targets[0].weights.data.clone()
    own.learn()
    torch.testing.assert_close(own.targets[0].weights.data, before + 0.25 * (own.weights.data - before))


def test_updates_per_train_and_metrics_of_the_last_policy_update() -> None:
    own = agent("droq")
    stream(own, 18)
    assert own.updates == 40  # two env steps with 20 each
    metrics = own.learn()
    assert {"loss", "q", "policy_loss", "entropy", "temperature"} <= metrics.keys()


# Acting.


def test_actions_before_learning_are_uniform_in_the_box() -> None:
    own = agent(num_envs=4_000, replay_size=40_000)
    acted = own.actor(4_000, explore=True, seed=0).act(normal(4_000, 3), torch.ones(4_000, dtype=torch.bool))
    assert (acted.action >= torch.tensor([-2.0, 0.0])).all()
    assert (acted.action <= torch.tensor([2.0, 5.0])).all()
    torch.testing.assert_close(acted.action.mean(0), torch.tensor([0.0, 2.5]), rtol=0, atol=0.12)
    torch.testing.assert_close(acted.action.std(0), torch.tensor([4.0, 5.0]) / math.sqrt(12), rtol=0.05, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_are_exact(dtype: Any) -> None:
    """A squashed 1 is the bound itself, for bounds that floats cannot hold too."""
    low, high = np.array([-0.1, 3e-9], dtype), np.array([0.3, 1e7], dtype)
    own = agent(space=spaces.Box(low, high, dtype=dtype))
    assert own.bounds is not None
    ends = own.bounds.to_env(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-2.0, 7.0]])).numpy()
    assert ends.dtype == dtype
    assert own.action_space.contains(ends[0])
    assert own.action_space.contains(ends[1])
    np.testing.assert_allclose(ends, np.stack([low, high, [low[0], high[1]]]), rtol=1e-6)


def test_evaluations_take_the_mode_and_repeat() -> None:
    own, obs, start = agent(), normal(5, 3), torch.ones(5, dtype=torch.bool)
    actor = own.actor(5, explore=False, seed=0)
    first, second = actor.act(obs, start).action, actor.act(obs, start).action
    assert torch.equal(first, second)
    mean = own.network(obs)[:, :2].tanh()
    torch.testing.assert_close(first, mean * torch.tensor([2.0, 2.5]) + torch.tensor([0.0, 2.5]), rtol=1e-5, atol=1e-5)


def test_deterministic_policies_explore_with_noise_that_starts_anew() -> None:
    own = agent("ddpg", num_envs=2_000, replay_size=40_000, exploration_noise=0.1, learning_starts=0)
    own.env_step = own.pace.begins
    actor, obs = own.actor(2_000, explore=True, seed=0), torch.zeros(2_000, 3)
    mean = own.network(obs).tanh()
    start = torch.ones(2_000, dtype=torch.bool)

    def deviation(start: torch.Tensor) -> float:
        raw = actor.act(obs, start).raw
        assert raw is not None
        return float((raw - mean).detach().std())

    assert deviation(start) == pytest.approx(0.1, rel=0.05)
    for _ in range(60):
        later = deviation(~start)
    assert later == pytest.approx(0.1 / math.sqrt(1 - 0.85**2), rel=0.05)  # the process's own deviation
    assert deviation(start) == pytest.approx(0.1, rel=0.05)


def test_discrete_actions_are_drawn_by_their_probability() -> None:
    own = agent(space=spaces.Discrete(3, start=4), num_envs=6_000, replay_size=40_000, learning_starts=0)
    own.env_step = own.pace.begins
    obs, start = torch.zeros(6_000, 3), torch.ones(6_000, dtype=torch.bool)
    mask = torch.tensor([True, False, True]).expand(6_000, -1)
    actor = own.actor(6_000, explore=True, seed=0)
    for allowed, logits in ((None, own.network(obs[:1])[0]), (mask, own.network(obs[:1])[0, [0, 2]])):
        acted = actor.act(obs, start, allowed)
        counts = torch.bincount(acted.action - 4, minlength=3).float() / 6_000
        expected = torch.zeros(3)
        expected[[0, 1, 2] if allowed is None else [0, 2]] = logits.softmax(0)
        torch.testing.assert_close(counts, expected, rtol=0, atol=0.03)
        assert acted.raw is not None
        assert torch.equal(acted.raw + 4, acted.action)


# Images.


def test_images_are_read_by_an_encoder_that_only_the_critics_train() -> None:
    """Shifted images (DrQ) in updates; the policy's loss leaves the encoder as it is."""
    space = spaces.Box(0, 255, (4, 36, 36), np.uint8)
    chosen = config(batch_size=8, augment="shift", network="efficient-cnn")
    own = OffPolicyActorCritic(space, BOX, chosen, num_envs=2, seed=0)
    actor = own.actor(2, explore=True, seed=0)
    generator, no = torch.Generator().manual_seed(0), torch.zeros(2, dtype=torch.bool)
    obs = torch.randint(0, 256, (2, 4, 36, 36), generator=generator, dtype=torch.uint8)
    for _ in range(20):
        frame = torch.randint(0, 256, (2, 1, 36, 36), generator=generator, dtype=torch.uint8)
        following = torch.cat([obs[:, 1:], frame], 1)
        acted = actor.act(obs, no)
        reward = frame.float().mean((1, 2, 3))
        own.store(obs, acted, Step(following, no, following, reward, no, no, num_active=2, num_ended=0))
        obs = following
    encoder = next(own.online.encoder.parameters())
    before = encoder.detach().clone()
    own.learn()
    assert not torch.equal(before, encoder)
    batch = own.allocate().sample()
    assert own.augmentation is not None
    assert not torch.equal(own.augmentation.batch(batch).obs, batch.obs)
    own.weights.grad.zero_()
    own.losses.of_policy(batch, own._draw(8))[0].backward()
    assert not own.weights.grad.any()
    assert own.policy_weights.grad.any()


# On a GPU.

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def on_device(name: str, **changes: Any) -> OffPolicyActorCritic:
    own = OffPolicyActorCritic(OBS, BOX, config(name, **changes), num_envs=3, device="cuda", seed=3)
    no = torch.zeros(3, dtype=torch.bool, device="cuda")
    for number in range(30):
        obs, following = (normal(3, 3, seed=number + one).cuda() for one in (0, 1))
        raw, reward = normal(3, 2, seed=number).tanh().cuda(), normal(3, seed=number).cuda()
        own.store(
            obs, Acted(raw, raw=raw), Step(following, no, following, reward, no, no, num_active=3, num_ended=None)
        )
    return own


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("name", [name for name in NAMES if name != "droq"])
def test_captured_equals_eager(name: str) -> None:
    """Two graphs, with and without an update of the policy; the state moves to the other kind in the middle."""
    few = {"critics": 3} if name in ("tqc", "redq") else {}
    eager, captured = on_device(name, **few), on_device(name, **few, cuda_graphs=True)
    for _ in range(2):
        for _ in range(8 * eager.config.policy_period):
            torch.testing.assert_close(captured.learn(), eager.learn(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(captured.weights.data, eager.weights.data, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(captured.policy_weights.data, eager.policy_weights.data, rtol=1e-3, atol=1e-3)
        one, other = captured.state_dict(), eager.state_dict()
        eager.load_state_dict(one)
        captured.load_state_dict(other)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("name", ["sac", "td3"])
def test_nothing_waits_for_the_device(name: str, cuda_graphs: bool) -> None:
    own = on_device(name, cuda_graphs=cuda_graphs)
    actor = own.actor(3, explore=True, seed=0)
    for _ in range(12):
        own.learn()
    obs, no = torch.rand((3, 3), device="cuda"), torch.zeros(3, dtype=torch.bool, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            acted = actor.act(obs, no)
            own.store(obs, acted, Step(obs, no, obs, obs[:, 0], no, no, num_active=3, num_ended=None))
            own.learn()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Spaces and settings.


@pytest.mark.parametrize(
    ("space", "changes", "words"),
    [
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), {}, "finite bounds"),
        (spaces.Box(0, 9, (2,), np.int64), {}, "Box of floats or MultiDiscrete"),
        (spaces.MultiDiscrete([2, 3]), {}, "Box or Discrete actions"),
        (spaces.Discrete(3), {"policy": "deterministic"}, "needs Box actions"),
        (spaces.Discrete(3), {"values": "quantile", "policy_value": "mean"}, "needs Box actions"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(space: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        agent(space=space, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"critics": 2, "target_subset": 3}, "target_subset must be <= critics 2"),
        ({"values": "quantile"}, "policy_value min needs values scalar"),
        ({"values": "quantile", "policy_value": "mean", "drop_quantiles": 25}, "drop_quantiles must be < quantiles"),
        ({"policy": "deterministic", "target_network": False}, "target_network"),
        ({"temperature": "auto:1"}, "temperature"),
        ({"hidden_sizes": ()}, "hidden_sizes"),
        ({"optimizer": "sgd", "optimizer_beta1": 0.5}, "optimizer sgd has no option betas"),
        ({"dropout": 0.1, "compile": True}, "compile cannot be combined with dropout"),
        ({"tau": 0.0}, "tau must be > 0 and <= 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OffPolicyActorCriticConfig(**changes)


# Learning.


class Reach(gym.Env[Any, Any]):
    """One step per episode: the reward is highest where the action is what the observation asks for."""

    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)

    def __init__(self, discrete: bool = False) -> None:
        self.discrete = discrete
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.obs = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.discrete:
            reward = float(self.obs[action])
        else:
            reward = -float(np.square(action - 1.5 * self.obs[:2]).sum())
        return self.obs, reward, True, False, {}


def score(own: OffPolicyActorCritic, env: Reach) -> float:
    """Mean reward of the greedy policy over 200 observations."""
    total = 0.0
    for seed in range(200):
        obs, _ = env.reset(seed=10_000 + seed)
        total += env.step(own.predict(obs))[1]
    return total / 200


def trained(name: str, env: Reach, steps: int, **changes: Any) -> OffPolicyActorCritic:
    chosen = config(name, learning_starts=64, learning_rate=3e-3, policy_learning_rate=3e-3, **changes)
    own = OffPolicyActorCritic(env.observation_space, env.action_space, chosen, seed=0)
    actor = own.actor(1, explore=True, seed=0)
    obs, _ = env.reset(seed=0)
    yes = torch.ones(1, dtype=torch.bool)
    for _ in range(steps):
        before = torch.from_numpy(obs).unsqueeze(0)
        acted = actor.act(before, yes)
        action = acted.action[0].numpy()
        final, reward, *_ = env.step(int(action) if env.discrete else action)
        obs, _ = env.reset()
        step = Step(
            obs=torch.from_numpy(obs).unsqueeze(0),
            start=yes,
            next_obs=torch.from_numpy(final).unsqueeze(0),
            reward=torch.tensor([reward]),
            terminated=yes,
            truncated=~yes,
            num_active=1,
            num_ended=1,
        )
        own.store(before, acted, step)
        for _ in range(own.updates_due(own.env_step)):
            own.learn()
    return own


@pytest.mark.parametrize("name", NAMES)
def test_each_learns_what_to_do(name: str) -> None:
    """The best action is worth 0, random ones about -4."""
    often = ALGORITHMS[name].changes.get("updates_per_train", 1)
    changes: dict[str, Any] = {"updates_per_train": 4, "policy_period": 4} if often > 1 else {}
    changes |= {"critics": 3, "target_subset": 2} if name == "redq" else {}
    changes |= {"norm_warm_up": 100} if name == "crossq" else {}
    env = Reach()
    own = trained(name, env, 700 if often == 1 else 300, temperature_learning_rate=1e-2, tau=0.05, **changes)
    assert score(own, env) > -0.25


def test_sac_learns_which_action_to_take() -> None:
    env = Reach(discrete=True)  # the best of three uniform numbers is 0.5 on average
    own = trained("sac", env, 500, target_entropy=0.3, temperature_learning_rate=1e-2)
    assert score(own, env) > 0.4
