"""NPG and TRPO: products, steps and searches against dense oracles, what learns what, refusals, and learning."""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import NPG, TRPO, ActorCritic, ActorCriticConfig
from gymnast.agents.base import LearningError
from gymnast.agents.maths import trust_region
from gymnast.agents.maths.means import shares
from gymnast.agents.policy.trust_region import TrustRegion
from gymnast.agents.population.settings import check_config
from gymnast.agents.samples import Behaviour, Drawn, Samples
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.networks.fast.flat import FlatParameters
from gymnast.training.loop import Loop

BOX = spaces.Box(-np.inf, np.inf, (3,))
ACTIONS: dict[str, tuple[spaces.Space[Any], dict[str, Any]]] = {
    "discrete": (spaces.Discrete(4), {}),
    "multi-discrete": (spaces.MultiDiscrete([2, 3]), {}),
    "multi-binary": (spaces.MultiBinary(3), {}),
    "box": (spaces.Box(-1, 1, (2,)), {}),
    "squashed": (spaces.Box(-1, 1, (2,)), {"squash": True}),
}
SMALL = ActorCriticConfig(
    policy_loss="trust-region",
    rollout_steps=8,
    minibatches=2,
    epochs=2,
    hidden_sizes=(5,),
    init="torch",
    log_std_init=-0.4,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(actions: str = "discrete", *, num_envs: int = 4, **changes: Any) -> ActorCritic:
    space, needed = ACTIONS[actions]
    return ActorCritic(BOX, space, replace(SMALL, **(needed | changes)), num_envs=num_envs)


def region_of(agent: ActorCritic) -> TrustRegion:
    assert agent.trust_region is not None
    return agent.trust_region


def batch(agent: ActorCritic, rows: int = 24, *, masked: bool = False) -> Samples:
    """Random samples of the policy, two of which do not count."""
    obs = torch.randn(rows, 3, generator=generator(1))
    with torch.no_grad():
        output, value = agent.network(obs)
    mask = None
    if masked:
        mask = torch.rand(output.shape, generator=generator(2)) < 0.6
        mask[:, 0] = True
        output = agent.distribution.masked(output, mask)
    raw, log_prob = agent.distribution.act(output, generator(3))
    advantage, target = torch.randn(rows, generator=generator(5)), torch.randn(*value.shape, generator=generator(6))
    weight = torch.ones(rows)
    weight[:2] = 0.0
    return Samples(obs, raw, Behaviour(log_prob, advantage, value, target), weight, mask)


def stored(agent: ActorCritic, *, seed: int = 0) -> None:
    """A rollout of random steps in which episodes end in both ways."""
    rng, rows = np.random.default_rng(seed), agent.num_envs
    actor = agent.actor(rows, explore=True, seed=1)
    obs, start = torch.randn(rows, 3, generator=generator(1)), torch.ones(rows, dtype=torch.bool)
    for number in range(agent.config.rollout_steps):
        acted = actor.act(obs, start)
        terminated, truncated = (torch.from_numpy(rng.random(rows) < 0.2) for _ in range(2))
        truncated &= ~terminated
        ended = terminated | truncated
        next_obs = torch.randn(rows, 3, generator=generator(10 + number))
        reward = torch.from_numpy(rng.normal(size=rows).astype(np.float32))
        agent.store(obs, acted, Step(next_obs, ended, next_obs, reward, terminated, truncated, rows, int(ended.sum())))
        obs, start = next_obs, ended


def dense(product: trust_region.Product, size: int) -> Tensor:
    return torch.stack([product(column) for column in torch.eye(size)], 1)


# The maths.


def test_conjugate_gradients_solve_and_stop() -> None:
    root = torch.randn(12, 12, generator=generator(), dtype=torch.float64)
    matrix, target = root @ root.T + 0.1 * torch.eye(12), torch.randn(12, generator=generator(1), dtype=torch.float64)
    calls = []

    def product(vector: Tensor) -> Tensor:
        calls.append(vector)
        return matrix @ vector

    solved, residual = trust_region.conjugate_gradients(product, target, steps=60, tolerance=1e-9)
    torch.testing.assert_close(solved, torch.linalg.solve(matrix, target), rtol=1e-6, atol=1e-8)
    assert residual <= 1e-9
    assert len(calls) < 60
    calls.clear()
    solved, residual = trust_region.conjugate_gradients(product, target, steps=4, tolerance=1e-9)
    assert len(calls) == 4
    assert residual.item() == pytest.approx(((matrix @ solved - target).norm() / target.norm()).item())
    # At every step the residual is at right angles to the solution, so that g' x is the square length of x by A.
    assert torch.dot(target, solved).item() == pytest.approx((solved @ matrix @ solved).item())
    zero, residual = trust_region.conjugate_gradients(product, torch.zeros(12), steps=4, tolerance=0.0)
    assert zero.abs().sum() == residual == 0.0


def test_surrogate_by_hand() -> None:
    old, new = torch.log(torch.tensor([0.5, 0.2, 1e-30])), torch.log(torch.tensor([0.25, 0.6, 1.0]))
    found = trust_region.surrogate(new, old, torch.tensor([2.0, -1.0, 5.0]), torch.tensor([0.5, 0.5, 0.0]))
    assert found.item() == pytest.approx(0.5 * 0.5 * 2.0 - 0.5 * 3.0)


def scores(agent: ActorCritic, samples: Samples, raw: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients [B, P] of the log-probabilities of these actions by the policy's parameters, and the former."""
    region = region_of(agent)
    log_prob = agent.distribution.log_prob(region._output(samples), raw)
    rows = [
        region.policy.flatten(
            torch.autograd.grad(one, region.policy.learned, retain_graph=True, materialize_grads=True)
        )
        for one in log_prob
    ]
    return torch.stack(rows), log_prob.detach()


def every_action(name: str) -> list[tuple[int, ...] | int]:
    if name == "discrete":
        return list(range(4))
    return list(itertools.product(*(range(n) for n in ((2, 3) if name == "multi-discrete" else (2, 2, 2)))))


def dense_fisher(agent: ActorCritic, samples: Samples, name: str) -> Tensor:
    """The mean over rows of the expected outer product of scores: a sum over all actions, or the normal's closed form.

    The score of a normal number's mean m is z / s and that of its log standard deviation z^2 - 1, z being standard
    normal, so that their expected products are 1 / s^2, 2, and 0 of two different ones.
    """
    weight, size = shares(samples.weight), len(region_of(agent).policy.data)
    total = torch.zeros(size, size)
    if agent.distribution.dtype == torch.int64:
        for action in every_action(name):
            raw = torch.tensor([action] * len(weight))
            score, log_prob = scores(agent, samples, raw)
            total += torch.einsum("b,bi,bj->ij", weight * log_prob.exp(), score, score)
        return total
    output = region_of(agent)._output(samples)
    numbers = output.shape[1] // 2
    for row, share in zip(output, weight, strict=True):
        slopes = [
            region_of(agent).policy.flatten(
                torch.autograd.grad(one, region_of(agent).policy.learned, retain_graph=True, materialize_grads=True)
            )
            for one in row
        ]
        for number, slope in enumerate(slopes):
            curve = torch.exp(-2.0 * row[numbers + number]).item() if number < numbers else 2.0
            total += share * curve * torch.outer(slope, slope)
    return total


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ACTIONS)
def test_fisher_products_are_those_of_the_dense_matrix(name: str, masked: bool) -> None:
    agent = made(name, cg_damping=0.0)
    samples = batch(agent, masked=masked and agent.distribution.dtype == torch.int64)
    if samples.mask is not None:
        samples.mask[:, 1:] |= name != "discrete"  # of independent choices only the first is blocked at times
    region = region_of(agent)
    found = dense(region._fisher(samples, region._output(samples), generator()), len(region.policy.data))
    torch.testing.assert_close(found, dense_fisher(agent, samples, name), rtol=2e-4, atol=2e-6)
    torch.testing.assert_close(found, found.T, rtol=1e-4, atol=1e-6)
    damped = made(name, cg_damping=0.3)
    region = region_of(damped)
    other = dense(region._fisher(samples, region._output(samples), generator()), len(region.policy.data))
    torch.testing.assert_close(other, found + 0.3 * torch.eye(len(found)), rtol=1e-4, atol=1e-5)


def test_fisher_products_of_convolutions_are_those_of_the_divergence_s_second_derivative() -> None:
    """Whose weights lie in another order in memory than their shape says."""
    images = spaces.Box(0, 255, (36, 36, 4), np.uint8)
    agent = TRPO(images, spaces.Discrete(3), replace(SMALL, cg_damping=0.0, hidden_sizes=None), num_envs=2)
    region, obs = region_of(agent), torch.randint(0, 256, (5, 36, 36, 4), generator=generator(), dtype=torch.uint8)
    behaviour = Behaviour(torch.zeros(5), torch.zeros(5), torch.zeros(5, 1), torch.zeros(5, 1))
    samples = Samples(obs, torch.zeros(5, dtype=torch.int64), behaviour, torch.ones(5))
    output, vector = region._output(samples), torch.randn(len(region.policy.data), generator=generator(1))
    kl = agent.distribution.kl(output.detach(), output).mean()
    slope = region.policy.flatten(torch.autograd.grad(kl, region.policy.learned, create_graph=True))
    expected = region.policy.flatten(torch.autograd.grad(slope @ vector, region.policy.learned, retain_graph=True))
    found = region._fisher(samples, output, generator())(vector)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_a_share_of_the_samples_is_drawn_by_the_generator() -> None:
    agent = made(fisher_share=0.25, cg_damping=0.0)
    region, samples = region_of(agent), batch(agent)
    found = dense(region._fisher(samples, region._output(samples), generator(7)), len(region.policy.data))
    index = torch.rand(24, generator=generator(7)).argsort()[:6]
    expected = dense_fisher(agent, Drawn(samples, index).gathered(), "discrete")
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", ACTIONS)
def test_the_natural_step_is_that_of_a_dense_solution(name: str) -> None:
    agent = made(name, cg_steps=200, cg_damping=0.05, cg_tolerance=1e-7)
    region, samples = region_of(agent), batch(agent)
    output, weight = region._output(samples), shares(samples.weight)
    objective = region._objective(samples, output.detach(), weight)(output)
    step, _ = region._natural(objective, region._fisher(samples, output, generator()))
    advantage = samples.old.advantage
    centred = advantage - weight @ advantage
    centred = centred / (weight @ centred.square()).sqrt()
    score, _ = scores(agent, samples, samples.raw)
    gradient = (weight * centred) @ score
    matrix = dense_fisher(agent, samples, name).double() + 0.05 * torch.eye(len(gradient))
    solved = torch.linalg.solve(matrix, gradient.double())
    expected = solved * math.sqrt(2 * 0.01 / (gradient.double() @ solved).item())
    torch.testing.assert_close(step.double(), expected, rtol=2e-3, atol=2e-4 * expected.abs().max().item())


def test_with_fisher_s_matrix_one_the_step_is_along_a2c_s_gradient() -> None:
    same = {"entropy_coef": 0.03, "normalise_advantages": False}
    agent, plain = made(**same), made(**same, policy_loss="plain", epochs=1, trunk="separate")
    region, samples = region_of(agent), batch(agent)
    output = region._output(samples)
    objective = region._objective(samples, output.detach(), shares(samples.weight))(output)
    step, residual = region._natural(objective, lambda vector: vector)
    plain.plain = None
    plain.loss(samples, None)[0].backward()  # type: ignore[no-untyped-call]
    network = plain.network
    gradient = [one.grad for part in (network.actor, network.policy) for one in part.parameters()]
    downhill = torch.cat([one.flatten() for one in gradient if one is not None])
    assert residual <= 1e-5
    expected = -downhill / downhill.norm() * math.sqrt(2 * 0.01)
    torch.testing.assert_close(step, expected, rtol=1e-3, atol=1e-5)


def oracle(gains: list[float], kls: list[float], max_kl: float) -> int | None:
    for number, (gain, kl) in enumerate(zip(gains, kls, strict=True)):
        if math.isfinite(gain) and math.isfinite(kl) and gain > 0 and kl <= max_kl:
            return number
    return None


def test_the_search_accepts_what_an_oracle_accepts() -> None:
    rng, accepted = np.random.default_rng(0), set()
    for _ in range(300):
        steps = int(rng.integers(1, 6))
        gains = [float(x) for x in rng.choice([-1.0, 0.0, 0.5, math.nan, math.inf], steps)]
        kls = [float(x) for x in rng.choice([0.005, 0.01, 0.02, math.nan, math.inf], steps)]
        asked: list[float] = []

        def measure(scale: float, asked: list[float] = asked, gains: Any = gains, kls: Any = kls) -> Any:
            asked.append(scale)
            return tuple(torch.tensor(x[len(asked) - 1], dtype=torch.float64) for x in (gains, kls))

        found = trust_region.backtrack(measure, max_kl=0.01, steps=steps, shrink=0.5)
        expected = oracle(gains, kls, 0.01)
        accepted.add(expected)
        assert asked == [0.5**number for number in range(steps if expected is None else expected + 1)]
        assert found.tries == len(asked)
        if expected is None:
            assert found.scale == found.gain == found.kl == 0.0
        else:
            assert (found.scale, found.gain, found.kl) == (0.5**expected, gains[expected], kls[expected])
    assert accepted >= {None, 0, 1, 2}


# The step.


def moved(agent: ActorCritic, samples: Samples, before: Tensor) -> tuple[float, float]:
    """Mean divergence from the policy of the parameters before, and the gain of the mean weighted advantage."""
    region, weight = region_of(agent), shares(samples.weight)
    now = region.policy.data.clone()
    with torch.no_grad():
        new = region._output(samples)
        region.policy.data.copy_(before)
        old = region._output(samples)
        region.policy.data.copy_(now)
        kl = weight @ agent.distribution.kl(old, new)
        log_probs = [agent.distribution.log_prob(output, samples.raw) for output in (old, new)]
    advantage = samples.old.advantage - weight @ samples.old.advantage
    advantage = advantage / (weight @ advantage.square()).sqrt()
    return kl.item(), (weight @ ((log_probs[1] - log_probs[0]).exp() * advantage - advantage)).item()


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("max_kl", [1e-4, 0.01, 1.0])
def test_a_step_stays_in_the_trust_region_and_improves(name: str, max_kl: float) -> None:
    agent = made(name, max_kl=max_kl, cg_damping=1e-3, line_search_steps=40)
    region, samples = region_of(agent), batch(agent)
    for _ in range(4):
        before, values = region.policy.data.clone(), region.values.data.clone()
        metrics = region.step(samples, generator())
        kl, gain = moved(agent, samples, before)
        assert 0.0 < kl <= max_kl * (1 + 1e-4)
        assert gain > 0.0
        assert metrics["kl"].item() == pytest.approx(kl, rel=1e-2, abs=1e-7)
        assert metrics["surrogate_gain"].item() == pytest.approx(gain, rel=1e-2, abs=1e-5)
        assert metrics["step_accepted"] == 1.0
        assert torch.equal(region.values.data, values)


@pytest.mark.parametrize("name", ACTIONS)
def test_a_natural_step_has_its_divergence_to_second_order(name: str) -> None:
    """Half the squared length by the damped matrix is `max_kl`; by the matrix itself it is the true divergence."""
    agent = made(name, policy_loss="natural", max_kl=1e-4, cg_damping=0.02, cg_steps=100)
    region, samples = region_of(agent), batch(agent, rows=200)
    before = region.policy.data.clone()
    damped = dense(region._fisher(samples, region._output(samples), generator()), len(before))
    metrics = region.step(samples, generator())
    step = region.policy.data - before
    assert (0.5 * step @ damped @ step).item() == pytest.approx(1e-4, rel=1e-3)
    half = 0.5 * step @ (damped @ step - 0.02 * step)
    assert moved(agent, samples, before)[0] == pytest.approx(half.item(), rel=0.05)
    assert metrics["kl"].item() == pytest.approx(half.item(), rel=0.05)
    assert "line_search_tries" not in metrics


def test_a_failed_search_leaves_the_policy_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made(line_search_steps=3)
    region = region_of(agent)
    natural = region._natural
    monkeypatch.setattr(region, "_natural", lambda *given: (-natural(*given)[0], torch.tensor(0.0)))  # downhill
    stored(agent)
    before, values = region.policy.data.clone(), region.values.data.clone()
    metrics = agent.learn()
    assert torch.equal(region.policy.data, before)
    assert metrics["step_accepted"] == metrics["kl"] == metrics["surrogate_gain"] == 0.0
    assert metrics["line_search_tries"] == 3.0
    assert not torch.equal(region.values.data, values)


@pytest.mark.parametrize("policy_loss", ["natural", "trust-region"])
def test_without_a_slope_there_is_no_step(policy_loss: Any) -> None:
    agent = made(policy_loss=policy_loss)
    region, samples = region_of(agent), batch(agent)
    samples.old.advantage.fill_(3.0)  # nothing is better than anything else
    before = region.policy.data.clone()
    metrics = region.step(samples, generator())
    assert torch.equal(region.policy.data, before)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["kl"] == 0.0


@pytest.mark.parametrize("policy_loss", ["natural", "trust-region"])
def test_numbers_that_are_not_finite_raise_and_leave_the_policy(policy_loss: Any) -> None:
    agent = made(policy_loss=policy_loss)
    region, samples = region_of(agent), batch(agent)
    before = region.policy.data.clone()
    samples.obs[5] = math.nan  # type: ignore[index]
    with pytest.raises(LearningError, match="the natural gradient of the policy is not finite"):
        region.step(samples, generator())
    samples.old.advantage[5] = math.nan
    with pytest.raises(LearningError, match="the advantages of the rollout are not finite"):
        region.step(samples, generator())
    assert torch.equal(region.policy.data, before)


def test_a_natural_step_to_infinity_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made(policy_loss="natural")
    region, samples = region_of(agent), batch(agent)
    before = region.policy.data.clone()
    far = torch.full_like(before, 1e38)
    monkeypatch.setattr(region, "_natural", lambda *given: (far, torch.tensor(0.0)))
    with pytest.raises(LearningError, match="not finite; use a smaller max_kl"):
        region.step(samples, generator())
    assert torch.equal(region.policy.data, before)


# The values.


def test_values_learn_by_the_same_gradient_compiled_and_by_autograd() -> None:
    agent = made(hidden_sizes=(7, 6))
    region, samples = region_of(agent), batch(agent)
    gradient = region.fit._gradient
    assert gradient is not None
    rows = torch.randperm(24, generator=generator())[:15]
    region.values.grad.fill_(7.0)
    error, metrics = gradient(Drawn(samples, rows), None)
    compiled = region.values.grad.clone()
    region.values.grad.zero_()
    loss, other, expected = region.value_loss(Drawn(samples, rows).gathered(), None)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(compiled, region.values.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(error, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(metrics["value_loss"], expected["value_loss"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"value_clip": 0.2}, {"intrinsic": "rnd"}, {"activation": "elu"}])
def test_the_optimizer_moves_the_values_alone(changes: dict[str, Any]) -> None:
    agent = made(weight_penalty="l2", penalty_weight=1.0, weight_decay=1.0, max_norm=0.01, **changes)
    region = region_of(agent)
    stored(agent)
    agent.estimates.see()
    samples = agent.estimates.samples(agent.rollout.fields["value"])
    policy, values = region.policy.data.clone(), region.values.data.clone()
    drawn = Drawn(samples, torch.arange(16))
    agent._update(drawn.gathered() if agent._gathers else drawn, None)
    assert torch.equal(region.policy.data, policy)
    assert not torch.equal(region.values.data, values)
    assert region.policy.data.numel() + region.values.data.numel() == agent.weights.data.numel()
    assert region.policy.data.data_ptr() == agent.weights.data.data_ptr()


def test_parts_of_flat_parameters_share_their_memory() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 1))
    whole = FlatParameters(module)
    part = whole.part(module[1])
    assert [size for _, size in part.layout] == [12, 4]
    part.data.fill_(5.0)
    part.grad.fill_(6.0)
    assert (module[1].weight == 5.0).all()
    assert whole.data.eq(5.0).sum() == whole.grad.eq(6.0).sum() == 16
    assert module[1].bias.grad is not None
    assert (module[1].bias.grad == 6.0).all()
    with pytest.raises(ValueError, match="must follow each other"):
        whole.part(nn.ModuleList([module[0], module[2]]))
    with pytest.raises(ValueError, match="must follow each other"):
        whole.part(nn.Linear(2, 3))


# The agent.


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"policy_loss": "natural", "fisher_share": 0.4},
        {"normalise_obs": True, "normalise_rewards": True, "fisher_share": 0.5},
        {"intrinsic": "rnd", "value_clip": 0.2},
    ],
    ids=["trpo", "npg", "normalised", "rnd"],
)
def test_a_loaded_agent_goes_on_exactly(changes: dict[str, Any]) -> None:
    config = replace(SMALL, hidden_sizes=(16,), **changes)

    def run(seed: int) -> Loop:
        env = make("CartPole-v1", 3, seed=seed)
        agent = ActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=3, seed=seed)
        env.reset()
        return Loop(agent, agent.actor(3, explore=True, seed=seed), env)

    one, other = run(0), run(1)
    one.advance(3 * 100 + 9, lambda: False)  # in the middle of a rollout
    kept = {"agent": one.agent.state_dict(), "actor": one.actor.state_dict(), "env": one.env.snapshot()}
    file = io.BytesIO()
    torch.save({**kept, "loop": one.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    for part in ("agent", "actor"):
        getattr(other, part).load_state_dict(state[part])
    other.env.restore(state["env"])
    other.load_state_dict(state["loop"])
    for loop in (one, other):
        loop.advance(900, lambda: False)
    assert one.agent.updates == other.agent.updates > 5
    assert torch.equal(one.agent.weights.data, other.agent.weights.data)  # type: ignore[attr-defined]
    assert torch.equal(one.env.obs, other.env.obs)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("policy_loss", ["natural", "trust-region"])
def test_every_space_learns_finite_numbers(name: str, policy_loss: Any) -> None:
    agent = made(name, policy_loss=policy_loss)
    for seed in range(3):
        stored(agent, seed=seed)
        metrics = agent.learn()
    assert all(math.isfinite(value) for value in metrics.values())
    assert {"kl", "surrogate_gain", "entropy", "cg_residual", "value_loss", "explained_variance"} <= metrics.keys()
    assert agent.weights.data.isfinite().all()
    assert agent.updates == 3 * SMALL.epochs * SMALL.minibatches
    assert agent.action_space.contains(agent.predict(np.zeros(3, np.float32)))


def test_a_single_sample_is_finite() -> None:
    agent = made(num_envs=1, rollout_steps=1, minibatches=1)
    for seed in range(3):
        stored(agent, seed=seed)
        metrics = agent.learn()
    assert agent.weights.data.isfinite().all()
    assert all(math.isfinite(value) for value in metrics.values())


def test_an_evaluation_changes_nothing() -> None:
    env = make("CartPole-v1", 2, seed=0)
    config = replace(SMALL, normalise_obs=True)
    agent = ActorCritic(env.single_observation_space, env.single_action_space, config, num_envs=2)
    env.reset()
    Loop(agent, agent.actor(2, explore=True, seed=0), env).advance(50, lambda: False)
    before, drawn = repr(agent.state_dict()), torch.get_rng_state()
    first = evaluate(agent, make("CartPole-v1", 2, seed=1), episodes=3, seed=2, name="trpo")
    assert repr(agent.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    assert evaluate(agent, make("CartPole-v1", 3, seed=5), episodes=3, seed=2, name="trpo").returns == first.returns


def test_images_get_a_trunk_each() -> None:
    agent = TRPO(spaces.Box(0, 255, (36, 36, 4), np.uint8), spaces.Discrete(3), num_envs=2)
    assert agent.network.critic is not None


class Dropping(nn.Module):
    """A backbone that computes something else while it learns."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__()
        self.out_features = 4
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))

    def forward(self, obs: Tensor) -> Tensor:
        out: Tensor = self.layers(obs)
        return out


def test_a_network_that_depends_on_its_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="without dropout or BatchNorm; use LayerNorm, or policy_loss clipped"):
        TRPO(BOX, spaces.Discrete(2), network=Dropping)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_kl": 0.0}, "max_kl must be > 0, got 0.0"),
        ({"cg_steps": 0}, "cg_steps must be >= 1, got 0"),
        ({"line_search_steps": 0}, "line_search_steps must be >= 1, got 0"),
        ({"cg_damping": -0.1}, "cg_damping must be >= 0, got -0.1"),
        ({"cg_tolerance": math.inf}, "cg_tolerance must be >= 0, got inf"),
        ({"fisher_share": 1.1}, "fisher_share must be > 0 and <= 1, got 1.1"),
        ({"line_search_shrink": 1.0}, "line_search_shrink must be between 0 and 1, got 1.0"),
        ({"trunk": "shared"}, "policy_loss trust-region needs trunk separate, got shared: the optimizer of the values"),
        ({"target_kl": 0.1}, "target_kl 0.1 cannot be combined with policy_loss trust-region: max_kl bounds its one"),
        ({"advantage": "vtrace"}, "advantage vtrace cannot be combined with policy_loss trust-region"),
        ({"recurrent": "gru"}, "recurrent gru cannot be combined with policy_loss trust-region: not all"),
        ({"auxiliary": "reward"}, "auxiliary reward cannot be combined with policy_loss trust-region: an auxiliary"),
        ({"encoder_learning_rate": 1e-4}, "encoder_learning_rate 0.0001 cannot be combined with policy_loss trust-"),
        ({"bf16": True}, "bf16 cannot be combined with policy_loss trust-region: its products need float32"),
        ({"workers": 2}, "workers 2 cannot be combined with policy_loss trust-region"),
        ({"compile": True}, "compile cannot be combined with policy_loss trust-region: the host decides its steps"),
        ({"cuda_graphs": True}, "cuda_graphs cannot be combined with policy_loss trust-region"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize("variant", [NPG, TRPO])
def test_populations_refuse_it(variant: Any) -> None:
    with pytest.raises(ValueError, match="cannot be used in a population, which supports only clipped and plain"):
        check_config(variant.config)


@pytest.mark.parametrize("variant", [NPG, TRPO])
def test_it_learns_to_catch(variant: Any) -> None:
    env = make("gymnast/Catch-v0", 8, seed=0)
    config = replace(variant.config, rollout_steps=64, max_kl=0.03)
    agent = variant(env.single_observation_space, env.single_action_space, config, num_envs=8)
    loop = Loop(agent, agent.actor(8, explore=True, seed=0), env)
    env.reset()
    found = 0.0
    for until in range(4_000, 28_001, 4_000):
        loop.advance(until, lambda: False)
        other = make("gymnast/Catch-v0", 8, seed=1)
        found = evaluate(agent, other, episodes=100, seed=2, name=variant.name).mean_return
        if found > 0.9:
            break
    assert found > 0.9
