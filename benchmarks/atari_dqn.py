"""DQN and Rainbow on Pong beside their peers: env steps and updates a second, each in a process of its own, on the CPU.

    python benchmarks/atari_dqn.py [--threads 1 2] [--envs 8] [--rounds 3] [--peer-python PATH] [--json FILE]
    python benchmarks/atari_dqn.py --only gymnast-rainbow --threads 1 --profile

The Nature CNN, batch 32, one update every 4 env steps, a replay of 20,000 transitions, of which 4,000 are there when
learning begins. The contenders take turns within a round, and each is timed after its warm-up; all have the same number
of torch's threads. Stable-Baselines3 and Tianshou come with `pip install -e .[bench]`, or lie in another environment's
interpreter (`--peer-python`). `--only` runs one contender, `--profile` prints its time by torch's operators.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

Profiler = AbstractContextManager[Any]
ENV = "PongNoFrameskip-v4"
BATCH, PERIOD, REPLAY, STARTS, WARM_UP, TARGET = 32, 4, 20_000, 4_000, 400, 8_000
GAMMA, LEARNING_RATE, EPSILON, ATOMS, V_MAX, N_STEP, ALPHA, BETA = 0.99, 1e-4, 0.05, 51, 10.0, 3, 0.5, 0.4
TARGETS = {
    "gymnast-dqn": {"sb3-dqn": 1.7, "tianshou-dqn": 1.5},
    "gymnast-rainbow": {"tianshou-rainbow": 2.0},
}
"""How many times as fast as a peer an agent of ours is to be."""


class Timed:
    """From here to `result`: wall and processor time, which a busy machine disturbs less, and updates."""

    def __init__(self, updates: int) -> None:
        self.updates, self.wall, self.processor = updates, time.perf_counter(), time.process_time()

    def result(self, steps: int, updates: int) -> dict[str, Any]:
        processor, wall = time.process_time() - self.processor, time.perf_counter() - self.wall
        done = updates - self.updates
        if done != steps // PERIOD:
            raise SystemExit(f"{done} updates in {steps} steps at one per {PERIOD}")
        return {"steps_per_second": steps / wall, "updates_per_second": done / wall, "cpu_ms": 1e3 * processor / steps}


def run_gymnast(rainbow: bool, envs: int, steps: int, profiler: Profiler) -> dict[str, Any]:
    """Our own loop, as `gymnast train` runs it, and where its time went."""
    from gymnast.agents import DQN, DQNConfig
    from gymnast.envs import make
    from gymnast.loop import Loop

    parts: dict[str, Any] = {"epsilon": EPSILON}
    if rainbow:
        parts = {"double": True, "dueling": True, "prioritized": True, "noisy": True, "n_step": N_STEP}
        parts |= {"values": "categorical", "atoms": ATOMS, "v_min": -V_MAX, "v_max": V_MAX}
        parts |= {"priority_alpha": ALPHA, "priority_beta": BETA}
    config = DQNConfig(
        **parts,
        backbone="nature-cnn",
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        gamma=GAMMA,
        replay_size=REPLAY,
        learning_starts=STARTS,
        train_period=PERIOD,
        target_period=TARGET,
        clip_rewards=True,
    )
    env = make(ENV, envs, seed=0)
    agent = DQN(env.single_observation_space, env.single_action_space, config, num_envs=envs, seed=0)
    env.reset()
    loop = Loop(agent, agent.actor(envs, explore=True, seed=0), env)
    loop.advance(STARTS + WARM_UP, lambda: False)
    spent = dict.fromkeys(("store", "sample", "re-prioritise", "forward", "optimizer", "learn"), 0.0)
    update = agent._update
    for owner, method, name in (
        (agent, "store", "store"),
        (agent.replay, "sample", "sample"),
        (agent.replay.sampler, "update", "re-prioritise"),
        (update, "loss", "forward"),
        (update, "_step", "optimizer"),
        (agent, "learn", "learn"),
    ):
        setattr(owner, method, clocked(getattr(owner, method), spent, name))
    before = dict(vars(loop.seconds))
    with profiler:
        timed = Timed(agent.updates)
        loop.advance(STARTS + WARM_UP + steps, lambda: False)
        result = timed.result(steps, agent.updates)
    learn = spent.pop("learn")
    inner = sum(seconds for name, seconds in spent.items() if name != "store")
    spent = {name: vars(loop.seconds)[name] - before[name] for name in ("act", "env")} | spent
    spent["backward and the rest"] = learn - inner
    return {**result, "ms": {name: 1e3 * seconds / steps for name, seconds in spent.items()}}


def clocked(function: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    """The function, adding its seconds to `spent[name]`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        returned = function(*args, **kwargs)
        spent[name] += time.perf_counter() - began
        return returned

    return call


def run_stable_baselines3(
    rainbow: bool, envs: int, steps: int, profiler: AbstractContextManager[Any]
) -> dict[str, Any]:
    """Stable-Baselines3's DQN, by `learn`; it has no Rainbow."""
    import ale_py  # noqa: F401 - registers the games
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    model = DQN(
        "CnnPolicy",
        VecFrameStack(make_atari_env(ENV, n_envs=envs, seed=0), n_stack=4),
        learning_rate=LEARNING_RATE,
        buffer_size=REPLAY,
        learning_starts=STARTS,
        batch_size=BATCH,
        gamma=GAMMA,
        train_freq=max(PERIOD // envs, 1),
        gradient_steps=max(envs // PERIOD, 1),
        target_update_interval=TARGET,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False},
        device="cpu",
        seed=0,
    )
    model.learn(STARTS + WARM_UP)
    with profiler:
        timed = Timed(model._n_updates)
        model.learn(steps, reset_num_timesteps=False)
        return timed.result(steps, model._n_updates)


def run_tianshou(rainbow: bool, envs: int, steps: int, profiler: Profiler) -> dict[str, Any]:
    """Tianshou's DQN and Rainbow, by its off-policy trainer, with the networks of its Atari examples."""
    import ale_py
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
    from tianshou.algorithm import DQN, RainbowDQN
    from tianshou.algorithm.modelfree.c51 import C51Policy
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, PrioritizedVectorReplayBuffer, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.env.atari.atari_network import DQNet, RainbowNet, ScaledObsInputActionReprNet
    from tianshou.trainer import OffPolicyTrainerParams

    gymnasium.register_envs(ale_py)

    def game() -> gymnasium.Env[Any, Any]:  # Tianshou's own wrappers do not run with NumPy 2.4
        return FrameStackObservation(AtariPreprocessing(gymnasium.make(ENV)), 4)

    vector = DummyVectorEnv([game] * envs)
    action_space = vector.action_space[0]
    actions, optim = int(action_space.n), AdamOptimizerFactory(lr=LEARNING_RATE)
    settings = {"optim": optim, "gamma": GAMMA, "target_update_freq": TARGET // PERIOD}
    kept = {"ignore_obs_next": True, "save_only_last_obs": True, "stack_num": 4}
    if rainbow:
        net = RainbowNet(c=4, h=84, w=84, action_shape=[actions], num_atoms=ATOMS)
        policy = C51Policy(model=ScaledObsInputActionReprNet(net), action_space=action_space, v_min=-V_MAX, v_max=V_MAX)
        algorithm = RainbowDQN(policy=policy, n_step_return_horizon=N_STEP, **settings)
        buffer = PrioritizedVectorReplayBuffer(REPLAY, envs, alpha=ALPHA, beta=BETA, **kept)
    else:
        net = DQNet(c=4, h=84, w=84, action_shape=[actions])
        policy = DiscreteQLearningPolicy(
            model=ScaledObsInputActionReprNet(net), action_space=action_space, eps_training=EPSILON
        )
        algorithm = DQN(policy=policy, is_double=False, huber_loss_delta=1.0, **settings)
        buffer = VectorReplayBuffer(REPLAY, envs, **kept)
    collector = Collector(algorithm, vector, buffer, exploration_noise=True)
    collector.reset()
    collector.collect(n_step=STARTS, random=True)

    learn, updates, results = algorithm._update_with_batch, 0, []
    begin, end = WARM_UP // PERIOD, (WARM_UP + steps) // PERIOD

    def clocked_learn(*args: Any, **kwargs: Any) -> Any:
        """Times from one update to another: a trainer takes long to begin, for it copies the replay."""
        nonlocal updates
        if updates == begin:
            profiler.__enter__()
            results.append(Timed(updates))
        if updates == end:
            results[0] = results[0].result(steps, updates)
            profiler.__exit__(None, None, None)
        updates += 1
        return learn(*args, **kwargs)

    algorithm._update_with_batch = clocked_learn
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=WARM_UP + steps + 2 * max(PERIOD, envs),
            collection_step_num_env_steps=max(PERIOD, envs),
            update_step_num_gradient_steps_per_sample=1 / PERIOD,
            batch_size=BATCH,
            verbose=False,
            show_progress=False,
        )
    )
    return results[0]


CONTENDERS: dict[str, tuple[Callable[..., dict[str, Any]], bool]] = {
    "gymnast-dqn": (run_gymnast, False),
    "sb3-dqn": (run_stable_baselines3, False),
    "tianshou-dqn": (run_tianshou, False),
    "gymnast-rainbow": (run_gymnast, True),
    "tianshou-rainbow": (run_tianshou, True),
}


def work(name: str, *, threads: int, envs: int, steps: int, profile: bool) -> dict[str, Any]:
    """Run one contender in this process."""
    import torch

    torch.set_num_threads(threads)
    run, rainbow = CONTENDERS[name]
    profiler = torch.profiler.profile() if profile else nullcontext()
    result = run(rainbow, envs, steps, profiler)
    if isinstance(profiler, torch.profiler.profile):
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30))
    return result


def measure(name: str, python: str, *, threads: int, envs: int, steps: int) -> dict[str, Any] | None:
    """One contender in a process of its own; None where it is not installed or failed, said on stderr."""
    command = [python, str(Path(__file__).resolve()), "--worker", "--only", name, "--threads", str(threads)]
    command += ["--envs", str(envs), "--steps", str(steps)]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **limits})
    if done.returncode:
        print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    rate, cpu = result["steps_per_second"], result["cpu_ms"]
    print(f"{name}, {threads} threads, {envs} envs: {rate:.1f} steps/s, {cpu:.2f} CPU ms/step", file=sys.stderr)
    return result


def table(title: str, rounds: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Print one setting's medians, and where our own time went; the medians."""
    print(f"\n{title}; medians (lowest, highest round)")
    medians = {}
    for name, results in rounds.items():
        middle = {key: statistics.median(r[key] for r in results) for key in results[0] if key != "ms"}
        rates = [result["steps_per_second"] for result in results]
        print(
            f"  {name:17}{middle['steps_per_second']:7.1f} steps/s ({min(rates):.1f}, {max(rates):.1f})"
            f"{middle['updates_per_second']:8.1f} updates/s{middle['cpu_ms']:8.2f} CPU ms/step"
        )
        medians[name] = middle
    for name, results in rounds.items():
        if "ms" in results[0]:
            spent = {key: statistics.median(result["ms"][key] for result in results) for key in results[0]["ms"]}
            print(f"  {name}, ms/step: " + ", ".join(f"{key} {value:.2f}" for key, value in spent.items()))
    return medians


def ratios(title: str, medians: dict[str, dict[str, float]]) -> None:
    """Print how many times as fast we are as each peer, by wall and by processor time, and the target."""
    print(title)
    for ours, peers in TARGETS.items():
        for peer, target in peers.items():
            if ours in medians and peer in medians:
                mine, theirs = medians[ours], medians[peer]
                wall = mine["steps_per_second"] / theirs["steps_per_second"]
                cpu = theirs["cpu_ms"] / mine["cpu_ms"]
                met = "reached" if wall >= target else "missed"
                print(f"  {ours} / {peer}: x{wall:.2f} (CPU time x{cpu:.2f}), target x{target} {met}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch's threads")
    parser.add_argument("--envs", type=int, nargs="+", default=[8], help="environments stepped together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800, help="timed env steps of each contender and round")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that the peers are installed in")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="run these alone")
    parser.add_argument("--profile", action="store_true", help="with one --only: its time by torch's operators")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker or arguments.profile:
        settings = {"threads": arguments.threads[0], "envs": arguments.envs[0], "steps": arguments.steps}
        print(json.dumps(work(arguments.only[0], **settings, profile=arguments.profile)))
        return
    figures, best = [], dict[str, dict[str, float]]()
    for threads in arguments.threads:
        for envs in arguments.envs:
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
            for number in range(arguments.rounds):
                # Every other round backwards: what heats or slows the machine down meets each contender alike.
                for name in arguments.only if number % 2 == 0 else arguments.only[::-1]:
                    python = sys.executable if name.startswith("gymnast") else arguments.peer_python
                    result = measure(name, python, threads=threads, envs=envs, steps=arguments.steps)
                    rounds[name] += [] if result is None else [result]
            rounds = {name: results for name, results in rounds.items() if results}
            setting = f"{threads} torch threads, {envs} environments"
            medians = table(setting, rounds)
            ratios("  ratios", medians)
            figures.append({"threads": threads, "envs": envs, "rounds": rounds})
            for name, middle in medians.items():
                if name not in best or middle["steps_per_second"] > best[name]["steps_per_second"]:
                    best[name] = middle
    ratios("\neach at its best", best)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
