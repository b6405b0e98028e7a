"""The adapter over Gymnasium's vector environments: three autoreset modes, one stream of true transitions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError, EnvWarning
from gymnast.envs.rows import incoming, lasting, tensors
from gymnast.envs.rows.incoming import BadValue
from gymnast.envs.rows.pictures import picture
from gymnast.envs.rows.row import EXTRAS
from gymnast.envs.rows.snapshot import has_state, put_back, take
from gymnast.envs.step import Obs, Step, map_obs

VectorEnv = gym.vector.VectorEnv[Any, Any, Any]


class VectorAdapter(Env):
    """Any `gym.vector.VectorEnv`.

    DISABLED, and NEXT_STEP where a masked reset clears the pending one: ended rows are reset at once. SAME_STEP: the
    final observation comes from `final_obs`; Gymnasium keeps a reference to it over the reset, so an environment that
    reuses the memory of its observations loses it there (in no other mode). NEXT_STEP otherwise: the step that resets a
    row gives it `active` False, and `obs` of the step before is still the old episode's final observation there.
    """

    def __init__(self, env: VectorEnv, *, id: str, seed: np.random.SeedSequence, device: torch.device) -> None:
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(
                f"{id} declares no autoreset mode (got {mode!r}): set its metadata['autoreset_mode'] "
                "to a gymnasium.vector.AutoresetMode, so that episode ends can be told apart"
            )
        self.id = id
        self.env = env
        self.num_envs = env.num_envs
        self.device = device
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.overlaps = isinstance(env, AsyncVectorEnv)
        self.exact_resume = has_state(env)
        self.render_fps = float(env.metadata.get("render_fps") or 30.0)
        self._same_step = mode is AutoresetMode.SAME_STEP
        self._masked_reset = mode is AutoresetMode.DISABLED or (mode is AutoresetMode.NEXT_STEP and _clears(env))
        self._batch = tensors.batcher(env.single_observation_space, device)
        tensors.check_actions(env.single_action_space, id)
        self._seeds = seed
        self._resets = 0
        self._obeys_mask = False
        self._none = torch.zeros(self.num_envs, dtype=torch.bool, device=device)
        self._statistics = np.float32 if device.type == "mps" else np.float64
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._pending = np.zeros(self.num_envs, np.bool_)
        """Rows whose next action will be ignored, because the environment resets them then."""
        self._extras: tuple[str, ...] = ()
        self._episode = np.arange(self.num_envs)
        self._begun = 0

    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        if episode_seeds is not None:
            raise ValueError(f"{self.id} cannot seed individual episodes: use vectorization serial or async")
        key = (*self._seeds.spawn_key, self._resets)
        seed = int(np.random.SeedSequence(self._seeds.entropy, spawn_key=key).generate_state(1)[0])
        self._resets += 1
        observations, infos = self._call("reset", lambda: self.env.reset(seed=seed))
        self._extras = tuple(name for name in EXTRAS if name in infos)
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._pending[:] = False
        self._episode = np.arange(self.num_envs)
        self._begun = self.num_envs
        self.obs = self._call("reset", lambda: self._tensors(observations))
        self.start = ~self._none
        self.action_mask = self._mask(infos)
        return self.obs

    @property
    def episode(self) -> list[int]:
        return [int(number) for number in self._episode]

    def step(self, action: Tensor) -> Step:
        array = self._array(action)
        return self._stepped(*self._call("step", lambda: self.env.step(array)))

    def send(self, action: Tensor) -> None:
        if not isinstance(self.env, AsyncVectorEnv):
            super().send(action)
        else:
            env, array = self.env, self._array(action)
            self._call("step", lambda: env.step_async(array))

    def receive(self) -> Step:
        if not isinstance(self.env, AsyncVectorEnv):
            return super().receive()
        return self._stepped(*self._call("step", self.env.step_wait))

    def _call(self, name: str, call: Callable[[], Any]) -> Any:
        """One of the environment's calls; EnvError names it where it raises or gives what does not fit."""
        try:
            return call()
        except EnvError:
            raise
        except BadValue as error:
            raise EnvError(f"{self.id} {error} ({name}, {self._where()})") from error
        except Exception as error:
            text = " ".join(str(error).split())
            raise EnvError(f"{self.id}: {name} raised {type(error).__name__}: {text} ({self._where()})") from error

    def _array(self, action: Tensor) -> np.ndarray:
        return np.array(action.detach().cpu().numpy(), self.env.action_space.dtype)

    def _stepped(self, observations: Any, rewards: Any, terminated: Any, truncated: Any, infos: dict[str, Any]) -> Step:
        """The step that the environment answered with, with new episodes where one ended."""
        begun = self._pending
        active = ~begun
        self._lengths += 1
        try:
            rewards = incoming.numbers(rewards, self.num_envs)
            terminated = incoming.flags(terminated, self.num_envs, "terminated") & active
            truncated = incoming.flags(truncated, self.num_envs, "truncated") & active
            step = self._step(self._tensors(observations), rewards, infos)
        except BadValue as error:
            raise EnvError(f"{self.id} {error} ({self._where()})") from error
        self._returns += rewards  # a row that begins starts from zero below
        ended = terminated | truncated
        if begun.any():
            step.active, step.start = self._tensor(active), self._tensor(begun)
            step.num_active = self.num_envs - int(begun.sum())
            self._begin(begun)
        self._pending = np.zeros_like(begun)
        if ended.any():
            step.terminated, step.truncated = self._tensor(terminated), self._tensor(truncated)
            self._call("step", lambda: self._end(step, observations, ended, infos))
        self.obs, self.start, self.action_mask = step.obs, step.start, step.action_mask
        return step

    def _step(self, obs: Obs, rewards: np.ndarray, infos: dict[str, Any]) -> Step:
        """The step if no episode ended and none began."""
        mask = self._mask(infos)
        return Step(
            obs=obs,
            start=self._none,
            next_obs=obs,
            reward=self._tensor(rewards.astype(np.float32)),
            terminated=self._none,
            truncated=self._none,
            num_active=self.num_envs,
            num_ended=0,
            lives=self._lives(infos),
            action_mask=mask,
            next_action_mask=mask,
        )

    def _end(self, step: Step, observations: Any, ended: np.ndarray, infos: dict[str, Any]) -> None:
        """Fill in what differs where episodes ended."""
        step.num_ended = int(ended.sum())
        step.episode_return = self._tensor(self._returns.astype(self._statistics))
        step.episode_length = self._tensor(self._lengths.copy())
        rows = np.flatnonzero(ended)
        if self._same_step:
            step.next_obs = tensors.replace_rows(step.obs, rows, self._final_obs(infos, rows))
            final_infos = infos.get("final_info", {})
            step.next_action_mask = self._merge(step.action_mask, self._mask(final_infos), rows)
            step.lives = self._merge(step.lives, self._lives(final_infos), rows)
        elif self._masked_reset:
            options = {"reset_mask": ended.copy()}
            first, first_infos = self._call("reset", lambda: self.env.reset(options=options))
            obs = self._call("reset", lambda: self._tensors(first))
            self._check_masked_reset(step.next_obs, obs, ended)
            step.obs = tensors.replace_rows(step.next_obs, rows, tensors.select_rows(obs, rows))
            step.action_mask = self._merge(step.action_mask, self._mask(first_infos), rows)
        else:
            self._pending = ended
            return
        step.start = step.start | self._tensor(ended)
        self._begin(ended)

    def _where(self) -> str:
        """Steps of the rows' episodes, for messages."""
        low, high = int(self._lengths.min()), int(self._lengths.max())
        return f"step {low}" if low == high else f"step {low} to {high} of the rows' episodes"

    def _begin(self, rows: np.ndarray) -> None:
        """Episodes begin in these rows."""
        self._returns[rows] = 0.0
        self._lengths[rows] = 0
        self._episode[rows] = np.arange(self._begun, self._begun + int(rows.sum()))
        self._begun += int(rows.sum())

    def _final_obs(self, infos: dict[str, Any], rows: np.ndarray) -> Obs:
        """The final observations of these rows: one object per row (Gymnasium), or a whole batch (ale-py)."""
        if "final_obs" not in infos:
            raise EnvError(f"{self.id} declares SAME_STEP but returned no final_obs when an episode ended")
        final = infos["final_obs"]
        if isinstance(final, np.ndarray) and final.dtype == object:
            return self._batch([final[row] for row in rows])
        return tensors.select_rows(self._tensors(final), rows)

    def _check_masked_reset(self, before: Obs, after: Obs, ended: np.ndarray) -> None:
        """Some environments reset every row whatever the mask says: their running episodes would be cut silently."""
        running = np.flatnonzero(~ended)
        if self._obeys_mask or not running.size:
            return
        if not tensors.equal(tensors.select_rows(before, running), tensors.select_rows(after, running)):
            raise EnvError(f"{self.id} ignores reset_mask: it reset rows whose episodes were still running")
        self._obeys_mask = True  # once is enough

    def _tensors(self, observations: Any) -> Obs:
        return tensors.batched(self.single_observation_space, observations, self.device)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return tensors.to_tensor(array, self.device)

    def _mask(self, infos: dict[str, Any]) -> Tensor | None:
        if "action_mask" not in self._extras or "action_mask" not in infos:
            return None
        return self._tensor(np.array(infos["action_mask"], np.bool_))

    def _lives(self, infos: dict[str, Any]) -> Tensor | None:
        if "lives" not in self._extras or "lives" not in infos:
            return None
        return self._tensor(np.array(infos["lives"], np.int64))

    def _merge(self, values: Tensor | None, others: Tensor | None, rows: np.ndarray) -> Tensor | None:
        """`values` with these rows taken from `others`, where there are both."""
        if values is None or others is None:
            return values
        merged = values.clone()
        merged[rows] = others[rows]
        return merged

    def snapshot(self) -> dict[str, Any]:
        if not self.exact_resume:
            return super().snapshot()
        return {
            "env": tensors.arrays_to_tensors(take(self.env)),
            "obs": self.obs,
            "start": self.start,
            "action_mask": self.action_mask,
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
            "pending": self._pending.tolist(),
            "extras": list(self._extras),
            "episode": self.episode,
            "begun": self._begun,
            "resets": self._resets,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        if not self.exact_resume:
            super().restore(snapshot)
        put_back(self.env, tensors.tensors_to_arrays(snapshot["env"]))
        self.obs = map_obs(lambda tensor: tensor.to(self.device), snapshot["obs"])
        self.start = snapshot["start"].to(self.device)
        self.action_mask = None if snapshot["action_mask"] is None else snapshot["action_mask"].to(self.device)
        self._returns = np.array(snapshot["returns"])
        self._lengths = np.array(snapshot["lengths"], np.int64)
        self._pending = np.array(snapshot["pending"], np.bool_)
        self._extras = tuple(snapshot["extras"])
        self._episode = np.array(snapshot["episode"])
        self._begun, self._resets = snapshot["begun"], snapshot["resets"]

    def lasting(self) -> dict[str, Any]:
        """What the wrappers keep, and in this process those around each row."""
        kept: dict[str, Any] = {"wrappers": [lasting.attributes(layer) for layer in lasting.layers(self.env)[:-1]]}
        base = self.env.unwrapped
        if isinstance(base, SyncVectorEnv):
            kept["rows"] = [[lasting.attributes(layer) for layer in lasting.layers(env)[:-1]] for env in base.envs]
        kept_tensors: dict[str, Any] = tensors.arrays_to_tensors({**kept, "resets": self._resets})
        return kept_tensors

    def put_lasting(self, kept: dict[str, Any]) -> None:
        kept = tensors.tensors_to_arrays(kept)
        base = self.env.unwrapped
        rows = zip(base.envs, kept.get("rows", ()), strict=False) if isinstance(base, SyncVectorEnv) else ()
        for env, values in ((self.env, kept["wrappers"]), *rows):
            lasting.put_back(env, [*values, {}])
        self._resets = kept["resets"]

    def render(self, row: int = 0) -> np.ndarray:
        if self.env.render_mode != "rgb_array":
            return super().render(row)
        frames = self._call("render", self.env.render)
        frame: np.ndarray = self._call("render", lambda: picture(None if frames is None else frames[row]))
        return frame

    def close(self) -> None:
        """Free the environment; where it raises, that is a warning: what it was for is done."""
        try:
            self._call("close", self.env.close)
        except EnvError as error:
            warnings.warn(str(error), EnvWarning, stacklevel=2)


def _clears(env: VectorEnv) -> bool:
    """Whether a masked reset right after an end clears the reset that NEXT_STEP has pending.

    Gymnasium's asynchronous one does so only with shared memory (1.4.0).
    """
    return type(env) is SyncVectorEnv or (type(env) is AsyncVectorEnv and env.shared_memory)
