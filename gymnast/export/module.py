"""The policy that is exported: one module from named arrays to named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.prediction import GreedyPolicy
from gymnast.envs.rows.incoming import mask_sizes
from gymnast.envs.step import Obs, children, tensor_dtype
from gymnast.networks.layers.recurrent import reset

OBS, MEMORY, START, MASK, SEED = "obs", "memory", "start", "action_mask", "seed"
ACTION, PREFERENCE, NEXT_MEMORY = "action", "preference", "next_memory"


@dataclass(frozen=True)
class Port:
    """One named array that goes in or out; the first axis of its `shape` [N, ...] is left out."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: tuple[str, ...] = ()
    """Where an observation's part lies: the keys of a Dict, the numbers of a Tuple."""
    space: gym.Space[Any] | None = None
    """The space whose values it holds, if it is a part of the observation or the action."""

    def example(self, rows: int) -> Tensor:
        """Values [rows, ...] that the space allows."""
        dtype = torch.from_numpy(np.empty(0, self.dtype)).dtype
        filled = torch.zeros((rows, *self.shape), dtype=dtype)
        if isinstance(self.space, spaces.Discrete | spaces.MultiDiscrete):
            filled += torch.from_numpy(np.asarray(self.space.start)).to(dtype)
        return filled.fill_(True) if dtype == torch.bool else filled


def observation_ports(space: gym.Space[Any], path: tuple[str, ...] = ()) -> list[Port]:
    """An input for each part of an observation: `obs`, or `obs.KEY` for each key of a Dict and number of a Tuple."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return [port for key, _, part in children(space) for port in observation_ports(part, (*path, key))]
    shape = tuple(space.shape or ())
    return [Port(".".join((OBS, *path)), shape, str(tensor_dtype(space)), path, space)]


class PolicyModule(nn.Module):
    """A greedy policy with everything around it: `forward` takes the arrays of `inputs` and returns those of `outputs`.

    Where an episode starts, the memory is emptied inside.
    """

    def __init__(
        self, greedy: GreedyPolicy, observation_space: gym.Space[Any], action_space: gym.Space[Any], *, masked: bool
    ) -> None:
        super().__init__()
        self.greedy = greedy.eval()
        self.parts = observation_ports(observation_space)
        self.memory_size, self.masked = greedy.memory_size, masked and greedy.takes_masks
        self.inputs = list(self.parts)
        if self.memory_size:
            self.inputs += [Port(MEMORY, (self.memory_size,), "float32"), Port(START, (), "bool")]
        if self.masked:
            self.inputs.append(Port(MASK, (sum(mask_sizes(action_space)),), "bool"))
        if greedy.draws:
            self.inputs.append(Port(SEED, (), "int64"))
        self.outputs = self._outputs(action_space)

    @torch.no_grad()
    def _outputs(self, action_space: gym.Space[Any]) -> list[Port]:
        """The outputs, by trying the policy."""
        names = [ACTION, PREFERENCE, *([NEXT_MEMORY] if self.memory_size else [])]
        made = self(*(port.example(1) for port in self.inputs))
        found = zip(names, made, strict=True)
        return [
            Port(name, tuple(value.shape[1:]), str(value.numpy().dtype), (), action_space if name == ACTION else None)
            for name, value in found
        ]

    def arrays(self, obs: Obs) -> dict[str, np.ndarray]:
        """Observations [N, ...] as inputs, by their names."""
        found: dict[str, np.ndarray] = {}
        for port in self.parts:
            part = obs
            for key in port.path:
                assert isinstance(part, Mapping)
                part = part[key]
            assert isinstance(part, Tensor)
            found[port.name] = part.cpu().numpy()
        return found

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip((port.name for port in self.inputs), arrays, strict=True))
        memory = reset(named[MEMORY], named[START]) if self.memory_size else None
        seed = (named[SEED],) if self.greedy.draws else ()
        action, preference, memory = self.greedy(self._obs(named), memory, named.get(MASK), *seed)
        return (action, preference) if memory is None else (action, preference, memory)

    def _obs(self, named: dict[str, Tensor]) -> Obs:
        """The observation as agents have it, put together from its parts."""
        if self.parts[0].path == ():
            return named[OBS]
        obs: dict[str, Any] = {}
        for port in self.parts:
            place = obs
            for key in port.path[:-1]:
                place = place.setdefault(key, {})
            place[port.path[-1]] = named[port.name]
        return obs
