"""Agent steps per second of gymnast's console beside ale-py's native vector environment, in alternating rounds.

Four frames an action, gray 84x84 stacks of four, random actions, episodes included: `python benchmarks/atari_env.py`.
On a machine that does other work, `--cpu` counts seconds in which a core worked for this process. `--resume ACTIONS`
instead measures restoring a snapshot after so many actions, and its size.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from ale_py.vector_env import AtariVectorEnv as AleVectorEnv

from gymnast.envs.atari.games import make_atari
from gymnast.envs.atari2600.vector import AtariVectorEnv

GAMES = (
    *("pong", "breakout", "seaquest", "ms_pacman", "space_invaders"),
    *("qbert", "montezuma_revenge", "asteroids", "enduro", "beam_rider"),
)
Step = Callable[[], None]
Clock = Callable[[], float]


def ours(game: str, num_envs: int, threads: int) -> Step:
    """A step of our environment with random actions."""
    return playing(AtariVectorEnv(game, num_envs, threads=threads), lambda ended: {})


def theirs(game: str, num_envs: int, threads: int) -> Step:
    """A step of ale-py's."""
    options: dict[str, Any] = {"num_threads": threads, "reward_clipping": False, "use_fire_reset": False}
    env = AleVectorEnv(game, num_envs, noop_max=31, **options)
    return playing(env, lambda ended: {"seed": np.full(int(ended.sum()), -1)})


def playing(env: Any, reset: Callable[[np.ndarray], dict[str, Any]]) -> Step:
    """A step with random actions; rows that have ended are reset at once, with further arguments."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(rng.integers(env.single_action_space.n, size=env.num_envs))
        ended = terminated | truncated
        if ended.any():
            env.reset(options={"reset_mask": ended}, **reset(ended))

    return step


def rate(step: Step, num_envs: int, seconds: float, clock: Clock) -> float:
    """Agent steps per second."""
    count, start = 0, clock()
    while (elapsed := clock() - start) < seconds or count == 0:
        step()
        count += num_envs
    return count / elapsed


def compare(
    game: str, num_envs: int, threads: int, *, rounds: int, seconds: float, clock: Clock
) -> tuple[float, float]:
    """Median rates of both."""
    steps = {"ours": ours(game, num_envs, threads), "theirs": theirs(game, num_envs, threads)}
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            rates[name].append(rate(step, num_envs, seconds, clock))
    return statistics.median(rates["ours"]), statistics.median(rates["theirs"])


def resume(game: str, emulator: str, num_envs: int, actions: int, clock: Clock) -> tuple[float, int]:
    """Seconds to restore an environment after random actions in each row, and the bytes of what it restores."""
    made = partial(make_atari, game.title().replace("_", ""), num_envs, options={"emulator": emulator})
    env, other, rng = made(), made(), np.random.default_rng(0)
    env.reset()
    for _ in range(actions):
        env.step(torch.from_numpy(rng.integers(env.single_action_space.n, size=num_envs)))  # type: ignore[attr-defined]
    kept = env.snapshot()
    start = clock()
    other.restore(kept)
    seconds = clock() - start
    return seconds, sum(value.nbytes for value in kept.values() if isinstance(value, torch.Tensor))


def print_resumes(games: Sequence[str], envs: Sequence[int], actions: int, clock: Clock) -> None:
    print(f"restoring a snapshot after {actions:,} actions in each row")
    for num_envs in envs:
        for game in games:
            for emulator in ("ours", "ale"):
                seconds, size = resume(game, emulator, num_envs, actions, clock)
                print(
                    f"{num_envs:3} envs, {game:20} {emulator:4} {1000 * seconds:10,.1f} ms {size / 1e6:8.2f} MB",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", nargs="+", default=GAMES)
    parser.add_argument("--envs", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--threads", nargs="+", type=int, help="default: 1 2")
    parser.add_argument("--rounds", type=int, help="default: 5")
    parser.add_argument("--seconds", type=float, help="of each contender in a round; default: 1")
    parser.add_argument("--cpu", action="store_true", help="steps per second of a core's work, not of the clock")
    parser.add_argument("--resume", type=int, metavar="ACTIONS", help="measure restoring instead")
    given = parser.parse_args()
    clock = time.process_time if given.cpu else time.perf_counter
    if given.resume is not None:
        if (given.threads, given.rounds, given.seconds) != (None, None, None):
            parser.error("--resume takes neither --threads nor --rounds nor --seconds")
        print_resumes(given.games, given.envs, given.resume, clock)
        return
    rounds = given.rounds or 5
    settings = {"rounds": rounds, "seconds": given.seconds or 1.0}
    print(f"agent steps per {'CPU second' if given.cpu else 'second'}, medians of {rounds} alternating rounds")
    for threads in given.threads or (1, 2):
        for num_envs in given.envs:
            if threads > num_envs:
                continue
            ratios = []
            for game in given.games:
                own, other = compare(game, num_envs, threads, **settings, clock=clock)
                ratios.append(own / other)
                print(
                    f"{threads} threads, {num_envs:3} envs, {game:20} ours {own:8,.0f}  ale-py {other:8,.0f}  "
                    f"ratio {own / other:.2f}",
                    flush=True,
                )
            mean = statistics.geometric_mean(ratios)
            print(f"{threads} threads, {num_envs:3} envs: geometric mean of ratios {mean:.2f}")


if __name__ == "__main__":
    main()
