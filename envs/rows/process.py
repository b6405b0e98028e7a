"""Code of a worker process: some rows and a loop that answers commands. Without torch, so that it starts faster."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import numpy as np

from gymnast.envs.errors import EnvError, cause, one_line_warnings
from gymnast.envs.rows.row import Row


def serve(
    connection: Connection,
    name: str,
    pickled: bytes,
    seeds: Sequence[np.random.SeedSequence],
    numbers: Sequence[int | None],
) -> None:
    """Build one row per seed and answer `(command, argument)` until asked to close or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides how to react
    one_line_warnings()
    rows: list[Row] = []
    try:
        build: Callable[[], gym.Env[Any, Any]] = cloudpickle.loads(pickled)
        for sequence, number in zip(seeds, numbers, strict=True):
            rows.append(Row(build(), name=name, seeds=sequence, number=number))
        connection.send((True, describe(rows[0])))
        while True:
            command, argument = connection.recv()
            if command == "close":
                break
            connection.send((True, COMMANDS[command](rows, argument)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone: nobody left to report to
    except BaseException as error:
        said = f"said: {error}" if isinstance(error, (EnvError, ValueError)) else f"raised {cause(error)}"
        connection.send((False, (said, traceback.format_exc())))
    finally:
        for row in rows:
            row.close()


def describe(row: Row) -> dict[str, Any]:
    env = row.env
    return {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "method": row.method,
        "render_mode": env.render_mode,
        "render_fps": env.metadata.get("render_fps"),
    }


def step(rows: list[Row], actions: list[Any]) -> list[Any]:
    """Per row the result of `Row.step`, and the episode's return and length so far."""
    return [(row.step(action), (row.episode_return, row.length)) for row, action in zip(rows, actions, strict=True)]


def reset(rows: list[Row], argument: tuple[dict[int, int | None], bool]) -> list[Any]:
    seeds, reseed = argument
    return [rows[index].reset(seed, reseed=reseed) for index, seed in seeds.items()]


def restore(rows: list[Row], states: list[dict[str, Any]]) -> list[Any]:
    return [row.restore(state) for row, state in zip(rows, states, strict=True)]


def put_lasting(rows: list[Row], states: list[dict[str, Any]]) -> list[None]:
    return [row.put_lasting(state) for row, state in zip(rows, states, strict=True)]  # type: ignore[func-returns-value]


COMMANDS: dict[str, Callable[[list[Row], Any], Any]] = {
    "step": step,
    "reset": reset,
    "restore": restore,
    "lasting": lambda rows, _: [row.lasting() for row in rows],
    "put_lasting": put_lasting,
    "impose_limit": lambda rows, limit: [row.impose_limit(limit) for row in rows],
    "snapshot": lambda rows, _: [row.snapshot() for row in rows],
    "extras": lambda rows, _: rows[0].extras,
    "render": lambda rows, index: rows[index].render(),
}
