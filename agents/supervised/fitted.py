"""A fitted network in use: observations as the environment gives them to codes and predictions, and samples back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import torch_seed
from gymnast.agents.given import as_batch, as_given, rows_of
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS, task_class
from gymnast.agents.supervised.task import Sampling, Task
from gymnast.envs.step import Obs, children
from gymnast.networks.layers.restored import within

BLOCK = 128
"""Samples that are drawn together, by a generator of their own: the first ones of a seed are always the same."""
ROWS = 256
"""Observations that go through the network together, at most."""

METHODS: dict[str, Callable[[type[Task]], object]] = {
    "encode": lambda task: task.encodes,
    "decode": lambda task: task.decode is not Task.decode,
    "sample": lambda task: task.drawn is not Task.drawn,
    "predict": lambda task: task.takes,
}
"""Whether the networks of a task have a method."""


class FittedNetwork:
    """The network of a run of `gymnast fit` or `gymnast pretrain`; `gymnast.load(RUN)` gives one.

    Observations are as the environment gives them, NumPy arrays or tensors, a dict for a Dict space; one of the
    observation space's shape, or a batch with a leading axis N. Results are NumPy arrays, of a batch with that axis.
    A method that the task does not have raises ValueError, which names the tasks that have it.
    """

    def __init__(self, name: str, task: Task, *, device: torch.device) -> None:
        self.name = name
        """Of the task, such as `classify` or `autoencoder-vq`."""
        self.task, self.device = task, device

    @property
    def config(self) -> FitConfig:
        return self.task.config

    @property
    def network(self) -> nn.Module:
        """The module: a `backbone` and `heads`, or a machine without layers."""
        return self.task.network

    @property
    def observation_space(self) -> gym.Space[Any]:
        return self.task.observation_space

    @property
    def action_space(self) -> gym.Space[Any] | None:
        return self.task.action_space

    @property
    def latent_size(self) -> int:
        """Numbers of a latent, for `decode`."""
        self._need("decode")
        return self.task.latent_size

    @torch.no_grad()
    def encode(self, obs: Any) -> np.ndarray:
        """Latents float32 [L], or [N, L] of a batch; the features of the backbone where there is no code after them."""
        self._need("encode")
        rows = rows_of(obs, self.observation_space, of="encode")
        batch = as_batch(obs, self.observation_space, self.device, single=rows is None, of="encode")
        latent = torch.cat([self.task.encode(part) for part in _split(batch, rows or 1)]).cpu().numpy()
        return latent[0] if rows is None else latent

    @torch.no_grad()
    def decode(self, latent: Any) -> Any:
        """The observation that a latent [L] is restored to, or those of a batch [N, L], in their own units and dtype.

        Numbers are rounded if they are integers, and clipped to the bounds of the space.
        """
        size = self.latent_size
        array = latent.detach().cpu().numpy() if isinstance(latent, Tensor) else np.asarray(latent)
        if array.shape != (size,) and not (array.ndim == 2 and array.shape[0] and array.shape[1] == size):
            raise ValueError(f"decode was given latents of shape {array.shape}, and they are ({size},) or (N, {size})")
        single = array.ndim == 1
        batch = torch.from_numpy(np.array(array, np.float32, ndmin=2)).to(self.device)
        parts = [self._values(self.task.decode(part), single=single) for part in torch.split(batch, ROWS)]
        return parts[0] if len(parts) == 1 else _filled(self.observation_space, iter(parts), len(batch))

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        steps: int | None = None,
        temperature: float | None = None,
        label: int | None = None,
    ) -> Any:
        """Samples [n, ...] as the environment would give observations; of one seed the first ones are always the same.

        Args:
            n: number of samples.
            seed: of all random numbers.
            steps: steps of the Markov chain from noise to a sample, of energy-rbm; by default 1,000.
            temperature: factor of the deviation of the latents, of autoencoder-variational and -wasserstein; default 1.
            label: class or Discrete action of all samples, of gan-conditional; by default as often as in the data.

        Raises:
            ValueError: the task fits no distribution over observations, or has no such option.
        """
        if n < 1:
            raise ValueError(f"n must be >= 1, got {n}")
        blocks = self.blocks(n, seed=seed, steps=steps, temperature=temperature, label=label)
        return _filled(self.observation_space, blocks, n)

    @torch.no_grad()
    def blocks(
        self,
        n: int,
        *,
        seed: int = 0,
        steps: int | None = None,
        temperature: float | None = None,
        label: int | None = None,
    ) -> Iterator[Any]:
        """The samples of `sample` in batches of at most 128, for more of them than memory holds."""
        self._need("sample")
        draws = Sampling(steps=steps, temperature=temperature, label=label)
        self._check(draws)
        for number in range(0, n, BLOCK):
            seeds = np.random.SeedSequence(seed, spawn_key=(number // BLOCK,))
            generator = torch.Generator(self.device).manual_seed(torch_seed(seeds))
            values = self._drawn(draws, generator)
            yield self._values(values[: n - number], single=False)

    @torch.no_grad()
    def predict(self, obs: Any, *, action: Any = None, next_obs: Any = None) -> dict[str, Any]:
        """Predictions by name for an observation, or for a batch.

        `classify` gives `class` (the number of the likeliest one) and `probability` of each; `regress` gives
        `numbers`, `value` the `value`, and `reward`, with the action, the `reward`. `inverse-dynamics` gives the
        `action` between obs and next_obs; `dynamics`, with the action, `next_obs` or its `features`, the `reward` and
        the probability of an `end`. With `mc_samples` they are means of passes with dropout, the same at every call.
        """
        self._need("predict")
        given, rows = self._arguments(obs, action, next_obs)
        kept: dict[str, list[Any]] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the passes with dropout
            for parts in zip(*(_split(one, rows or 1) for one in given), strict=True):
                for name, value in self.task.prediction(*parts).items():
                    kept.setdefault(name, []).append(value)
        return {name: self._named(name, parts, single=rows is None) for name, parts in kept.items()}

    def _arguments(self, obs: Any, action: Any, next_obs: Any) -> tuple[list[Any], int | None]:
        """What `prediction` takes as tensors [N, ...], and N, None for single ones."""
        values = {"obs": obs, "action": action, "next_obs": next_obs}
        spaces = {"obs": self.observation_space, "action": self.action_space, "next_obs": self.observation_space}
        given: list[Any] = []
        counts: set[int | None] = set()
        for name, value in values.items():
            if (value is not None) != (name in self.task.takes):
                raise ValueError(f"predict of {self.name} takes {', '.join(self.task.takes)}")
            space = spaces[name]
            if value is None or space is None:
                given.append(None)
                continue
            what = "an action" if name == "action" else "an observation"
            rows = rows_of(value, space, of="predict", what=what)
            given.append(as_batch(value, space, self.device, single=rows is None, of="predict", what=what))
            counts.add(rows)
        if len(counts) != 1:
            raise ValueError(f"predict was given different numbers of {', '.join(self.task.takes)}")
        return given, counts.pop()

    def _named(self, name: str, parts: list[Obs], *, single: bool) -> Any:
        """A prediction as an array; observations and actions as their spaces have them."""
        space = {"next_obs": self.observation_space, "action": self.action_space}.get(name)
        if space is not None:
            found = [_whole(space, part, single=single) for part in parts]
            return found[0] if len(found) == 1 else _filled(space, iter(found), sum(map(_rows, parts)))
        array = torch.cat([part for part in parts if isinstance(part, Tensor)]).cpu().numpy()
        return array[0] if single else array

    def _values(self, values: Tensor | None, *, single: bool) -> Any:
        """What the task decodes or draws, as the environment would give it."""
        assert values is not None
        return _whole(self.observation_space, self.task.observed(values), single=single)

    def _drawn(self, draws: Sampling, generator: torch.Generator) -> Tensor:
        before, self.task.draws = self.task.draws, draws
        try:
            values = self.task.drawn(BLOCK, generator)
        finally:
            self.task.draws = before
        if values is None:
            raise ValueError(f"{self.name} has not learned a distribution to sample from")
        return values

    def _check(self, draws: Sampling) -> None:
        """ValueError for an option of sampling that is out of range or has no effect."""
        for name, least in (("steps", 1), ("temperature", 0), ("label", 0)):
            value = getattr(draws, name)
            if value is None:
                continue
            if name not in self.task.sampling:
                names = ", ".join(known for known in TASKS if name in task_class(known).sampling)
                raise ValueError(f"{name} {value} has no effect on samples of {self.name}, only on {names}")
            if not least <= value < float("inf"):
                raise ValueError(f"{name} must be >= {least}, got {value}")

    def _need(self, method: str) -> None:
        """ValueError, with the names of the tasks that have a method, if this one does not have it."""
        if not METHODS[method](type(self.task)):
            raise ValueError(f"{self.name} has no {method}; these have: {', '.join(tasks_with(method))}")


def tasks_with(method: str) -> list[str]:
    """The names of the tasks whose networks have a method."""
    return [name for name in TASKS if METHODS[method](task_class(name))]


def _split(obs: Obs, rows: int) -> Iterator[Obs]:
    """Observations [N, ...] in parts of at most `ROWS`; as many times None if there are none."""
    for start in range(0, rows, ROWS):
        yield _slice(obs, start)


def _slice(obs: Obs | None, start: int) -> Any:
    if isinstance(obs, dict):
        return {key: _slice(part, start) for key, part in obs.items()}
    return None if obs is None else obs[start : start + ROWS]


def _rows(obs: Obs) -> int:
    return _rows(next(iter(obs.values()))) if isinstance(obs, dict) else len(obs)


def _whole(space: gym.Space[Any], values: Obs, *, single: bool) -> Any:
    """Numbers [N, ...] in their own units as the nearest values of a space, as it has them."""
    return as_given(_within(space, values), space, single=single)


def _within(space: gym.Space[Any], values: Obs) -> Obs:
    if isinstance(values, dict):
        assert isinstance(space, gym.spaces.Dict | gym.spaces.Tuple)
        return {name: _within(part, values[name]) for name, _, part in children(space)}
    return within(space, values)


def _filled(space: gym.Space[Any], parts: Iterator[Any], rows: int) -> Any:
    """Batches of a space's values, one after the other, in arrays [rows, ...]; only they are held at once."""
    whole, start = _empty(space, rows), 0
    for part in parts:
        start += _put(whole, part, start)
    return whole


def _empty(space: gym.Space[Any], rows: int) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: _empty(part, rows) for _, key, part in children(space)}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_empty(part, rows) for _, _, part in children(space))
    return np.empty((rows, *(space.shape or ())), space.dtype)


def _put(whole: Any, part: Any, start: int) -> int:
    """Copy a batch to its place; its number of rows."""
    if isinstance(whole, np.ndarray):
        whole[start : start + len(part)] = part
        return len(part)
    keys = whole if isinstance(whole, dict) else range(len(whole))
    return max(_put(whole[key], part[key], start) for key in keys)
