"""Atari on a GPU: whether it plays as the CPU does, and frames per second: python benchmarks/gpu_atari.py.

First N consoles of each game play the same actions on both: every byte of the machines and every observation have to be
equal. Then agent steps of four frames, random actions, episodes included, are counted for each number of environments,
with 84x84 observations and without; ale-py's native vector environment on all cores is measured beside them. Frames per
second are those of the emulators.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from atari_env import GAMES, rate, theirs
from gpu_report import finish, where

from gymnast.envs.atari2600 import rows
from gymnast.envs.atari2600.device import DeviceConsoles
from gymnast.envs.atari2600.games import load_game, names
from gymnast.envs.atari2600.vector import AtariVectorEnv

FRAMES = 4
"""Of an agent's step."""
OPTIONS: dict[str, Any] = {"sticky": 0.25, "frame_skip": FRAMES}
TOGETHER = 64
"""Environments of ale-py's, which gains nothing by more."""


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def happened(consoles: DeviceConsoles, what: int) -> torch.Tensor:
    return torch.full((consoles.count,), what, dtype=torch.int32, device=consoles.device)


def exact(game: str, count: int, steps: int, device: torch.device) -> dict[str, Any]:
    """Play on both from the same seeds; rows that end begin anew on both."""
    env = AtariVectorEnv(game, count, **OPTIONS)
    consoles = DeviceConsoles(load_game(game), count, device=device, **OPTIONS)
    seeds = torch.arange(count, dtype=torch.int32, device=device)
    consoles.begin(seeds)
    obs, _ = env.reset(seed=seeds.tolist())
    shown = torch.zeros(obs.shape, dtype=torch.uint8, device=device)
    consoles.observe(happened(consoles, rows.BEGUN), shown.clone(), shown)
    rng, equal = np.random.default_rng(0), np.array_equal(shown.cpu().numpy(), obs)
    for _ in range(steps):
        actions = rng.integers(env.single_action_space.n, size=count)  # type: ignore[attr-defined]
        obs, _, terminated, _, _ = env.step(actions)
        consoles.step(torch.from_numpy(actions).to(device))
        after = torch.zeros_like(shown)
        consoles.observe(happened(consoles, rows.STEPPED), shown, after)
        equal &= np.array_equal(after.cpu().numpy(), obs)
        equal &= np.array_equal(consoles.words.cpu().numpy().view(np.uint8).ravel(), env.snapshot()["machines"])
        shown = after
        if terminated.any():
            obs, _ = env.reset(options={"reset_mask": terminated})
            ended = torch.from_numpy(terminated).to(device)
            consoles.begin(torch.where(ended, rows.GO_ON, rows.SKIP).to(torch.int32))
            renewed = shown.clone()
            consoles.observe(torch.where(ended, rows.BEGUN, rows.NOTHING).to(torch.int32), shown, renewed)
            shown = renewed
    return {"check": f"exact, {game}, {count} consoles", "frames": FRAMES * steps, "ok": bool(equal)}


def speed(game: str, count: int, device: torch.device, seconds: float, *, observed: bool) -> float:
    """Emulator frames per second of random play that begins in states of the bank."""
    consoles = DeviceConsoles(load_game(game), count, device=device, starts=64, seen=None if observed else 0, **OPTIONS)
    generator = torch.Generator(device).manual_seed(0)

    def drawn(below: int) -> torch.Tensor:
        return torch.randint(below, (count,), generator=generator, device=device)

    consoles.seed(np.arange(count))
    consoles.begin_anew(drawn(64).to(torch.int32))
    obs, stepped = torch.zeros(count, 4, 84, 84, dtype=torch.uint8, device=device), happened(consoles, rows.STEPPED)

    def step() -> None:
        nonlocal obs
        consoles.step(drawn(len(consoles.actions)))
        ended = consoles.result("terminated") != 0
        if observed:
            after = torch.empty_like(obs)
            consoles.observe(stepped, obs, after)
            obs = after
        consoles.begin_anew(torch.where(ended, drawn(64), rows.SKIP).to(torch.int32))

    for _ in range(3):
        step()
    wait(device)
    done, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or done == 0:
        for _ in range(5):
            step()
        wait(device)
        done += 5
    return FRAMES * count * done / elapsed


def speeds(games: list[str], counts: list[int], device: torch.device, seconds: float) -> list[dict[str, Any]]:
    """For each number of environments, beside ale-py's on all cores."""
    cores, found = os.cpu_count() or 1, []
    ale = {game: FRAMES * rate(theirs(game, TOGETHER, cores), TOGETHER, seconds, time.perf_counter) for game in games}
    for count in counts:
        figures: dict[bool, list[float]] = {True: [], False: []}
        for game in games:
            for observed, values in figures.items():
                values.append(speed(game, count, device, seconds, observed=observed))
            row = {"check": f"speed, {game}, {count:,} environments", "frames_per_second": figures[True][-1]}
            found.append({**row, "without_observations": figures[False][-1], "ale_py": ale[game], "ok": True})
            print(f"  {found[-1]}", flush=True)
        mean = {observed: statistics.geometric_mean(values) for observed, values in figures.items()}
        row = {"check": f"speed, geometric mean, {count:,} environments", "frames_per_second": mean[True]}
        others = {"without_observations": mean[False], "ale_py": statistics.geometric_mean(ale.values())}
        found.append({**row, **others, "ok": True})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--games", nargs="+", help="default: all for exactness, ten for speed")
    parser.add_argument("--envs", nargs="+", type=int, default=[512, 2048, 16384, 65536])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--exact-envs", type=int, default=64)
    parser.add_argument("--exact-steps", type=int, default=100)
    given = parser.parse_args()
    device = torch.device(given.device)
    found = [exact(game, given.exact_envs, given.exact_steps, device) for game in given.games or names()]
    found += speeds(list(given.games or GAMES), given.envs, device, given.seconds)
    if given.json is not None:
        given.json.write_text(json.dumps({"device": where(device), "rows": found}, indent=1), encoding="utf-8")
    finish(found, f"{where(device)}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
