"""The learner on a GPU, in one command: python benchmarks/gpu_learner.py [NAME ...] [--device cuda] [--modes …]

    rainbow   microseconds of a Rainbow update (Nature CNN, batch 32, a prioritized replay of a million frames on the
              device): captured, compiled, both, neither, and in bfloat16 if the config has it; the target is 250
    replay    microseconds of sampling and re-prioritising there, the target is 30: sums of blocks, as the replay has
              them, compared with one running sum over all slots; by rank
    mlp       microseconds of a plain update (120-84 units, batch 128)
    few       microseconds of an update of SPR and BBF with `--preset atari100k`, eager: in 100,000 env steps they make
              200,000 and 800,000 of them
    loop      env steps per second on ALE/Pong-v5 with 8 environments, one update every 4 steps, next to
              Stable-Baselines3 if it is installed; needs ale-py

The most important comes first, every line is printed as soon as it is measured, and all of it again as a table at the
end; the figures go as JSON to $OUT, or to runs/gpu. `--device cpu --small` tries the measurements themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gpu_fill import fill, fill_by_steps
from gpu_report import finish, line, where, write
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.optim.compiled import Captured, Compiled
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DevicePrioritized
from gymnast.replay.layout import Layout
from gymnast.replay.transitions import NStep
from gymnast.settings import presets

ATARI = spaces.Box(0, 255, (4, 84, 84), np.uint8)
VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
ENVS = 8
RAINBOW: dict[str, Any] = {
    "double": True,
    "dueling": True,
    "noisy": True,
    "prioritized": True,
    "n_step": 3,
    "values": "categorical",
    "learning_rate": 6.25e-5,
    "optimizer_eps": 1.5e-4,
    "learning_starts": 0,
}
BOTH = {"compile": True, "cuda_graphs": True}
MODES: dict[str, dict[str, bool]] = {
    "captured, compiled": BOTH,
    "captured": {"cuda_graphs": True},
    "captured, compiled, bf16": {**BOTH, "bf16": True},
    "compiled": {"compile": True},
    "eager": {},
}
KNOWN = {field.name for field in dataclasses.fields(DQNConfig)}


@dataclasses.dataclass(frozen=True)
class Bench:
    """The device and the size of the measurements."""

    device: torch.device
    small: bool
    chosen: tuple[str, ...] = tuple(MODES)
    """The measured ways to run an update, if they are available."""

    @property
    def frames(self) -> int:
        """Slots of the replay."""
        return 20_000 if self.small else 1_000_000

    def modes(self) -> dict[str, dict[str, bool]]:
        """The ways to run an update that there are here."""
        cuda = self.device.type == "cuda"
        modes = {name: MODES[name] for name in self.chosen if MODES[name].keys() <= KNOWN}
        return {name: options for name, options in modes.items() if cuda or not options.get("cuda_graphs")}

    def time(self, name: str, function: Callable[[], Any]) -> dict[str, Any]:
        """A row: microseconds of a call, the median of blocks and the lowest; seconds until it ran at that pace."""
        began = time.perf_counter()
        for _ in range(6):  # compiling and recording included
            function()
        self.wait()
        first = time.perf_counter() - began
        blocks, calls = (2, 1) if self.small else (30, 200 if self.device.type == "cuda" else 20)
        spent = []
        for _ in range(blocks):
            self.wait()
            began = time.perf_counter()
            for _ in range(calls):
                function()
            self.wait()
            spent.append(1e6 * (time.perf_counter() - began) / calls)
        row = {"check": name, "us_median": statistics.median(spent), "us_lowest": min(spent), "first_s": first}
        return {**row, "ok": True}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def rainbow(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for name, options in bench.modes().items():
        config = DQNConfig(**RAINBOW, **options, replay_size=bench.frames)
        rows.append(_update(f"Rainbow update: {name}", ATARI, config, bench))
    return rows


def mlp(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for name, options in bench.modes().items():
        if options.keys() <= BOTH.keys():
            config = DQNConfig(batch_size=128, learning_starts=0, replay_size=20_000, **options)
            rows.append(_update(f"MLP update, batch 128: {name}", VECTOR, config, bench))
    return rows


def few(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for agent in ("spr", "bbf"):
        changes: dict[str, Any] = {"learning_starts": 0, "replay_size": 20_000, "life_loss": False}
        if bench.small:
            changes |= {"batch_size": 2, "network": "efficient-cnn", "network_options": {}, "hidden_sizes": (8,)}
        config = dataclasses.replace(presets.config(agent, "atari100k"), **changes)
        rows.append(_update(f"{agent.upper()} update: eager", ATARI, config, bench))
    return rows


def _update(name: str, space: spaces.Box, config: DQNConfig, bench: Bench) -> dict[str, Any]:
    agent = DQN(space, spaces.Discrete(6), config, num_envs=ENVS, device=bench.device)
    replay = agent.allocate()
    if isinstance(replay, DeviceRing):
        fill(replay)
    else:
        fill_by_steps(agent, 100)
    row = _said(bench.time(name, agent.learn))
    finite = bool(torch.isfinite(agent.weights.data).all())
    if bench.device.type == "cuda":
        row["gb"] = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
    return {**row, "ok": finite}


def replay(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for kind, candidate, ranked in (
        ("sums of blocks", DevicePrioritized, False),
        ("one running sum", RunningSum, False),
        ("by rank", DevicePrioritized, True),
    ):
        for compiled in (True, False):
            if compiled and not any(options.get("compile") for options in bench.modes().values()):
                continue
            sampler = candidate(torch.Generator(bench.device), alpha=0.5, beta=lambda env_step: 0.4, ranked=ranked)
            sizes = {"size": bench.frames, "num_envs": ENVS, "batch_size": 32}
            ring = DeviceRing(Layout(ATARI, stack=4), sampler, NStep(3, 0.99), **sizes, device=bench.device)
            fill(ring)
            if compiled:
                ring.compile(Compiled)
            error = torch.rand(32, device=bench.device)

            def both(ring: DeviceRing = ring, error: Tensor = error) -> Tensor:
                batch = ring.sample()
                ring.sampler.update(batch.index, error)
                return batch.weight

            name = f"sample + re-prioritise, {kind}"
            if bench.device.type == "cuda":
                how = "captured, compiled" if compiled else "captured"
                rows.append(_said(bench.time(f"{name}: {how}", partial(Captured(both), (sampler.generator,)))))
            rows.append(_said(bench.time(f"{name}: {'compiled' if compiled else 'eager'}", both)))
            rows[-1]["ok"] = bool(torch.isfinite(both()).all())
    return rows


class RunningSum(DevicePrioritized):
    """The other way to sample: keep only the masses, and take one running sum over all slots each time."""

    def allocate(self, slots: int, device: torch.device) -> None:
        super().allocate(slots, device)
        self._sums = Running(slots, device)  # type: ignore[assignment]


class Running:
    """As `DeviceSums`."""

    def __init__(self, slots: int, device: torch.device) -> None:
        self.slots = slots
        self.mass = torch.zeros(slots + 1, device=device)

    def set(self, slots: Tensor, mass: Tensor) -> None:
        self.mass[slots] = torch.where(slots < self.slots, mass, 0.0)

    def find(self, part: Tensor) -> Tensor:
        running = self.mass.cumsum(0, dtype=torch.float64)
        return torch.searchsorted(running, part * running[-1], right=True)


def loop(bench: Bench) -> list[dict[str, Any]]:
    """Whole steps: acting, emulation, storing and learning."""
    if importlib.util.find_spec("ale_py") is None:
        print("  loop is left out: ale-py is not installed")
        return []
    rows = []
    for agent, parts in (("Rainbow", RAINBOW), ("DQN", {})):
        for name, options in bench.modes().items():
            if name in ("captured, compiled", "eager"):
                rows.append(_said(_our_loop(f"Pong, {agent}: {name}", {**parts, **options}, bench)))
    if importlib.util.find_spec("stable_baselines3") is None:
        print("  Stable-Baselines3 is left out: it is not installed")
        return rows
    return [*rows, _said(_peer_loop("Pong, DQN: Stable-Baselines3", bench))]


def _our_loop(name: str, options: dict[str, Any], bench: Bench) -> dict[str, Any]:
    from gymnast.envs import make
    from gymnast.training.loop import Loop

    before, steps = (48, 24) if bench.small else (2_000, 8_000)
    config = DQNConfig(**{**options, "learning_starts": before // 2}, replay_size=100_000 if not bench.small else 2_000)
    env = make("ALE/Pong-v5", ENVS, device=str(bench.device), seed=0)
    agent = DQN(env.single_observation_space, env.single_action_space, config, num_envs=ENVS, device=bench.device)
    env.reset()
    run = Loop(agent, agent.actor(ENVS, explore=True, seed=0), env)
    run.advance(before, lambda: False)
    bench.wait()
    began, spent = time.perf_counter(), dict(vars(run.seconds))
    run.advance(before + steps, lambda: False)
    bench.wait()
    seconds = time.perf_counter() - began
    env.close()
    row: dict[str, Any] = {"check": name, "steps_per_second": steps / seconds}
    for part in ("act", "env", "learn"):
        row[f"{part}_us"] = 1e6 * (vars(run.seconds)[part] - spent[part]) / steps
    return {**row, "ok": bool(torch.isfinite(agent.weights.data).all())}


def _peer_loop(name: str, bench: Bench) -> dict[str, Any]:
    import ale_py  # noqa: F401 - registers the games
    from stable_baselines3 import DQN as PeerDQN  # noqa: N811
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    before, steps = (200, 80) if bench.small else (2_000, 4_000)
    model = PeerDQN(
        "CnnPolicy",
        VecFrameStack(make_atari_env("ALE/Pong-v5", n_envs=ENVS, seed=0, env_kwargs={"frameskip": 1}), n_stack=4),
        buffer_size=2_000 if bench.small else 100_000,
        learning_starts=before // 2,
        train_freq=1,
        gradient_steps=ENVS // 4,
        optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False},
        device=str(bench.device),
        seed=0,
    )
    model.learn(before)
    bench.wait()
    began = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    bench.wait()
    return {"check": name, "steps_per_second": steps / (time.perf_counter() - began), "ok": True}


def _said(row: dict[str, Any]) -> dict[str, Any]:
    print(f"  {line(row)}", flush=True)
    return row


MEASURES: dict[str, Callable[[Bench], list[dict[str, Any]]]] = {
    "rainbow": rainbow,
    "replay": replay,
    "mlp": mlp,
    "few": few,
    "loop": loop,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=tuple(MODES), help="ways to run an update")
    parser.add_argument("--small", action="store_true", help="few frames and calls, to try the measurements themselves")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MEASURES)
    if unknown:
        parser.error(f"unknown measure {sorted(unknown)[0]!r}; there are {', '.join(MEASURES)}")
    bench = Bench(torch.device(arguments.device), arguments.small, tuple(arguments.modes))
    if bench.device.type == "cpu":
        torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for name in arguments.names or MEASURES:
        print(f"{name}, after {time.perf_counter() - began:.0f} s", flush=True)
        rows += MEASURES[name](bench)
        write("gpu_learner", rows, bench.device)
    finish(rows, f"{where(bench.device)}, torch {torch.__version__}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
