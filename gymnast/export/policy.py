"""An exported policy loaded into gymnast: it predicts, and plays in evaluations like an agent."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Acted, seed_sequence
from gymnast.agents.given import as_argument, as_batch, as_given, rows_of
from gymnast.agents.value.q_actor import mixed
from gymnast.envs.step import Obs, masks
from gymnast.errors import UsageError, require
from gymnast.export.standalone import CONTRACT, Policy, read_contract
from gymnast.storage import space_json


def is_exported(path: str | Path) -> bool:
    """Whether this is a folder of `gymnast export`."""
    return (Path(path) / CONTRACT).is_file()


class ExportedPolicy:
    """The policy in a folder of `gymnast export`, ONNX or torch-export: it acts and does not learn.

    `gymnast.evaluate` plays it like an agent. One of torch-export is loaded only with `trust`, because such a file may
    hold pickles. Raises UsageError (one line) for a folder that it cannot play, for a file that does not match its
    digest, or without onnxruntime.
    """

    def __init__(self, folder: str | Path, *, threads: int = 1, trust: bool = False) -> None:
        try:
            self._policy = _opened(folder, threads, trust=trust)
            self.contract = self._policy.contract
            self.observation_space = space_json.decode(self.contract["observation_space"])
            self.action_space = space_json.decode(self.contract["action_space"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(str(error)) from None
        self.env: str = self.contract["env"]
        """The id of the environment that it was trained in."""
        self.env_step: int = self.contract["env_step"]
        self.config = SimpleNamespace(**self.contract["config"])
        """The learner's settings that a protocol names."""
        self.device = torch.device("cpu")
        self._actor: ExportedActor | None = None

    @property
    def draws(self) -> bool:
        """Whether it draws its actions: it was exported with `--sample`."""
        return self._policy.draws

    @property
    def takes_masks(self) -> bool:
        """Whether it chooses among the actions that a mask allows."""
        return self._policy.masked

    @property
    def memory_size(self) -> int:
        """M, the numbers remembered per row; 0 without memory."""
        return self._policy.memory_size

    def predict(self, obs: Any, *, start: Any = None, action_mask: Any = None) -> Any:
        """The action for an observation, or the actions for a batch of them, as `agent.predict` gives them.

        Args:
            obs: one observation of the space, as NumPy or Python values, or a batch with a leading axis N.
            start: whether the observation begins an episode, for recurrent policies: a bool, or one per row. By
                default the first call does, and whenever N changes; later calls continue.
            action_mask: the allowed actions, [A], or [N, A] for a batch.

        Raises:
            ValueError: an observation or a mask does not match its space, or the policy takes no masks.
        """
        rows = rows_of(obs, self.observation_space, of="predict")
        count = 1 if rows is None else rows
        actor = self._actor
        new = actor is None or actor.num_envs != count
        if actor is None or new:
            self._actor = actor = self.actor(count)
        if start is not None and np.shape(start) not in ((), (count,)):
            raise ValueError(f"predict was given start of shape {np.shape(start)} for {count} observations")
        starts = np.full(count, new)
        if start is not None:
            starts = starts | np.asarray(start, np.bool_)
        mask = None if action_mask is None else self._masks(action_mask, count)
        batch = as_batch(obs, self.observation_space, self.device, single=rows is None, of="predict")
        action = torch.from_numpy(actor.choose(batch, starts, mask))
        return as_given(action, self.action_space, single=rows is None)

    def _masks(self, action_mask: Any, rows: int) -> np.ndarray:
        if not self.takes_masks:
            raise ValueError("predict was given an action mask, but the policy was exported without masks")
        try:
            return masks(self.action_space, action_mask, rows, self.device).numpy()
        except ValueError as error:
            raise ValueError(as_argument(error, "predict")) from None

    def stream(self) -> ExportedPolicy:
        """A second stream of predictions, with a memory of its own."""
        other = copy.copy(self)
        other._actor = None
        return other

    def actor(self, num_envs: int, *, explore: bool = False, seed: int | np.random.SeedSequence = 0) -> ExportedActor:
        """A stream of episodes as evaluations play it; ValueError with `explore`."""
        if explore:
            raise ValueError("an exported policy does not explore")
        return self.epsilon_greedy(num_envs, epsilon=self.contract["config"].get("eval_epsilon", 0.0), seed=seed)

    def epsilon_greedy(self, num_envs: int, *, epsilon: float, seed: int | np.random.SeedSequence) -> ExportedActor:
        """`actor` that takes a random action with probability epsilon; ValueError if actions are not Discrete."""
        if epsilon and not self._policy.discrete:
            raise ValueError("a random action with probability epsilon needs Discrete actions")
        return ExportedActor(self, num_envs, epsilon=epsilon, seed=seed)


class ExportedActor:
    """Episodes side by side, with the recurrent memory of each and, for evaluations, an epsilon."""

    def __init__(
        self, policy: ExportedPolicy, num_envs: int, *, epsilon: float, seed: int | np.random.SeedSequence
    ) -> None:
        self.policy, self.num_envs, self.epsilon = policy, num_envs, epsilon
        self.rng = np.random.Generator(np.random.PCG64(seed_sequence(seed)))
        self.memory = np.zeros((num_envs, policy.memory_size), np.float32)
        """[N, M], of the observations acted on so far."""

    def choose(self, obs: Obs, start: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """The actions [N, ...] for observations on the CPU; `start` bool [N], `mask` bool [N, A]."""
        inner = self.policy._policy
        arrays = {port["name"]: _at(obs, port["path"]).numpy() for port in inner.parts}
        if inner.memory_size:
            arrays |= {"memory": self.memory, "start": start}
        if inner.masked:
            arrays["action_mask"] = inner.mask(mask, len(start))
        if inner.draws:
            arrays["seed"] = self.rng.integers(1 << 63, size=len(start))
        found = inner.run(arrays)
        if inner.memory_size:
            self.memory = found["next_memory"]
        return found["action"]

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        mask = action_mask if self.policy.takes_masks else None
        chosen = torch.from_numpy(self.choose(obs, start.numpy(), None if mask is None else mask.numpy()))
        if self.epsilon:
            assert isinstance(self.policy.action_space, spaces.Discrete)
            first, count = int(self.policy.action_space.start), int(self.policy.action_space.n)
            uniform = torch.from_numpy(self.rng.random((2, self.num_envs)))
            chosen = mixed(chosen - first, uniform, count, allowed=mask, epsilon=self.epsilon) + first
        return Acted(chosen)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state, "memory": torch.from_numpy(self.memory.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state, self.memory = state["rng"], state["memory"].numpy().copy()


class TorchPolicy(Policy):
    """The policy in a folder of `gymnast export --to torch-export`."""

    format, reader = "torch-export", "torch"

    def session_of(self, content: bytes, threads: int) -> Any:
        return torch.export.load(io.BytesIO(content)).module()

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            made = self.session(*(torch.from_numpy(arrays[port["name"]]) for port in self.inputs))
        return {name: value.numpy() for name, value in zip(self.names, made, strict=True)}


def _opened(folder: str | Path, threads: int, *, trust: bool) -> Policy:
    """The policy by its format; ValueError or UsageError."""
    if read_contract(folder)["format"] != "torch-export":
        require("onnxruntime", of="an exported policy", extra="export")
        return Policy(folder, threads=threads)
    if not trust:
        raise UsageError(f"{folder} is a program of torch.export, which may hold pickles; trust=True (--trust) runs it")
    return TorchPolicy(folder, threads=threads)


def _at(obs: Obs, path: list[str]) -> Tensor:
    """A part of an observation."""
    for key in path:
        assert isinstance(obs, Mapping)
        obs = obs[key]
    assert isinstance(obs, Tensor)
    return obs
