"""A whole rollout on the CPU as one compiled function: act, step and store in a game whose rules are compiled."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Actor, Agent
from gymnast.agents.policy.policy_actor import PolicyActor
from gymnast.envs.env import Env
from gymnast.envs.kernels.advance import Kernels, specialised
from gymnast.envs.kernels.engine import RowEngine
from gymnast.envs.native.adapter import NativeEnv
from gymnast.networks.distributions.choice_kernel import draw_into
from gymnast.networks.fast.compiled_mlp import OUTPUTS, Layers, forward, forward_both, widest
from gymnast.replay.rollout import Rollout

Array = NDArray[Any]
advance: Any = None
"""The step of a game, which its compiled form of `_play` has in this place."""


class Policy(NamedTuple):
    """An actor-critic of fully connected layers."""

    actor: Layers
    critic: Layers


class Stored(NamedTuple):
    """What a rollout of T steps of N rows keeps, and where it begins and ends."""

    obs: Array  # float32 [T, N, D]
    raw: Array  # int64 [T, N]
    log_prob: Array  # float32 [T, N]
    value: Array  # float32 [T, N, 1]
    reward: Array  # float32 [T, N]
    terminated: Array  # bool [T, N]
    ended: Array  # bool [T, N]
    final_value: Array  # float32 [T, N, 1], of the successors where an episode ended, and in the last step
    following: Array  # float32 [N, D], the observations after the last step
    returns: Array  # float64 [T * N], of ended episodes, in their order
    lengths: Array  # int64 [T * N]


def _play(fixed: Any, policy: Policy, stored: Stored, uniform: Array, width: int) -> int:
    """Fill `stored` from its first observations on, with uniform numbers [T, N]; how many episodes ended."""
    steps, rows, size = stored.obs.shape
    output, scratch = np.empty((rows, policy.actor.table[-1, OUTPUTS]), np.float32), np.empty((2, width), np.float32)
    after, ends = np.empty((rows, size), np.float32), np.empty((3, rows), np.bool_)
    total, length = np.empty(rows, np.float64), np.empty(rows, np.int64)
    count = 0
    for step in range(steps):
        forward_both(policy.actor, policy.critic, stored.obs[step], output, stored.value[step], scratch)
        draw_into(output, uniform[step], stored.raw[step], stored.log_prob[step])
        last = step == steps - 1
        obs = stored.following if last else stored.obs[step + 1]
        ended = advance(
            *fixed,
            stored.raw[step].ctypes.data,
            obs.ctypes.data,
            after.ctypes.data,
            0,
            0,
            stored.reward[step].ctypes.data,
            ends.ctypes.data,
            total.ctypes.data,
            length.ctypes.data,
        )
        if last or ended:
            forward(policy.critic, after, stored.final_value[step], scratch)
        for row in range(rows):
            for part in range(size) if ended == 0 else range(0):  # then they are written once only
                obs[row, part] = after[row, part]
            stored.terminated[step, row], stored.ended[step, row] = ends[0, row], ends[2, row]
            if ends[2, row]:
                stored.returns[count], stored.lengths[count] = total[row], length[row]
                count += 1
    return count


@cache
def _compiled(kernels: Kernels) -> Any:
    names = {**globals(), "advance": kernels.advance}
    return njit(cache=True, nogil=True)(specialised(_play, names, kernels.stamp))


@runtime_checkable
class PlainAgent(Agent, Protocol):
    """An agent whose acting and storing need nothing but fully connected layers."""

    rollout: Rollout

    def plain_layers(self) -> tuple[Layers, Layers] | None:
        """Of the policy's logits and of the values; None if acting or storing needs more."""
        ...

    def filled(self, last_value: Tensor) -> None:
        """Take a rollout that compiled code has filled, with the values [N, V] of its last successors."""
        ...


class CompiledRollout:
    """Fills rollouts in one call: the same as the loop's own functions, up to the rounding of the network's output."""

    def __init__(self, agent: PlainAgent, layers: tuple[Layers, Layers], actor: PolicyActor, env: NativeEnv):
        assert isinstance(env.env.engine, RowEngine)
        self.agent, self.actor, self.env, self.engine = agent, actor, env, env.env.engine
        self.rollout = agent.rollout
        self._policy, self._width = Policy(*layers), widest(*layers)
        self._play = _compiled(self.engine.kernels)
        size = self.rollout.steps * env.num_envs
        self._returns, self._lengths, self._ended = np.empty(size, np.float64), np.empty(size, np.int64), 0

    def __call__(self) -> int:
        """Fill an empty rollout; returns the number of transitions taken."""
        rollout, env = self.rollout, self.env
        if rollout.length:
            raise ValueError(f"the rollout holds {rollout.length} steps; it must be empty")
        assert isinstance(env.obs, Tensor)
        if not rollout.fields:
            rollout.allocate(_fields(env.obs))
        stored, following = self._stored(env.obs)
        uniform = self.actor.uniform(rollout.steps).numpy()
        fixed = self.engine.fixed(env.env.limit, env.env.seeds)
        self._ended = self._play(fixed, self._policy, stored, uniform, self._width)
        env.obs, env.start = following, rollout.fields["ended"][-1].clone()
        self.agent.filled(rollout.fields["final_value"][-1])
        return rollout.steps * rollout.num_envs

    def ended_episodes(self) -> tuple[Array, Array]:
        """Returns float64 and lengths int64 of the episodes that ended in the last rollout, in their order."""
        return self._returns[: self._ended], self._lengths[: self._ended]

    def _stored(self, obs: Tensor) -> tuple[Stored, Tensor]:
        fields, following = self.rollout.fields, torch.empty_like(obs)
        fields["obs"][0] = obs
        names = (name for name in Stored._fields if name in fields)
        arrays = {name: fields[name].numpy() for name in names}
        return Stored(**arrays, following=following.numpy(), returns=self._returns, lengths=self._lengths), following


def _fields(obs: Tensor) -> dict[str, Tensor]:
    """Values as a rollout keeps them for each row."""
    rows = len(obs)
    number, flag = torch.zeros(rows), torch.zeros(rows, dtype=torch.bool)
    value, raw = torch.zeros(rows, 1), torch.zeros(rows, dtype=torch.int64)
    return {
        "obs": obs,
        "raw": raw,
        "log_prob": number,
        "value": value,
        "reward": number,
        "terminated": flag,
        "ended": flag,
        "final_value": value,
    }


def compiled_rollout(agent: Agent, actor: Actor, env: Env) -> CompiledRollout | None:
    """The compiled loop, if the agent's network, the actor and the environment have the form for it; else None."""
    if not isinstance(env, NativeEnv) or env.action_mask is not None or not isinstance(actor, PolicyActor):
        return None
    if not isinstance(env.env.engine, RowEngine) or not isinstance(agent, PlainAgent) or not actor.draws:
        return None
    layers = agent.plain_layers()
    return None if layers is None else CompiledRollout(agent, layers, actor, env)
