"""MinAtar's own environments in lock-step with ours: the same actions, the same random numbers, everything compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from minatar.gym import BaseEnv
from torch import Tensor

from gymnast.envs.native.draws import Draws, row_keys
from gymnast.envs.native.minatar import MinAtar
from gymnast.envs.native.minatar_asterix import Asterix
from gymnast.envs.native.minatar_breakout import Breakout
from gymnast.envs.native.minatar_freeway import Freeway
from gymnast.envs.native.minatar_seaquest import Seaquest
from gymnast.envs.native.minatar_space_invaders import SpaceInvaders
from gymnast.envs.native.world import choose

CPU = torch.device("cpu")
Row = dict[str, Any]
"""The state of one row: NumPy arrays and, of what is one number, numbers."""


class Script:
    """Stands in for the reference's `RandomState`: hands out prepared numbers in the order in which they are asked."""

    def __init__(self) -> None:
        self.numbers: list[Any] = []

    def rand(self, *shape: int) -> Any:
        number = self.numbers.pop(0)
        assert np.shape(number) == shape
        return number

    def randint(self, low: int, high: int | None = None, size: int | None = None) -> Any:
        number = self.numbers.pop(0)
        low, high = (0, low) if high is None else (low, high)
        assert np.shape(number) == (() if size is None else (size,))
        assert np.all((np.asarray(number) >= low) & (np.asarray(number) < high))
        return number


class Case(NamedTuple):
    """One game and how its state compares with the reference's."""

    name: str
    rules: type[MinAtar]
    game: str
    ours: Callable[[Row], dict[str, Any]]
    """What of a row is not an attribute of the reference by its name, in the form that `theirs` has."""
    theirs: Callable[[Any], dict[str, Any]]
    asked: Callable[[Any, Draws, int], list[Any]] = lambda env, draws, row: []
    """What the reference's step asks for after the sticky draw, by the state before, the draws and the row."""
    asked_first: Callable[[Draws, int], list[Any]] = lambda draws, row: []
    """The same of a reset."""
    start: Callable[[int], dict[str, int]] = lambda row: {}
    """Values that every other row starts with instead."""
    immortal: bool = True
    """The reference can go on after its end; every third row does."""


class Pairs:
    """Rows of ours, each with an environment of the package that is in the same state."""

    def __init__(
        self,
        case: Case,
        rows: int,
        *,
        sticky: float = 0.0,
        ramping: bool = True,
        full: bool = False,
        vary: bool = False,
    ) -> None:
        self.case, self.rows, self.vary, self.steps = case, rows, vary, 0
        self.game = case.rules(device=CPU, sticky=sticky, ramping=ramping, full_actions=full)
        options = {"sticky_action_prob": sticky, "difficulty_ramping": ramping, "use_minimal_action_set": not full}
        self.envs = [BaseEnv(case.game, **options) for _ in range(rows)]
        self.scripts = [Script() for _ in range(rows)]
        for env, script in zip(self.envs, self.scripts, strict=True):
            env.game.random = env.game.env.random = script
        self.keys = row_keys(7, rows, device=CPU)
        self.state = self.game.initial(self.draws(0))
        self.begin(torch.ones(rows, dtype=torch.bool))

    @property
    def only(self) -> Any:
        """The reference's rules of a single row."""
        return self.envs[0].game.env

    def draws(self, counter: int) -> Draws:
        return Draws(self.keys, torch.full_like(self.keys, counter))

    def begin(self, over: Tensor) -> None:
        """New episodes in some rows, bool [N]."""
        draws, varied = self.draws(-self.steps), torch.arange(self.rows) % 2 == int(self.vary)
        new = self.game.initial(draws)
        for name in self.case.start(0) if self.vary else ():
            new[name] = torch.where(
                varied, torch.tensor([self.case.start(r)[name] for r in range(self.rows)]), new[name]
            )
        self.state = choose(over, new, self.state)
        for row in over.nonzero().flatten().tolist():
            env, script = self.envs[row], self.scripts[row]
            script.numbers = self.case.asked_first(draws, row)
            env.reset()
            assert not script.numbers
            env.game.last_action = 0  # in the package the last episode's is kept
            for name, value in self.case.start(row).items() if self.vary and varied[row] else ():
                setattr(env.game.env, name, value)

    def step(self, action: Tensor, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """One step of each row, compared with the reference's: reward [N] and terminated [N]. Ended rows stay so."""
        self.steps += 1
        draws = self.draws(self.steps) if draws is None else draws
        sticky = draws.uniform(0).tolist()
        for row, script in enumerate(self.scripts):
            script.numbers = [sticky[row], *self.case.asked(self.envs[row].game.env, draws, row)]
        self.state, reward, terminated = self.game.step(self.state, action, draws)
        obs = self.game.observe(self.state).numpy()
        values = {name: value.numpy() for name, value in self.state.items()}
        for row, (env, script) in enumerate(zip(self.envs, self.scripts, strict=True)):
            unasked = len(script.numbers) - 1
            true_obs, true_reward, true_end, _, _ = env.step(int(action[row]))
            assert len(script.numbers) in (0, unasked)
            assert np.array_equal(obs[row], true_obs)
            assert (float(reward[row]), bool(terminated[row])) == (true_reward, true_end)
            compare(self.case, env, {name: value[row] for name, value in values.items()})
        return reward, terminated


def compare(case: Case, env: Any, row: Row) -> None:
    """The state of a row of ours is the reference's."""
    ours = case.ours(row)
    assert ours == case.theirs(env.game.env)
    assert row["last_action"] == env.game.last_action
    for name, value in row.items():
        assert name in ours or name == "last_action" or value == getattr(env.game.env, name), name


def board(cells: Any) -> bytes:
    return np.asarray(cells, bool).tobytes()


def breakout(env: Any) -> dict[str, Any]:
    dx, dy = [(-1, -1), (1, -1), (1, 1), (-1, 1)][env.ball_dir]
    return {"dx": dx, "dy": dy, "brick_map": board(env.brick_map)}


def traffic(draws: Draws, row: int, index: int) -> list[Any]:
    """Speeds and directions: digits of two numbers, 5 and more for a car that drives to the left."""
    numbers = [int(draws.integer(index + half, 10_000)[row]) for half in range(2)]
    digits = np.array([number // 10**place % 10 for number in numbers for place in range(4)])
    return [digits % 5 + 1, np.where(digits < 5, 0.75, 0.25)]


def cars(env: Any) -> dict[str, Any]:
    x, _, timer, speed = ([int(number) for number in column] for column in zip(*env.cars, strict=True))
    return {"car_x": x, "car_timer": timer, "car_speed": speed}


def asterix_asks(env: Any, draws: Draws, row: int) -> list[Any]:
    if env.spawn_timer:
        return []
    free, new = env.entities.count(None), [float(draws.uniform(index)[row]) for index in (1, 2)]
    return [*new, int(draws.integer(3, free)[row])] if free else new


def lanes(row: Row) -> dict[str, Any]:
    found = zip(row["x"].tolist(), row["dx"].tolist(), row["gold"].tolist(), strict=True)
    return {"x": [lane if lane[0] >= 0 else None for lane in found], "dx": None, "gold": None}


def true_lanes(env: Any) -> dict[str, Any]:
    return {"x": [it and (it[0], 1 if it[2] else -1, it[3]) for it in env.entities], "dx": None, "gold": None}


def seaquest_asks(env: Any, draws: Draws, row: int) -> list[Any]:
    numbers: list[Any] = []
    if env.e_spawn_timer == 0:
        numbers += [float(draws.uniform(1)[row]), float(draws.uniform(2)[row]), int(draws.integer(3, 8)[row]) + 1]
    if env.d_spawn_timer == 0:
        numbers += [float(draws.uniform(4)[row]), int(draws.integer(5, 8)[row]) + 1]
    return numbers


def objects(row: Row) -> dict[str, Any]:
    """Seaquest's, the oldest first as the reference lists them."""
    bullets, divers, enemies = (
        pool[pool[:, 0] >= 0][::-1].tolist() for pool in (row["bullets"], row["divers"], row["enemies"])
    )
    return {
        "bullets": bullets,
        "divers": divers,
        "enemies": [[it[:4] for it in enemies if not it[5]], [it[:5] for it in enemies if it[5]]],
        "e_bullets": {(x, y, 2 * way - 1) for way, y, x in np.argwhere(row["e_bullets"]).tolist()},
    }


def true_objects(env: Any) -> dict[str, Any]:
    """The same; of several enemy bullets in one cell that fly one way, one is all that matters."""
    bullets, divers, fish, subs, shots = (
        [[x, y, 1 if right else -1, *rest] for x, y, right, *rest in found]
        for found in (env.f_bullets, env.divers, env.e_fish, env.e_subs, env.e_bullets)
    )
    return {"bullets": bullets, "divers": divers, "enemies": [fish, subs], "e_bullets": set(map(tuple, shots))}


BOARDS = ("f_bullet_map", "e_bullet_map", "alien_map")
CASES = (
    Case(
        "Breakout",
        Breakout,
        "breakout",
        lambda row: {"dx": row["dx"], "dy": row["dy"], "brick_map": board(row["brick_map"])},
        breakout,
        asked_first=lambda draws, row: [int(draws.integer(0, 2)[row])],
        immortal=False,
    ),
    Case(
        "Freeway",
        Freeway,
        "freeway",
        lambda row: {name: row[name].tolist() for name in ("car_x", "car_timer", "car_speed")},
        cars,
        lambda env, draws, row: traffic(draws, row, 1) if env.pos <= 1 else [],
        lambda draws, row: traffic(draws, row, 0),
        lambda row: {"pos": 1 + row % 9, "terminate_timer": 5 * row},
    ),
    Case(
        "SpaceInvaders",
        SpaceInvaders,
        "space_invaders",
        lambda row: {name: board(row[name]) for name in BOARDS},
        lambda env: {name: board(getattr(env, name)) for name in BOARDS},
        start=lambda row: {"enemy_move_interval": 6 + row % 7, "alien_move_timer": row % 3},
    ),
    Case(
        "Asterix",
        Asterix,
        "asterix",
        lanes,
        true_lanes,
        asterix_asks,
        start=lambda row: {
            "spawn_speed": 1 + row % 10,
            "move_speed": 1 + row % 5,
            "ramp_timer": row,
            "ramp_index": row % 2,
        },
    ),
    Case(
        "Seaquest",
        Seaquest,
        "seaquest",
        objects,
        true_objects,
        seaquest_asks,
        start=lambda row: {"sub_y": 4, "e_spawn_speed": 1 + row % 12, "move_speed": 2, "diver_count": row % 7},
    ),
)
