"""The cost of checking an environment's values: DQN and PPO on CartPole-v1 with and without the checks, in turns.

    python benchmarks/checks.py [--only dqn ppo] [--rounds 60] [--steps 1024] [--json FILE]

The contenders are those of `dqn.py` and `actor_critic.py`. Without checks, rewards, flags and observations are used as
they come (only here: the patches below). Both take turns in one process, on one thread, and the result of each pair
is the ratio of its processor times, which a busy machine disturbs less than the clock: medians of those, and quartiles.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import actor_critic
import contest
import dqn
import numpy as np
import torch
from contest import Result, Timed

from gymnast.envs.rows import base, incoming, row, tensors
from gymnast.envs.step import tensor_dtype, to_tensor

TARGET = 0.02
"""The share of an agent's steps per second that the checks may cost."""


def _step(self: row.Row, action: Any) -> row.Stepped:
    """`Row.step` without checks."""
    if self.method == "replay":
        self._actions.add(action)
    self.length += 1
    observation, reward, terminated, truncated, info = self._step(action)
    self.episode_return += reward
    if self.length >= self.limit:
        truncated = True
    extras = self._extras(observation, info) if self.extras else None
    return observation, reward, terminated, truncated, extras


def _stacker(space: Any, device: torch.device) -> tensors.Batcher:
    """`tensors._stacker` without checks."""
    given, dtype = np.dtype(space.dtype), tensor_dtype(space)

    def stack(observations: Sequence[Any]) -> torch.Tensor:
        batch = np.array(observations)
        return to_tensor(batch if dtype is given else batch.astype(dtype), device)

    return stack


@contextmanager
def unchecked() -> Iterator[None]:
    """In this context rows and vector environments do not check values."""
    with ExitStack() as stack:
        for home, name, plain in (
            (row.Row, "step", _step),
            (tensors, "_stacker", _stacker),
            (base.RowsEnv, "_batch", lambda self, observations: self._stack(observations)),
            (incoming, "numbers", lambda values, rows: np.asarray(values, np.float64)),
            (incoming, "flags", lambda values, rows, name: np.asarray(values, np.bool_)),
            (incoming, "fitted", lambda batch, space: batch),
            (incoming, "check_range", lambda batch, space: None),
        ):
            stack.enter_context(patch.object(home, name, plain))
        yield


def _ppo(envs: int) -> Any:
    task = actor_critic.Task("ppo", "cartpole", envs, 0, False)
    loop = actor_critic.gymnast_loop(task)
    loop.advance(task.warm_up * task.rollout, lambda: False)
    return loop


LOOPS: dict[str, Callable[[], Any]] = {
    "dqn": lambda: dqn.gymnast_loop(1),
    "dqn-10": lambda: dqn.gymnast_loop(10),
    "ppo": lambda: _ppo(8),
    "ppo-16": lambda: _ppo(16),
}
"""One update a step and one in ten; rows stepped one by one, and CartPole's own vector form."""
KINDS: dict[str, Callable[[], AbstractContextManager[None]]] = {"with": nullcontext, "without": unchecked}


def take_turns(name: str, rounds: int, steps: int) -> dict[str, list[Result]]:
    """The results of both, round by round; `steps` are rounded up to whole rollouts."""
    loops, results = {}, dict[str, list[Result]]()
    for kind, manner in KINDS.items():
        with manner():
            loops[kind], results[kind] = LOOPS[name](), []
    rollout = loops["with"].env.num_envs * getattr(loops["with"].agent.config, "rollout_steps", 1)
    steps = -(-steps // rollout) * rollout
    for number in range(rounds):
        for kind in list(KINDS)[:: 1 if number % 2 == 0 else -1]:
            loop = loops[kind]
            with KINDS[kind]():
                timed, updates = Timed(loop.agent.updates), loop.agent.updates
                loop.advance(loop.env_step + steps, lambda: False)
                results[kind].append(timed.result(steps, loop.agent.updates, expected=loop.agent.updates - updates))
    return results


def report(name: str, results: dict[str, list[Result]]) -> Result:
    """Print one agent's medians and the loss by the checks; the figures."""
    pairs = zip(results["with"], results["without"], strict=True)
    loss = [1 - there["cpu_ms"] / here["cpu_ms"] for here, there in pairs]
    low, middle, high = np.percentile(loss, (25, 50, 75)).tolist()
    contest.table(f"{name}, {len(loss)} rounds", results)
    met = "reached" if middle < TARGET else "missed"
    print(f"  loss {100 * middle:.2f} % (quartiles {100 * low:.2f}, {100 * high:.2f}), target 2 % {met}", flush=True)
    return {"name": name, "loss": middle, "quartiles": [low, high], "rounds": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=LOOPS, default=list(LOOPS), help="run only these")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--steps", type=int, default=1_024, help="timed env steps of each turn")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = [report(name, take_turns(name, arguments.rounds, arguments.steps)) for name in arguments.only]
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
