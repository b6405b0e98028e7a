"""Hand-written forms compared with plain ones: CPU time of a gradient, and of choosing actions.

    python benchmarks/fast.py [--only PART ...] [--rounds 15] [--calls 100] [--json FILE]

Two agents with the same weights, one of them confined to autograd and to torch's forward pass, compute the gradient of
the same batch (loss, backward pass and clipping, without the optimizer's step), or choose actions for the same
observations. Ten products with the Fisher matrix of TRPO's policy are compared with those by the second derivative of
the KL divergence. They take turns within a round, on one thread; the time is the process's own, so that a busy machine
disturbs it little. The forward and backward pass of a GRU layer and of a Dreamer's recurrent model, draws of its
latents, linear layers, and the gradients of both losses of SAC and TD3 are compared with torch's in the same way. The
ratio is the median over the rounds, with the lowest and the highest one. `difference` is the largest one between both
gradients, relative to the largest entry.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces

from gymnast.agents import (
    DQN,
    PQN,
    TRPO,
    ActorCritic,
    ActorCriticConfig,
    DQNConfig,
    OffPolicyActorCritic,
    OffPolicyActorCriticConfig,
    PQNConfig,
)
from gymnast.agents.maths.trust_region import fisher_product
from gymnast.agents.samples import Drawn, as_steps
from gymnast.agents.table import ALGORITHMS
from gymnast.agents.world_models.dreamer_config import SIZES
from gymnast.agents.world_models.dreamer_model import BLOCKS, LATENTS
from gymnast.envs import make
from gymnast.networks.fast.batch_net import BatchNet
from gymnast.networks.fast.columns import forward
from gymnast.networks.fast.compiled_mlp import LINEAR, Layer
from gymnast.networks.fast.compiling import kernel
from gymnast.networks.fast.draws import draw, plain_draw
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.layers.recurrent import Core
from gymnast.networks.world_models.layers import initialise
from gymnast.networks.world_models.rssm import RSSM
from gymnast.replay.transitions import Batch
from gymnast.training.loop import Loop

GRADIENTS: dict[str, tuple[Any, Any, str, int]] = {
    "DQN, MLP 120-84, batch 128": (DQN, DQNConfig(batch_size=128, learning_starts=1_000), "CartPole-v1", 1),
    "PQN, normalised MLP": (PQN, PQNConfig(), "CartPole-v1", 32),
    "PPO, Categorical": (ActorCritic, ActorCriticConfig(), "CartPole-v1", 8),
    "PPO, Gaussian": (ActorCritic, ActorCriticConfig(), "Pendulum-v1", 8),
    "TRPO, values": (ActorCritic, TRPO.config, "CartPole-v1", 8),
}
"""Agent, config, environment and number of its rows."""
ACTING: dict[str, tuple[Any, Any, str, int]] = {
    "DQN, MLP 120-84, 1 row": (DQN, DQNConfig(epsilon=0.05), "CartPole-v1", 1),
    "DQN, MLP 120-84, 8 rows": (DQN, DQNConfig(epsilon=0.05), "CartPole-v1", 8),
    "PPO, 8 rows": (ActorCritic, ActorCriticConfig(), "CartPole-v1", 8),
}
OFF_POLICY = {f"{name}, 256-256, batch 256": name for name in ("sac", "td3")}
MATRICES = {
    f"{units} units, {inputs} inputs, batch {samples}": (units, inputs, samples)
    for units, inputs, samples in ((64, 64, 64), (64, 64, 256), (256, 256, 256))
}
"""Units, inputs and samples of a linear layer."""
PRODUCTS: dict[str, tuple[Any, int, int, tuple[int, ...]]] = {
    "2 choices, 1,024 rows, 64-64": (spaces.Discrete(2), 4, 1_024, (64, 64)),
    "6 numbers, 2,048 rows, 64-64": (spaces.Box(-1, 1, (6,)), 17, 2_048, (64, 64)),
    "6 numbers, 4,096 rows, 256-256": (spaces.Box(-1, 1, (6,)), 17, 4_096, (256, 256)),
}
"""Actions, numbers of an observation, rows and hidden units."""

LAYERS = {
    f"GRU, {rows} rows, {steps} steps, {units} units": (rows, steps, units)
    for units in (64, 128, 256)
    for rows, steps in ((2, 128), (12, 25), (32, 20))
}
"""Sequences side by side, steps of each, units."""
SEQUENCES = {
    f"Dreamer {size}, {rows} rows, {steps} steps": (size, rows, steps)
    for size in ("1m", "12m")
    for rows, steps in ((16, 64), (8, 32))
}
"""Size, sequences side by side, steps of each."""
DRAWS = {f"draws, {rows:,} rows, {classes} classes": (rows, classes) for rows in (16, 1024) for classes in (4, 16)}
"""Rows of 32 latents each, and their classes."""


def confine(agent: Any) -> None:
    """Leave an agent autograd and torch's forward pass only."""
    if isinstance(agent, DQN):
        agent._online, agent._target, agent.numpy_q = agent.online, agent.target, None
    elif isinstance(agent, PQN):
        agent._network = agent.network
    else:
        agent.plain, agent._gathers = None, True
    learned = agent._update.weights
    learned.added = learned.grad
    agent._update._learn = agent._update._by_backward


def pair(kind: Any, config: Any, id: str, num_envs: int) -> tuple[list[Any], list[Loop]]:
    """The agent, the same one confined, and a loop for each."""
    agents, loops = [], []
    for confined in (False, True):
        env = make(id, num_envs, seed=0)
        agent = kind(env.single_observation_space, env.single_action_space, config, num_envs=num_envs, seed=0)
        if confined:
            confine(agent)
        env.reset()
        agents.append(agent)
        loops.append(Loop(agent, agent.actor(num_envs, explore=True, seed=0), env))
    return agents, loops


def batch_of(agent: Any, loop: Loop) -> Any:
    """The last batch of the agent's first call of `learn`."""
    seen: list[Any] = []
    update = agent._update

    def watched(batch: Any, noise: Any) -> Any:
        seen.append(copy.deepcopy(batch))
        return update(batch, noise)

    agent._update = watched
    while not seen:
        loop.advance(loop.env_step + 1, lambda: False)
    agent._update = update
    return seen[-1]


def compare(calls: tuple[Callable[[], Any], Callable[[], Any]], rounds: int, count: int) -> dict[str, Any]:
    """Microseconds of a call of each, the fast one first, and how many times the fast one's the plain one's is."""
    times: list[list[float]] = [[], []]
    for number in range(-1, rounds):  # the first round warms up
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.process_time()
            for _ in range(count):
                calls[which]()
            if number >= 0:
                times[which].append(1e6 * (time.process_time() - began) / count)
    ratios = sorted(plain / fast for fast, plain in zip(*times, strict=True))
    fast, plain = (statistics.median(each) for each in times)
    return {"fast_us": fast, "plain_us": plain, "ratio": statistics.median(ratios), "range": [ratios[0], ratios[-1]]}


def gradient(case: tuple[Any, Any, str, int], rounds: int, calls: int) -> dict[str, Any]:
    agents, loops = pair(*case)
    batch, _ = (batch_of(agent, loop) for agent, loop in zip(agents, loops, strict=True))
    agents[1].weights.data.copy_(agents[0].weights.data)
    fast, plain = (agent._update._learn for agent in agents)
    gathered = as_steps(batch.gathered()) if isinstance(batch, Drawn) else batch
    result = compare((lambda: fast(batch, None), lambda: plain(gathered, None)), rounds, calls)
    grads = [agent.weights.grad for agent in agents]
    return {**result, "difference": float((grads[0] - grads[1]).abs().max() / grads[1].abs().max())}


def off_policy(name: str, rounds: int, calls: int) -> dict[str, Any]:
    """The gradients of both losses of an off-policy actor-critic on six numbers of action and 17 of observation."""
    obs, action = spaces.Box(-1, 1, (17,)), spaces.Box(-1, 1, (6,))
    config = replace(OffPolicyActorCriticConfig(), **ALGORITHMS[name].changes, batch_size=256)
    agent = OffPolicyActorCritic(obs, action, config, seed=0)
    seen, taken, reward, following = (torch.randn(256, size) for size in (17, 6, 1, 17))
    rest = {"weight": torch.ones(256), "next_mask": None, "index": torch.arange(256)}
    batch = Batch(seen, taken.tanh(), reward[:, 0], torch.full((256,), 0.99), following, **rest)
    updates, draws = (agent._update, agent._policy_update), agent._draw(256)

    def gradients(by: str) -> torch.Tensor:
        for update in updates:
            getattr(update, by)(batch, draws)
        return torch.cat([update.weights.grad for update in updates])

    fast, plain = (partial(gradients, by) for by in ("_by_gradient", "_by_backward"))
    found = [call().clone() for call in (fast, plain)]
    difference = float((found[0] - found[1]).abs().max() / found[1].abs().max())
    return {**compare((fast, plain), rounds, max(calls // 5, 1)), "difference": difference}


@kernel
def product(net: int, inputs: int, samples: int) -> None:
    forward(net, 0, 1, inputs, samples)


def matrix(case: tuple[int, int, int], rounds: int, calls: int) -> dict[str, Any]:
    """A linear layer, compiled and by torch."""
    units, inputs, samples = case
    linear = torch.nn.Linear(inputs, units)
    net = BatchNet([Layer(linear, LINEAR)], FlatParameters(linear), outputs=units)
    net.reserve(samples)
    features, weight, bias = torch.randn(samples, inputs), linear.weight.detach(), linear.bias.detach()
    fast, plain = partial(product, net.address, net.inputs, samples), partial(torch.addmm, bias, features, weight.t())
    return compare((fast, plain), rounds, calls)


def products(case: tuple[Any, int, int, tuple[int, ...]], rounds: int, calls: int) -> dict[str, Any]:
    """Ten products with a Fisher matrix, and what is computed once for all of them."""
    actions, numbers, batch, sizes = case
    agent = TRPO(spaces.Box(-1, 1, (numbers,)), actions, replace(TRPO.config, hidden_sizes=sizes), seed=0)
    network, policy = agent.network, agent.trust_region.policy  # type: ignore[union-attr]
    obs, vector = torch.randn(batch, numbers), torch.randn(len(policy.data))

    def prepared() -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        output = network.with_scales(network.policy(network.actor(obs)))
        old = output.detach()
        return output, lambda moved: agent.distribution.kl(old, moved).mean()

    def fast() -> torch.Tensor:
        output, divergence = prepared()
        product = fisher_product(output, policy.learned, divergence, flatten=policy.flatten)
        return [product(vector) for _ in range(10)][-1]

    def plain() -> torch.Tensor:
        output, divergence = prepared()
        slope = policy.flatten(torch.autograd.grad(divergence(output), policy.learned, create_graph=True))
        found = [torch.autograd.grad(slope, policy.learned, vector, retain_graph=True) for _ in range(10)]
        return policy.flatten(found[-1])

    difference = float((fast() - plain()).abs().max() / plain().abs().max())
    return {**compare((fast, plain), rounds, max(calls // 50, 1)), "difference": difference}


def layer(case: tuple[int, int, int], rounds: int, calls: int) -> dict[str, Any]:
    """A GRU layer over sequences of 64 features."""
    batch, steps, units = case
    core = Core("gru", 64, units)
    features, weights = torch.randn(batch, steps, 64), torch.randn(batch, steps, units)
    memory, parameters = torch.zeros(batch, units), list(core.parameters())

    def fast() -> Any:
        return torch.autograd.grad((core._run(features, memory)[0] * weights).sum(), parameters)

    def plain() -> Any:
        return torch.autograd.grad((core.layer(features, memory.unsqueeze(0))[0] * weights).sum(), parameters)

    difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(fast(), plain(), strict=True))
    return {**compare((fast, plain), rounds, max(calls // 5, 1)), "difference": difference}


def sequence(case: tuple[str, int, int], rounds: int, calls: int) -> dict[str, Any]:
    """A Dreamer's recurrent state-space model over replayed sequences."""
    name, rows, steps = case
    size = SIZES[name]
    widths = {"deter": size.deter, "hidden_units": size.hidden, "stoch": LATENTS, "classes": size.classes}
    model = RSSM(size.units, 2, **widths, blocks=BLOCKS)
    initialise(model, torch.Generator().manual_seed(0))
    given, tokens = torch.randn(steps, rows, size.deter), torch.randn(steps, rows, size.hidden)
    keep, start = torch.ones(steps, rows, 1), torch.zeros((rows, steps), dtype=torch.bool)
    state, uniform = model.initial(rows, device=keep.device), torch.rand(steps, rows, LATENTS)
    weights = torch.randn(steps, rows, size.deter)
    given.requires_grad_(), tokens.requires_grad_()
    elsewhere = ("prior", "posterior_tokens", "of_action", "mix_of_action")  # not part of the loop over steps
    parameters = [part for name, part in model.named_parameters() if not name.startswith(elsewhere)]

    def gradients(run: Callable[..., Any]) -> Any:
        deter, _, probs = run(given, tokens, keep, start, state, uniform)
        return torch.autograd.grad((deter * weights).sum() + probs.square().sum(), [given, tokens, *parameters])

    calls_of = (lambda: gradients(model.by_hand), lambda: gradients(model.step_by_step))
    pairs = zip(*(call() for call in calls_of), strict=True)
    difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
    return {**compare(calls_of, rounds, max(calls // 50, 1)), "difference": difference}


def draws(case: tuple[int, int], rounds: int, calls: int) -> dict[str, Any]:
    """One-hot draws of latents."""
    count, classes = case
    probs, uniform = torch.rand(count, LATENTS, classes).softmax(-1), torch.rand(count, LATENTS)
    return compare((lambda: draw(probs, uniform), lambda: plain_draw(probs, uniform)), rounds, calls)


def acting(case: tuple[Any, Any, str, int], rounds: int, calls: int) -> dict[str, Any]:
    _, loops = pair(*case)
    obs, start = loops[0].env.obs, loops[0].env.start
    fast, plain = (loop.actor.act for loop in loops)
    return compare((lambda: fast(obs, start), lambda: plain(obs, start)), rounds, 5 * calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=100, help="gradients in a round; five times as many actions")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parts: tuple[tuple[str, dict[str, Any], Any], ...] = (
        ("gradient", GRADIENTS, gradient),
        ("gradients", OFF_POLICY, off_policy),
        ("matrix", MATRICES, matrix),
        ("products", PRODUCTS, products),
        ("layer", LAYERS, layer),
        ("sequence", SEQUENCES, sequence),
        ("draws", DRAWS, draws),
        ("acting", ACTING, acting),
    )
    parser.add_argument("--only", nargs="+", choices=[what for what, _, _ in parts], help="parts; default: all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = []
    for what, cases, measure in parts:
        if arguments.only and what not in arguments.only:
            continue
        for name, case in cases.items():
            result = {"what": what, "case": name, **measure(case, arguments.rounds, arguments.calls)}
            figures.append(result)
            low, high = result["range"]
            print(
                f"{what:9} {name:36} {result['fast_us']:8,.0f} us, plain {result['plain_us']:8,.0f} us"
                f"   x{result['ratio']:.2f} ({low:.2f} to {high:.2f})"
                + (f"   difference {result['difference']:.0e}" if "difference" in result else "")
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
