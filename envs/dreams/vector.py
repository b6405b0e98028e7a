"""A dream as Gymnasium's vector environment: tensors in, tensors out."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from gymnast.envs.dreams.model import DreamModel, IntoSpace, is_finite
from gymnast.envs.errors import EnvError
from gymnast.envs.native.vector import Infos, checked_rows, checked_seed, refuse_outside
from gymnast.envs.native.world import Moved
from gymnast.envs.step import Obs, map_obs


class Dreaming(NamedTuple):
    """N imagined episodes in progress; every tensor except `begun` has the leading axis N."""

    state: Tensor
    obs: Obs
    length: Tensor
    """int64 [N], steps of the episode so far."""
    total: Tensor
    """float64 [N], rewards of the episode so far."""
    episode: Tensor
    """int64 [N], the episode's number, counted over all rows in the order in which they begin."""
    begun: Tensor
    """int64 [], episodes that have begun."""


class DreamVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """N episodes that a world model imagines, stepped together as tensors on the model's device.

    Observations have the dtype of the real environment's and lie in its space. Autoreset is SAME_STEP:
    `info["final_obs"]` [N, ...] holds each row's true successor (of continuing rows too), `info["_final_obs"]` bool [N]
    says which rows ended. `reset(options={"reset_mask": mask})` resets some rows. Episodes are truncated after
    `max_episode_steps`. `temperature` scales the model's randomness (1: as learned; 0: its most likely outcome).

    All draws come from one generator, which `seed` begins: the same seed, number of rows and actions give the same
    dream, and `snapshot` and `restore` continue it exactly. `model_digest` identifies the model's weights: `restore`
    refuses a snapshot of others. `outside` describes the real environment for those who know its form.

    Raises:
        ValueError: a temperature below 0, or a model whose observations do not fit their space.
    """

    def __init__(
        self,
        model: DreamModel,
        num_envs: int = 1,
        *,
        id: str = "dream",
        seed: int = 0,
        temperature: float = 1.0,
        max_episode_steps: int | None = None,
        check_actions: bool = False,
        model_digest: int = 0,
        outside: dict[str, Any] | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be >= 1, got {num_envs}")
        if not (math.isfinite(temperature) and temperature >= 0.0):
            raise ValueError(f"temperature must be a number >= 0, got {temperature}")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be >= 1, got {max_episode_steps}")
        self.model, self.id, self.outside, self.model_digest = model, id, outside, model_digest
        self.device = torch.empty(0, device=model.device).device
        self.num_envs, self.temperature, self.limit = num_envs, temperature, max_episode_steps
        self.check_actions = check_actions
        self.single_observation_space = model.observation_space
        self.single_action_space = model.action_space
        self.observation_space = batch_space(model.observation_space, num_envs)
        self.action_space = batch_space(model.action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self._on_host = self.device.type == "cpu"
        self._into_space = IntoSpace(model.observation_space, self.device)
        self._action_dtype = torch.float32 if isinstance(model.action_space, gym.spaces.Box) else torch.int64
        self._generator = torch.Generator(self.device).manual_seed(checked_seed(seed))
        self._begin()

    def another(self, num_envs: int, *, seed: int = 0, max_episode_steps: int | None = None) -> DreamVectorEnv:
        """Other episodes of the same model, with this time limit unless another one is given."""
        return DreamVectorEnv(
            self.model,
            num_envs,
            id=self.id,
            seed=seed,
            temperature=self.temperature,
            max_episode_steps=max_episode_steps or self.limit,
            check_actions=self.check_actions,
            model_digest=self.model_digest,
            outside=self.outside,
        )

    def _begin(self) -> None:
        rows = torch.arange(self.num_envs, device=self.device)
        state, obs = self._first(self.num_envs)
        self._into_space.check(obs, self.num_envs)
        length = torch.zeros_like(rows)
        total = length.to(torch.float32 if self.device.type == "mps" else torch.float64)
        self.now = Dreaming(state, obs, length, total, rows, torch.full_like(rows[0], self.num_envs))

    @torch.no_grad()
    def _first(self, rows: int) -> tuple[Tensor, Obs]:
        state, obs = self.model.dream_start(rows, self._generator)
        return state, self._into_space(obs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, Infos]:
        """Begin new episodes, by a seed or continuing the previous draws. Observations [N, ...] and an empty dict."""
        mask = None if not options else options.get("reset_mask")
        if mask is not None:
            if seed is not None:
                raise ValueError("reset_mask cannot be combined with seed, which seeds all rows")
            self.now = self._restarted(self.now, checked_rows(mask, self.num_envs, self.device))
            return self.now.obs, {}
        if seed is not None:
            self._generator.manual_seed(checked_seed(seed))
        self._begin()
        return self.now.obs, {}

    @torch.no_grad()
    def move(self, action: Tensor) -> Moved:
        """One step as our adapter takes it; `action` [N, ...] on the environment's device."""
        if self.check_actions:
            refuse_outside(action, self.single_action_space, self.num_envs, self.id)
        before = self.now
        after = self.model.dream_step(before.state, action, self._generator, temperature=self.temperature)
        next_obs = self._into_space(after.obs)
        if self._on_host and not (is_finite(next_obs) and is_finite(after.reward)):
            raise EnvError(f"{self.id} imagined an observation or a reward that is infinite or not a number")
        length, total = before.length + 1, before.total + after.reward
        truncated = torch.zeros_like(after.terminated) if self.limit is None else length >= self.limit
        following = Dreaming(after.state, next_obs, length, total, before.episode, before.begun)
        ended = after.terminated | truncated
        self.now = self._restarted(following, ended)
        return Moved(
            self.now.obs, next_obs, after.reward, after.terminated, truncated, ended, total, length, None, None, None
        )

    def _restarted(self, now: Dreaming, rows: Tensor) -> Dreaming:
        """New episodes in some rows, bool [N].

        On the host only their first observations are imagined. A GPU imagines those of all rows: it would have to
        wait for the host to learn their number.
        """
        if self._on_host:
            places = rows.nonzero().flatten()
            if not len(places):
                return now
            state, obs = self._first(len(places))
            state, obs = now.state.index_copy(0, places, state), _copied(now.obs, places, obs)
        else:
            state, obs = self._first(self.num_envs)
            state, obs = _chosen(rows, state, now.state), _chosen(rows, obs, now.obs)
        count = rows.cumsum(0)
        return Dreaming(
            state,
            obs,
            now.length.masked_fill(rows, 0),
            now.total.masked_fill(rows, 0.0),
            torch.where(rows, now.begun + count - 1, now.episode),
            now.begun + count[-1],
        )

    def step(self, actions: Any) -> tuple[Obs, Tensor, Tensor, Tensor, Infos]:
        """Observations [N, ...], reward float32 [N], terminated and truncated bool [N], and the infos above."""
        moved = self.move(torch.as_tensor(actions, device=self.device, dtype=self._action_dtype))
        infos = {"final_obs": moved.next_obs, "_final_obs": moved.terminated | moved.truncated}
        return moved.obs, moved.reward, moved.terminated, moved.truncated, infos

    def render(self) -> None:
        """None: a dream has observations, and no other picture."""

    def snapshot(self) -> dict[str, Any]:
        """All that the future depends on, except the model: tensors and dicts of them."""
        return {**self.now._asdict(), "generator": self._generator.get_state(), "model": self.model_digest}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of as many rows; ValueError if it is of another model or another kind of device."""
        if len(snapshot["length"]) != self.num_envs:
            raise ValueError(f"the snapshot has {len(snapshot['length'])} rows, this environment {self.num_envs}")
        if snapshot["model"] != self.model_digest:
            raise ValueError("its world model has changed")
        if len(snapshot["generator"]) != len(self._generator.get_state()):
            raise ValueError(f"random numbers on {self.device.type} differ")
        self._generator.set_state(snapshot["generator"].cpu())
        moved: dict[str, Any] = {
            name: map_obs(lambda value: value.to(self.device), snapshot[name]) for name in Dreaming._fields
        }
        self.now = Dreaming(**moved)


def _copied(obs: Obs, places: Tensor, values: Obs) -> Obs:
    """The observations with these rows, int64 [K], replaced."""
    if isinstance(obs, dict) and isinstance(values, dict):
        return {name: _copied(part, places, values[name]) for name, part in obs.items()}
    assert isinstance(obs, Tensor)
    assert isinstance(values, Tensor)
    return obs.index_copy(0, places, values)


def _chosen(rows: Tensor, obs: Any, other: Any) -> Any:
    """One observation or state in `rows`, bool [N], the other elsewhere."""
    if isinstance(obs, dict):
        return {name: _chosen(rows, part, other[name]) for name, part in obs.items()}
    return torch.where(rows.view(-1, *[1] * (obs.ndim - 1)), obs, other)
