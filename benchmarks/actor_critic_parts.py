"""What the hand-written forms of a small actor-critic gain on the CPU: in an update of PPO, and in acting.

    python benchmarks/actor_critic_parts.py [--threads 1] [--rows 32 256] [--envs 8] [--rounds 9]

An update learns from a minibatch of `rows` samples by Adam. It has three forms: the plain loss with autograd, the plain
loss with the layers' passes written out, and the closed form of the loss between those passes. Acting computes outputs
and values of `envs` observations by torch or by NumPy. Policy and value have an MLP of 64 and 64 units (tanh) each. The
forms take turns; the figures are medians over the rounds of processor time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.optim.update import Update
from gymnast.agents.samples import Behaviour, Samples

CALLS = 200
"""Of each form in a round."""
TASKS: dict[str, tuple[int, spaces.Space[Any]]] = {
    "4 inputs, 2 discrete actions": (4, spaces.Discrete(2)),
    "17 inputs, 6 continuous actions": (17, spaces.Box(-1.0, 1.0, (6,))),
}
Forms = dict[str, Callable[[], object]]


def made(inputs: int, actions: spaces.Space[Any]) -> ActorCritic:
    return ActorCritic(spaces.Box(-np.inf, np.inf, (inputs,)), actions, ActorCriticConfig(), seed=0)


def update_forms(inputs: int, actions: spaces.Space[Any], rows: int) -> Forms:
    """The forms of an update, each on an agent of its own."""
    autograd, layers, closed = (made(inputs, actions) for _ in range(3))
    with torch.no_grad():
        obs = torch.randn(rows, inputs)
        output, value = closed.network(obs)
        raw, log_prob = closed.distribution.act(output, torch.Generator().manual_seed(0))
    batch = Samples(obs, raw, Behaviour(log_prob, torch.randn(rows), value, value + 1.0), torch.ones(rows))
    autograd.plain = None
    autograd.weights.added = autograd.weights.grad
    updates = {"autograd": by_loss(autograd), "layers": by_loss(layers), "closed form": closed._update}
    return {name: partial(update, batch, None) for name, update in updates.items()}


def by_loss(agent: ActorCritic) -> Update:
    """An update by the plain loss, in whichever form the network is."""
    norm = agent.config.max_grad_norm
    return Update(agent.loss, agent.weights, agent.optimizer, max_grad_norm=norm, max_grad_value=None)


def act_forms(inputs: int, actions: spaces.Space[Any], envs: int) -> Forms:
    agent, obs = made(inputs, actions), torch.randn(envs, inputs)
    assert agent.plain is not None
    return {"torch": partial(torch.no_grad()(agent.network), obs), "NumPy": partial(agent.plain.act, obs)}


def measure(title: str, forms: Forms, rounds: int) -> None:
    """Print microseconds of each form, and how many times as fast as the first one it is."""
    spent: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):  # the first round warms up
        for name, form in forms.items():
            began = time.process_time()
            for _ in range(CALLS):
                form()
            if number:
                spent[name].append((time.process_time() - began) / CALLS)
    medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
    first = next(iter(medians.values()))
    print(f"{title}: " + ", ".join(f"{name} {1e6 * of:.0f} us (x{first / of:.2f})" for name, of in medians.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--rows", type=int, nargs="+", default=[32, 256], help="samples of a minibatch")
    parser.add_argument("--envs", type=int, nargs="+", default=[8], help="observations acted on at once")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name, task in TASKS.items():
        for rows in arguments.rows:
            measure(f"{name}, update of {rows} rows", update_forms(*task, rows), arguments.rounds)
        for envs in arguments.envs:
            measure(f"{name}, acting on {envs} rows", act_forms(*task, envs), arguments.rounds)


if __name__ == "__main__":
    main()
