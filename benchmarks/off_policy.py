"""SAC, TD3 and CrossQ compared with their peers: env steps per second at one update a step, each in its own process.

    python benchmarks/off_policy.py [--games Pendulum-v1 HalfCheetah-v5] [--rounds 3] [--peer-python PATH]
    python benchmarks/off_policy.py --games Pendulum-v1 --only gymnast-sac sb3-sac
    python benchmarks/off_policy.py --games Pendulum-v1 --only gymnast-sac --profile

Batch 256, two hidden layers of 256 units in policies and critics, ReLU, Adam, one environment, an update per env step
after 1,000 random ones, on the CPU with as many threads as `--threads` says. The contenders take turns within a round,
and each is timed after its warm-up: the random steps and 500 updates, which hold all compiling (`warm_up_s`: seconds
from its process's start to there). HalfCheetah-v5 needs `pip install -e .[mujoco]`.

Peers: Stable-Baselines3's SAC and TD3, sbx's SAC, TD3 and CrossQ (JAX), and SAC and TD3 as plain PyTorch scripts
(`off_policy_scripts.py`). Figures were taken with Stable-Baselines3 2.9.2 and sbx 0.28.0 on JAX 0.10.2, installed by
`pip install torch==2.13.0 sbx-rl==0.28.0 stable-baselines3==2.9.2 jax==0.10.2 'gymnasium[mujoco]==1.4.0'` into an
environment of their own, whose interpreter is `--peer-python`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import contest
from contest import Profiler, Result, Timed, clocked

GAMES = ("Pendulum-v1", "HalfCheetah-v5")
HIDDEN, BATCH, REPLAY, STARTS, WARM_UP, STEPS = (256, 256), 256, 100_000, 1_000, 1_500, 2_000
RATE = 3e-4
NOISE = 0.1
"""Deviation of TD3's exploration, in units of half the range of an action."""
BEGAN = time.perf_counter()
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


@dataclass(frozen=True)
class Task:
    """One contender's work."""

    agent: str
    game: str
    steps: int
    threads: int
    compile: bool

    def result(self, timed: Timed, updates: int, warm_up: float, packages: tuple[str, ...]) -> Result:
        versions = ", ".join(f"{name} {version(name)}" for name in packages)
        result = timed.result(self.steps, updates, expected=self.steps)
        return {**result, "warm_up_s": warm_up, "versions": versions}


def gymnast_loop(task: Task) -> Any:
    """Our own loop, as `gymnast train` runs it, before its first step."""
    from dataclasses import replace

    from gymnast import agents
    from gymnast.agents.table import python_name
    from gymnast.envs import make
    from gymnast.training.loop import Loop

    cls = getattr(agents, python_name(task.agent))
    defaults = getattr(cls, "config", None) or agents.OffPolicyActorCriticConfig()
    config = replace(
        defaults,
        hidden_sizes=HIDDEN,
        policy_hidden_sizes=HIDDEN,
        batch_size=BATCH,
        replay_size=REPLAY,
        learning_starts=STARTS,
        learning_rate=RATE,
        updates_per_train=1,
        compile=task.compile,
    )
    env = make(task.game, 1, seed=0)
    agent = cls(env.single_observation_space, env.single_action_space, config, seed=0)
    env.reset()
    return Loop(agent, agent.actor(1, explore=True, seed=0), env)


def run_gymnast(task: Task, profiler: Profiler) -> Result:
    """Our own loop, and where its time went."""
    loop = gymnast_loop(task)
    agent = loop.agent
    loop.advance(WARM_UP, lambda: False)
    warm_up = time.perf_counter() - BEGAN
    spent = {"store": 0.0}
    agent.store = clocked(agent.store, spent, "store")
    before = dict(vars(loop.seconds))
    with profiler:
        timed = Timed(agent.updates)
        loop.advance(WARM_UP + task.steps, lambda: False)
        result = task.result(timed, agent.updates, warm_up, ("torch", "numpy"))
    loop.env.close()
    spent |= {name: vars(loop.seconds)[name] - before[name] for name in ("act", "env", "learn")}
    spent["learn"] -= spent["store"]
    return {**result, "ms": {name: 1e3 * seconds / task.steps for name, seconds in spent.items()}}


def run_stable_baselines3(task: Task, profiler: Profiler) -> Result:
    """Stable-Baselines3's agent, by `learn`."""
    import stable_baselines3

    packages = ("stable-baselines3", "torch", "numpy")
    return _learned(task, profiler, stable_baselines3, {"device": "cpu"}, packages)


def run_sbx(task: Task, profiler: Profiler) -> Result:
    """The same interface in JAX."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if task.threads == 1:
        os.environ["XLA_FLAGS"] = ONE_THREAD  # XLA has its own threads, of which OMP_NUM_THREADS says nothing
    import sbx

    return _learned(task, profiler, sbx, {}, ("sbx-rl", "jax", "numpy"))


def _learned(task: Task, profiler: Profiler, library: Any, more: dict[str, Any], packages: tuple[str, ...]) -> Result:
    import gymnasium
    import numpy as np
    from stable_baselines3.common.noise import NormalActionNoise

    if task.agent == "td3":
        numbers = gymnasium.make(task.game).action_space.shape
        more = {**more, "action_noise": NormalActionNoise(np.zeros(numbers), np.full(numbers, NOISE))}
    model = getattr(library, {"sac": "SAC", "td3": "TD3", "crossq": "CrossQ"}[task.agent])(
        "MlpPolicy",
        task.game,
        learning_rate=RATE,
        buffer_size=REPLAY,
        learning_starts=STARTS,
        batch_size=BATCH,
        train_freq=1,
        gradient_steps=1,
        policy_kwargs={"net_arch": list(HIDDEN)},
        seed=0,
        **more,
    )
    model.learn(WARM_UP)
    warm_up = time.perf_counter() - BEGAN
    with profiler:
        timed = Timed(model._n_updates)
        model.learn(task.steps, reset_num_timesteps=False)
        return task.result(timed, model._n_updates, warm_up, packages)


def run_script(task: Task, profiler: Profiler) -> Result:
    """A plain PyTorch script."""
    import off_policy_scripts as scripts
    import torch

    torch.manual_seed(0)
    shared = scripts.Task(task.game, hidden=HIDDEN, batch=BATCH, replay=REPLAY, starts=STARTS, rate=RATE)
    results: list[Any] = []

    def moment(step: int, updates: int) -> None:
        if step == WARM_UP:
            results.append(time.perf_counter() - BEGAN)
            profiler.__enter__()
            results.append(Timed(updates))
        if step == WARM_UP + task.steps:
            results.append(task.result(results[1], updates, results[0], ("torch", "numpy")))
            profiler.__exit__(None, None, None)

    getattr(scripts, task.agent)(shared, WARM_UP + task.steps, moment)
    result: Result = results[2]
    return result


RUNS: dict[str, tuple[Callable[[Task, Profiler], Result], tuple[str, ...]]] = {
    "gymnast": (run_gymnast, ("sac", "td3", "crossq")),
    "sb3": (run_stable_baselines3, ("sac", "td3")),
    "sbx": (run_sbx, ("sac", "td3", "crossq")),
    "script": (run_script, ("sac", "td3")),
}
CONTENDERS = {f"{who}-{agent}": (run, agent) for who, (run, agents) in RUNS.items() for agent in agents}
TARGETS: contest.Targets = {
    f"gymnast-{agent}": {f"{who}-{agent}": None for who in RUNS if who != "gymnast" and agent in RUNS[who][1]}
    for agent in RUNS["gymnast"][1]
}


def main() -> None:
    parser = contest.parser(__doc__, CONTENDERS, envs=[1])
    parser.set_defaults(threads=[1], steps=STEPS)
    parser.add_argument("--games", nargs="+", default=list(GAMES), help="ids of environments with Box actions")
    parser.add_argument("--compile", action="store_true", help="compile our updates")
    arguments = parser.parse_args()
    if arguments.envs != [1]:
        parser.error("--envs must be 1: an update per env step is compared in one environment")
    if arguments.worker or arguments.profile:
        run, agent = CONTENDERS[arguments.only[0]]
        threads = arguments.threads[0]
        task = Task(agent, arguments.games[0], arguments.steps, threads, arguments.compile)
        contest.work(lambda profiler: run(task, profiler), threads=threads, profile=arguments.profile)
        return
    figures = []
    for game in arguments.games:
        for threads in arguments.threads:
            options = {"games": game, "threads": threads, "envs": 1, "steps": arguments.steps}
            options["compile"] = arguments.compile
            rounds = contest.take_turns(
                __file__, arguments.only, options, rounds=arguments.rounds, peer_python=arguments.peer_python
            )
            medians = contest.table(f"{game}, {threads} threads, {arguments.rounds} rounds", rounds)
            contest.ratios("  ratios", medians, TARGETS)
            figures.append({**options, "rounds": rounds})
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
