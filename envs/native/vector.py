"""Device-native environments as Gymnasium's vector environments: tensors in, tensors out."""

from __future__ import annotations

import importlib
import operator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from gymnast.envs.errors import EnvError
from gymnast.envs.native.draws import keys_of, next_keys, row_keys
from gymnast.envs.native.engine import Engine, TensorEngine
from gymnast.envs.native.game import Game
from gymnast.envs.native.world import Moved, World
from gymnast.envs.step import Obs

Infos = dict[str, Any]
FORMS = ("auto", "rows", "tensors")
"""Of a game's rules."""
LONGEST = 2**62
"""Steps that no episode reaches and int64 holds: a greater time limit is the same as this one."""


class NativeVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """N games of one kind, stepped together on one device: tensors in, tensors out.

    On a CPU the rules of one row are compiled for all rows, if the game has such; else its rules of tensors are run.
    `engine` asks for either, "rows" or "tensors": "rows" on a GPU needs numba-cuda.
    Autoreset is SAME_STEP: `info["final_obs"]` [N, ...] holds each row's true successor (of continuing rows too),
    `info["_final_obs"]` bool [N] says which rows ended. `reset(options={"reset_mask": mask})` resets some rows.
    A row's experience depends only on the seed, its number and its actions: not on N, nor on the device if the game
    is discrete. `game` is a class of rules or "module:Class"; further keywords are its own. With `compile` the rules
    of tensors are one compiled function (on a CPU if that is faster for the game). Observations of a Dict or Tuple
    space are dicts of tensors, as in `gymnast.envs.step.Obs`. With `check_actions` an action outside the space is an
    EnvError, for which the host waits for the device in every step; without it the result of such an action is
    undefined.

    Raises:
        ValueError: options that the game does not take.
    """

    def __init__(
        self,
        game: str | type[Game],
        num_envs: int = 1,
        *,
        device: str | torch.device = "cpu",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        compile: bool = False,
        engine: str = "auto",
        check_actions: bool = False,
        **options: Any,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, got {render_mode!r}")
        if num_envs < 1:
            raise ValueError(f"num_envs must be >= 1, got {num_envs}")
        self.device = torch.empty(0, device=device).device
        rules = _class_of(game) if isinstance(game, str) else game
        self.game = rules(device=self.device, **options)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.limit = None if max_episode_steps is None else min(max_episode_steps, LONGEST)
        self.check_actions = check_actions
        self.single_observation_space = self.game.observation_space
        self.single_action_space = self.game.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {
            "autoreset_mode": AutoresetMode.SAME_STEP,
            "render_modes": ["rgb_array"],
            "render_fps": self.game.render_fps,
        }
        self.seeds: Tensor | None = None
        """int64 [K], of the first K episodes, if they are seeded one by one."""
        compile = compile and (self.game.compiles_on_cpu or self.device.type != "cpu")
        self._engine = _engine(self.game, num_envs, engine, compile=compile, keep_final=render_mode is not None)
        self._action_dtype = torch.float32 if isinstance(self.single_action_space, gym.spaces.Box) else torch.int64
        self._engine.begin(row_keys(0, num_envs, device=self.device))

    @property
    def engine(self) -> Engine:
        """What steps the rows."""
        return self._engine

    @property
    def world(self) -> World:
        """The games in progress; a step replaces or overwrites it."""
        return self._engine.world

    @world.setter
    def world(self, world: World) -> None:
        self._engine.load(world)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, Infos]:
        """Begin new episodes, by a seed or continuing the previous one. Observations [N, ...] and an empty dict."""
        rows = None if not options else options.get("reset_mask")
        if seed is not None:
            seed = checked_seed(seed)
        if rows is not None:
            if seed is not None:
                raise ValueError("reset_mask cannot be combined with seed, which seeds all rows")
            self._engine.restart(checked_rows(rows, self.num_envs, self.device))
        elif seed is None:
            self._engine.begin(next_keys(self.world.key))
        else:
            return self.reset_keys(row_keys(seed, self.num_envs, device=self.device))
        return self.observe()

    def reset_keys(self, keys: Tensor) -> tuple[Obs, Infos]:
        """Begin episodes with these keys, int64 [N], of `draws.row_keys` or `draws.keys_of`."""
        if keys.shape != (self.num_envs,):
            raise ValueError(f"expected {self.num_envs} keys, one per row, got {len(keys)}")
        self.seeds = None
        self._engine.begin(keys.to(self.device))
        return self.observe()

    def reset_by(self, seeds: Tensor) -> tuple[Obs, Infos]:
        """Begin episodes with seeds int64 [K] by episode number (counted over all rows as they begin)."""
        self.seeds = seeds = seeds.to(self.device)
        keys, count = row_keys(0, self.num_envs, device=self.device), min(len(seeds), self.num_envs)
        keys[:count] = keys_of(seeds[:count])
        self._engine.begin(keys)
        return self.observe()

    def observe(self) -> tuple[Obs, Infos]:
        """The current observations, [N, ...], and allowed actions if the game defines them."""
        obs, mask = self._engine.observe()
        return obs, {} if mask is None else {"action_mask": mask}

    def move(self, action: Tensor) -> Moved:
        """One step as our adapter takes it; `action` [N, ...] on the environment's device."""
        if self.check_actions:
            refuse_outside(action, self.single_action_space, self.num_envs, self._name())
        return self._engine.advance(action, self.limit, self.seeds)

    def _name(self) -> str:
        return type(self.game).__name__ if self.spec is None else self.spec.id

    def step(self, actions: Any) -> tuple[Obs, Tensor, Tensor, Tensor, Infos]:
        """Observations [N, ...], reward float32 [N], terminated and truncated bool [N], and the infos above."""
        moved = self.move(torch.as_tensor(actions, device=self.device, dtype=self._action_dtype))
        infos: Infos = {"final_obs": moved.next_obs, "_final_obs": moved.ended}
        if moved.action_mask is not None:
            infos["action_mask"] = moved.action_mask
            infos["final_info"] = {"action_mask": moved.next_action_mask}
        return moved.obs, moved.reward, moved.terminated, moved.truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture of each row, uint8 [H, W, 3]; None without render_mode rgb_array."""
        if self.render_mode is None:
            return None
        return tuple(self.picture(row) for row in range(self.num_envs))

    def picture(self, row: int, *, final: bool = False) -> np.ndarray:
        """A picture of one row, uint8 [H, W, 3]; with `final`, of the episode's end if the last step ended it."""
        state, last = self.world.state, self._engine.final
        if final and last is not None and bool(last[0][row]):
            state = last[1]
        return self.game.render({name: value[row].cpu() for name, value in state.items()})

    def snapshot(self) -> dict[str, Any]:
        """All that the future depends on: tensors and dicts of them."""
        kept: dict[str, Any] = {name: value.clone() for name, value in self.world._asdict().items() if name != "state"}
        state = {name: value.clone() for name, value in self.world.state.items()}
        return {**kept, "state": state, "seeds": self.seeds}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of as many rows; on another device, draws are the same."""
        if len(snapshot["key"]) != self.num_envs:
            raise ValueError(f"the snapshot has {len(snapshot['key'])} rows, this environment {self.num_envs}")
        moved: dict[str, Any] = {name: snapshot[name].to(self.device) for name in World._fields if name != "state"}
        state = {name: value.to(self.device) for name, value in snapshot["state"].items()}
        self.world = World(state=state, **moved)
        self.seeds = None if snapshot["seeds"] is None else snapshot["seeds"].to(self.device)


def _engine(game: Game, rows: int, form: str, *, compile: bool, keep_final: bool) -> Engine:
    if form not in FORMS:
        raise ValueError(f"engine must be {', '.join(FORMS[:-1])} or {FORMS[-1]}, got {form!r}")
    name, device = type(game).__name__, game.device
    if form == "auto":
        by_row = not game.has_tensors or (device.type == "cpu" and not compile)
    else:
        by_row = form == "rows"
    if not by_row and not game.has_tensors:
        raise ValueError(f"{name} has rules of one row only: engine must be auto or rows, not {form}")
    rules = game.row_rules() if by_row else None
    if rules is None:
        if form == "rows":
            raise ValueError(f"{name} has no rules of one row: engine must be auto or tensors, not rows")
        return TensorEngine(game, rows, compile=compile, keep_final=keep_final)
    if device.type == "cpu":
        from gymnast.envs.kernels.engine import RowEngine  # Numba, which only these need

        return RowEngine(game, rules, rows, keep_final=keep_final)
    from gymnast.envs.kernels import cuda

    cuda.check(device)
    return cuda.CudaEngine(game, rules, rows, keep_final=keep_final)


def _class_of(path: str) -> type[Game]:
    module, _, name = path.partition(":")
    found: type[Game] = getattr(importlib.import_module(module), name)
    return found


def checked_seed(seed: Any) -> int:
    """A seed as a Python int: NumPy's integers overflow in computations with it."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed must be an integer, got {seed!r}") from None
    if not 0 <= number < 2**63:
        raise ValueError(f"seed must be from 0 to 2**63 - 1, got {number}")
    return number


def checked_rows(mask: Any, num_envs: int, device: torch.device) -> Tensor:
    """A reset mask, bool [N]; one of another shape would reset the wrong rows."""
    rows = torch.as_tensor(mask, device=device)
    if rows.shape != (num_envs,) or rows.dtype is not torch.bool:
        kind = str(rows.dtype).removeprefix("torch.")
        raise ValueError(f"reset_mask must be bool [{num_envs}], got {kind} {list(rows.shape)}")
    return rows


def refuse_outside(action: Tensor, space: gym.Space[Any], num_envs: int, name: str) -> None:
    """EnvError if actions [N, ...] are outside their space, which the rules themselves do not check."""
    shape = (num_envs, *(space.shape or ()))
    if action.shape != shape:
        raise EnvError(f"{name} takes actions of shape {list(shape)}, got {list(action.shape)}")
    low, high = _action_bounds(space)
    given = action.detach().double().cpu()
    wrong = (~((given >= low) & (given <= high))).reshape(num_envs, -1).any(1)  # NaN is wrong too
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise EnvError(f"{name} got the action {action[row].tolist()} in row {row}, which is outside {space}")


def _action_bounds(space: gym.Space[Any]) -> tuple[Tensor, Tensor]:
    """Lowest and highest action, float64; those of a Box with room for rounding."""
    if isinstance(space, gym.spaces.Box):
        low, high = torch.from_numpy(space.low).double(), torch.from_numpy(space.high).double()
        return low - 1e-5 * low.abs().clamp(min=1.0), high + 1e-5 * high.abs().clamp(min=1.0)
    start = torch.as_tensor(getattr(space, "start", 0), dtype=torch.float64)
    count = 2 if isinstance(space, gym.spaces.MultiBinary) else getattr(space, "nvec", getattr(space, "n", 0))
    return start, start + torch.as_tensor(count, dtype=torch.float64) - 1
