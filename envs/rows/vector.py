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

from gymnast.envs import goals
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError, EnvWarning, cause
from gymnast.envs.rows import incoming, lasting, tensors
from gymnast.envs.rows import infos as vector_infos
from gymnast.envs.rows.episodes import Episodes
from gymnast.envs.rows.extras import Extras, merged
from gymnast.envs.rows.incoming import BadValue
from gymnast.envs.rows.infos import Infos
from gymnast.envs.rows.pictures import picture
from gymnast.envs.rows.snapshot import has_state, put_back, take
from gymnast.envs.step import GoalRewards, Obs, Step, batched, map_obs, to_tensor

VectorEnv = gym.vector.VectorEnv[Any, Any, Any]
SEEDS = 2**31
"""Seeds are below this, so that they are int32 with the row number added: foreign emulators need that."""


class VectorAdapter(Env):
    """Any `gym.vector.VectorEnv`.

    DISABLED, and NEXT_STEP where a masked reset clears the pending one: ended rows are reset at once. SAME_STEP: the
    final observation comes from `final_obs`; Gymnasium keeps a reference to it over the reset, so an environment that
    reuses the memory of its observations loses it there (in no other mode). NEXT_STEP otherwise: the step that resets a
    row gives it `active` False, and `obs` of the step before is still the old episode's final observation there.
    `envs/rows/infos.py` describes the sources of action masks.
    """

    def __init__(
        self, env: VectorEnv, *, id: str, seed: np.random.SeedSequence, device: torch.device, first_row: int = 0
    ) -> None:
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(
                f"{id} declares no autoreset mode (got {mode!r}): set its metadata['autoreset_mode'] "
                "to a gymnasium.vector.AutoresetMode, which says how ended rows are reset"
            )
        self.id = id
        self.env = env
        self.num_envs = env.num_envs
        self.device = device
        self.single_observation_space = tensors.without_text(env.single_observation_space, id)
        self.single_action_space = env.single_action_space
        self.overlaps = isinstance(env, AsyncVectorEnv)
        self.exact_resume = has_state(env)
        self.forgets = lasting.out_of_reach(env)
        self.render_fps = float(env.metadata.get("render_fps") or 30.0)
        self.time_limit: int | None = _time_limit(env.spec)
        """Maximum steps of an episode, if the environment declares it."""
        self._same_step = mode is AutoresetMode.SAME_STEP
        self._masked_reset = mode is AutoresetMode.DISABLED or (mode is AutoresetMode.NEXT_STEP and _clears(env))
        self.skips_rows = not (self._same_step or self._masked_reset)
        self._batch = tensors.batcher(self.single_observation_space, device)
        tensors.check_observations(self.single_observation_space, id)
        tensors.check_actions(env.single_action_space, id)
        self._spaces = [(f"single_{name}", getattr(env, f"single_{name}")) for name in incoming.SPACES]
        self._seeds, self._first_row = seed, first_row
        self._resets = 0
        self._obeys_mask = False
        self._is_foreign = not type(env.unwrapped).__module__.startswith("gymnasium.")
        self._extras = Extras(env, device)
        self._none = torch.zeros(self.num_envs, dtype=torch.bool, device=device)
        self._statistics = np.float32 if device.type == "mps" else np.float64
        self._episodes = Episodes(self.num_envs)
        self._pending = np.zeros(self.num_envs, np.bool_)
        """Rows whose next action will be ignored, because the environment will reset them."""
        self._frames: Any = None
        """Frames of the rows' games, if the environment (ale-py's) counts them."""

    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        if episode_seeds is not None:
            raise ValueError(f"{self.id} cannot seed individual episodes: use vectorization serial or async")
        return self._call("reset", self._reset)  # type: ignore[no-any-return]

    def _reset(self) -> Obs:
        observations, given = self._seeded_reset()
        incoming.check_spaces(self.env, self._spaces)
        infos = vector_infos.as_dict(given)
        self._episodes.restart()
        self._pending[:] = False
        self._extras.look(infos)
        self.obs = self._tensors(observations)
        self.start = ~self._none
        self.action_mask = self._extras.mask(self.obs, infos)
        return self.obs

    def _seeded_reset(self) -> tuple[Any, Any]:
        """Reset all rows with the next seed, and warn if an environment that is not Gymnasium's ignores it."""
        key = (*self._seeds.spawn_key, self._resets)
        seed = int(np.random.SeedSequence(self._seeds.entropy, spawn_key=key).generate_state(1)[0])
        seed += self._first_row  # Gymnasium adds a row's number
        first, self._resets = self._resets == 0, self._resets + 1
        if not self._is_foreign:
            return self.env.reset(seed=seed)
        seed %= SEEDS - self.num_envs
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*seed")  # reported below
            answer = self.env.reset(seed=seed)
            if first:
                begun = self._tensors(answer[0])
                answer = self.env.reset(seed=seed)
                ignored = not tensors.equal(begun, self._tensors(answer[0]))
        if first and ignored:
            text = "ignores the seed of a reset: a run can only be repeated if the environment was made with a seed"
            warnings.warn(f"{self.id} {text}", EnvWarning, stacklevel=3)
        return answer

    @property
    def episode(self) -> list[int]:
        return [int(number) for number in self._episodes.numbers]

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
        """One of the environment's calls."""
        try:
            return call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._fault(name, error) from error

    def _array(self, action: Tensor) -> np.ndarray:
        return np.array(action.detach().cpu().numpy(), self.env.action_space.dtype)

    def _fault(self, call: str, error: BaseException) -> EnvError:
        """The exception if the environment raises in a call, or returns an invalid value."""
        if isinstance(error, EnvError):
            return error
        if isinstance(error, BadValue):
            return EnvError(f"{self.id} {error} ({self._episodes.where() if call == 'step' else call})")
        return EnvError(f"{self.id}: {call} raised {cause(error)} ({self._episodes.where()})")

    def _stepped(self, observations: Any, rewards: Any, terminated: Any, truncated: Any, given: Any) -> Step:
        """The step from the environment's answer, with new episodes where one ended."""
        self._episodes.lengths += 1
        try:
            infos = vector_infos.as_dict(given)
            rewards = incoming.numbers(rewards, self.num_envs)
            terminated = incoming.flags(terminated, self.num_envs, "terminated")
            truncated = incoming.flags(truncated, self.num_envs, "truncated")
            return self._taken(observations, rewards, terminated, truncated, infos)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._fault("step", error) from error

    def _taken(
        self, observations: Any, rewards: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, infos: Infos
    ) -> Step:
        begun = self._pending
        active = ~begun
        terminated, truncated = terminated & active, truncated & active
        ended = terminated | truncated
        vector_infos.check_frames(infos, self._frames, begun if not self._same_step else ended)
        self._frames = infos.get("episode_frame_number")
        step = self._step(self._tensors(observations), rewards, infos, ended=ended)
        self._episodes.returns += rewards  # a row that begins starts from zero below
        if begun.any():
            step.active, step.start = self._tensor(active), self._tensor(begun)
            step.num_active = self.num_envs - int(begun.sum())
            self._episodes.begin(begun)
        self._pending = np.zeros_like(begun)
        if ended.any():
            step.terminated, step.truncated = self._tensor(terminated), self._tensor(truncated)
            self._end(step, ended, infos)
        self.obs, self.start, self.action_mask = step.obs, step.start, step.action_mask
        return step

    def _step(self, obs: Obs, rewards: np.ndarray, infos: Infos, *, ended: np.ndarray) -> Step:
        """The step if no episode ended and none began."""
        mask = self._extras.mask(obs, infos, ended=None if self._same_step else ended)
        return Step(
            obs=obs,
            start=self._none,
            next_obs=obs,
            reward=self._tensor(rewards.astype(np.float32)),
            terminated=self._none,
            truncated=self._none,
            num_active=self.num_envs,
            num_ended=0,
            lives=self._extras.lives(infos),
            action_mask=mask,
            next_action_mask=mask,
        )

    def _end(self, step: Step, ended: np.ndarray, infos: Infos) -> None:
        """Fill in the fields that differ in rows whose episode ended."""
        incoming.check_spaces(self.env, self._spaces)
        step.num_ended = int(ended.sum())
        step.episode_return = self._tensor(self._episodes.returns.astype(self._statistics))
        step.episode_length = self._tensor(self._episodes.lengths.copy())
        rows = np.flatnonzero(ended)
        if self._same_step:
            step.next_obs = tensors.replace_rows(step.obs, rows, self._final_obs(infos, rows))
            final_infos = infos.get("final_info")  # ale-py does not give them
            step.next_action_mask = self._extras.final_mask(step, final_infos, ended)
            if final_infos is not None:
                step.lives = merged(step.lives, self._extras.lives(final_infos, ended), ended)
        elif self._masked_reset:
            first, given = self._call("reset", lambda: self.env.reset(options={"reset_mask": ended.copy()}))
            obs = self._call("reset", lambda: self._tensors(first))
            self._check_masked_reset(step.next_obs, obs, ended)
            step.obs = tensors.replace_rows(step.next_obs, rows, tensors.select_rows(obs, rows))
            mask = self._extras.mask(obs, vector_infos.as_dict(given), rows=ended)
            step.action_mask = merged(step.action_mask, mask, ended)
        else:
            self._pending = ended
            return
        step.start = step.start | self._tensor(ended)
        self._episodes.begin(ended)

    def _final_obs(self, infos: Infos, rows: np.ndarray) -> Obs:
        """The final observations of these rows: one object per row (Gymnasium), or a whole batch (ale-py)."""
        if "final_obs" not in infos:
            raise EnvError(f"{self.id} declares SAME_STEP but returned no final_obs when an episode ended")
        final = infos["final_obs"]
        if isinstance(final, np.ndarray) and final.dtype == object:
            return self._batch([final[row] for row in rows])
        return tensors.select_rows(self._tensors(final), rows)

    def _check_masked_reset(self, before: Obs, after: Obs, ended: np.ndarray) -> None:
        """Some environments ignore the mask and reset every row: their running episodes would be cut silently."""
        running = np.flatnonzero(~ended)
        if self._obeys_mask or not running.size:
            return
        if not tensors.equal(tensors.select_rows(before, running), tensors.select_rows(after, running)):
            raise EnvError(f"{self.id} ignores reset_mask: it reset rows whose episodes were still running")
        self._obeys_mask = True  # once is enough

    def _tensors(self, observations: Any) -> Obs:
        obs = batched(self.single_observation_space, observations, self.device)
        for leaf in tensors.leaves(obs):
            if len(leaf) != self.num_envs:
                raise BadValue(f"gave observations of {len(leaf)} rows, but it has {self.num_envs}")
        return obs

    def _tensor(self, array: np.ndarray) -> Tensor:
        return to_tensor(array, self.device)

    def snapshot(self) -> dict[str, Any]:
        if not self.exact_resume:
            return super().snapshot()
        return {
            "env": tensors.arrays_to_tensors(take(self.env)),
            "obs": self.obs,
            "start": self.start,
            "action_mask": self.action_mask,
            "pending": self._pending.tolist(),
            **self._episodes.state(),
            "resets": self._resets,
            **self._extras.state(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        if not self.exact_resume:
            super().restore(snapshot)
        put_back(self.env, tensors.tensors_to_arrays(snapshot["env"]))
        self.obs = map_obs(lambda tensor: tensor.to(self.device), snapshot["obs"])
        self.start = snapshot["start"].to(self.device)
        self.action_mask = None if snapshot["action_mask"] is None else snapshot["action_mask"].to(self.device)
        self._episodes.put_back(snapshot)
        self._pending = np.array(snapshot["pending"], np.bool_)
        self._extras.put_back(snapshot)
        self._resets = snapshot["resets"]

    def lasting(self) -> dict[str, Any]:
        """State of the wrappers, and in this process of those around each row."""
        kept: dict[str, Any] = tensors.arrays_to_tensors({**lasting.of_vector(self.env), "resets": self._resets})
        return kept

    def put_lasting(self, kept: dict[str, Any]) -> None:
        lasting.put_vector_back(self.env, tensors.tensors_to_arrays(kept))
        self._resets = kept["resets"]

    def goal_rewards(self) -> GoalRewards | None:
        """Those of the vector environment itself, or of its first row if that is in this process."""
        base = self.env.unwrapped
        source = base.envs[0] if isinstance(base, SyncVectorEnv) else self.env
        return goals.goal_rewards(source, self.single_observation_space, id=self.id, device=self.device)

    def render(self, row: int = 0) -> np.ndarray:
        if self.env.render_mode != "rgb_array":
            return super().render(row)
        frames = self._call("render", self.env.render)
        frame: np.ndarray = self._call("render", lambda: picture(None if frames is None else frames[row]))
        return frame

    def close(self) -> None:
        """Close the environment; an error is only a warning, because its work is done."""
        try:
            self._call("close", self.env.close)
        except EnvError as error:
            warnings.warn(str(error), EnvWarning, stacklevel=2)


def _clears(env: VectorEnv) -> bool:
    """Whether a masked reset right after an episode's end clears the pending reset of NEXT_STEP.

    Gymnasium's asynchronous one does so only with shared memory (1.4.0).
    """
    return type(env) is SyncVectorEnv or (type(env) is AsyncVectorEnv and env.shared_memory)


def _time_limit(spec: Any) -> int | None:
    """The limit in a spec of Gymnasium's, or in the `config` of EnvPool's; None if it has none."""
    return getattr(spec, "max_episode_steps", None) or getattr(getattr(spec, "config", None), "max_episode_steps", None)
