"""DQN end to end beside its peers: env steps a second on CartPole-v1, each in a process of its own, one thread.

    python benchmarks/dqn.py [--periods 1 10] [--rounds 3] [--steps 5000] [--peer-python PATH] [--json FILE]

Batch 128, an MLP of 120 and 84 units, one environment, Adam, one update every 1 or 10 steps. The contenders take turns
within a round, and each is timed after its warm-up. Stable-Baselines3 and Tianshou come with `pip install -e .[bench]`,
or lie in another environment's interpreter (`--peer-python`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONTENDERS = ("gymnast", "stable-baselines3", "tianshou")
WARM_UP = 2_000
BATCH, HIDDEN, LEARNING_RATE, BUFFER, STARTS, TARGET, EPSILON = 128, (120, 84), 2.5e-4, 10_000, 1_000, 500, 0.05


def run_gymnast(period: int, steps: int) -> tuple[float, dict[str, float]]:
    """Our own loop, as `gymnast train` runs it; steps/s and where the time went."""
    from gymnast.agents import DQN, DQNConfig
    from gymnast.envs import make
    from gymnast.loop import Loop

    env = make("CartPole-v1", 1, seed=0)
    config = DQNConfig(
        hidden_sizes=HIDDEN,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        replay_size=BUFFER,
        learning_starts=STARTS,
        train_period=period,
        target_period=TARGET,
        epsilon=EPSILON,
    )
    agent = DQN(env.single_observation_space, env.single_action_space, config, seed=0)
    env.reset()
    loop = Loop(agent, agent.actor(1, explore=True, seed=0), env)
    loop.advance(WARM_UP, lambda: False)
    before, updates = dict(vars(loop.seconds)), agent.updates
    began = time.perf_counter()
    loop.advance(WARM_UP + steps, lambda: False)
    seconds = time.perf_counter() - began
    if agent.updates - updates != steps // period:
        raise SystemExit(f"{agent.updates - updates} updates in {steps} steps at one per {period}")
    spent = {name: 1e6 * (value - before[name]) / steps for name, value in vars(loop.seconds).items()}
    return steps / seconds, {f"{name} us/step": value for name, value in spent.items()}


def run_stable_baselines3(period: int, steps: int) -> tuple[float, dict[str, float]]:
    """Stable-Baselines3's DQN, by `learn`."""
    import torch
    from stable_baselines3 import DQN

    torch.set_num_threads(1)
    model = DQN(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=LEARNING_RATE,
        buffer_size=BUFFER,
        learning_starts=STARTS,
        batch_size=BATCH,
        train_freq=period,
        gradient_steps=1,
        target_update_interval=TARGET,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        policy_kwargs={"net_arch": list(HIDDEN)},
        device="cpu",
        seed=0,
    )
    model.learn(WARM_UP)
    began = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    return steps / (time.perf_counter() - began), {}


def run_tianshou(period: int, steps: int) -> tuple[float, dict[str, float]]:
    """Tianshou's DQN, by its off-policy trainer."""
    import gymnasium
    import torch
    from tianshou.algorithm import DQN
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.trainer import OffPolicyTrainerParams
    from tianshou.utils.net.common import Net

    torch.set_num_threads(1)
    envs = DummyVectorEnv([lambda: gymnasium.make("CartPole-v1")])
    space = gymnasium.make("CartPole-v1")
    policy = DiscreteQLearningPolicy(
        model=Net(state_shape=(4,), action_shape=2, hidden_sizes=list(HIDDEN)),
        action_space=space.action_space,
        observation_space=space.observation_space,
        eps_training=EPSILON,
    )
    algorithm = DQN(
        policy=policy,
        optim=AdamOptimizerFactory(lr=LEARNING_RATE),
        target_update_freq=max(TARGET // period, 1),
        is_double=False,
        huber_loss_delta=1.0,
    )
    collector = Collector(algorithm, envs, VectorReplayBuffer(BUFFER, 1), exploration_noise=True)
    collector.reset()
    collector.collect(n_step=STARTS, random=True)

    def train(env_steps: int) -> None:
        algorithm.run_training(
            OffPolicyTrainerParams(
                training_collector=collector,
                max_epochs=1,
                epoch_num_steps=env_steps,
                collection_step_num_env_steps=period,
                update_step_num_gradient_steps_per_sample=1 / period,
                batch_size=BATCH,
                verbose=False,
                show_progress=False,
            )
        )

    train(WARM_UP - STARTS)
    began = time.perf_counter()
    train(steps)
    return steps / (time.perf_counter() - began), {}


RUNNERS = {"gymnast": run_gymnast, "stable-baselines3": run_stable_baselines3, "tianshou": run_tianshou}


def measure(name: str, period: int, steps: int, python: str) -> dict[str, Any] | None:
    """One contender in a process of its own; None where it is not installed or failed, said on stderr."""
    command = [python, str(Path(__file__).resolve()), "--worker", name, "--periods", str(period), "--steps", str(steps)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--periods", type=int, nargs="+", default=[1, 10], help="env steps of one update")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5_000, help="timed env steps at one update a step; 3x else")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that the peers are installed in")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        rate, details = RUNNERS[arguments.worker](arguments.periods[0], arguments.steps)
        print(json.dumps({"steps_per_second": rate, **details}))
        return
    figures = []
    for period in arguments.periods:
        steps = arguments.steps if period == 1 else 3 * arguments.steps
        rates: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
        for number in range(arguments.rounds):
            for name in CONTENDERS:
                python = sys.executable if name == "gymnast" else arguments.peer_python
                result = measure(name, period, steps, python) if len(rates[name]) == number else None
                if result is not None:
                    rates[name].append(result)
        if not rates["gymnast"]:
            raise SystemExit("nothing to compare with: gymnast itself failed")
        ours = statistics.median(result["steps_per_second"] for result in rates["gymnast"])
        print(
            f"\none update per {period} env steps: median of {arguments.rounds} rounds (lowest, highest), env steps/s"
        )
        for name in CONTENDERS:
            values = sorted(result["steps_per_second"] for result in rates[name])
            if not values:
                continue
            median = statistics.median(values)
            print(
                f"  {name:20} {median:9,.0f} ({values[0]:,.0f}, {values[-1]:,.0f})   gymnast / it {ours / median:5.2f}"
            )
            figures.append({"contender": name, "period": period, "rates": values, "ratio": ours / median})
        middle = sorted(rates["gymnast"], key=lambda result: result["steps_per_second"])[arguments.rounds // 2]
        spent = {name: value for name, value in middle.items() if name.endswith("us/step") and value}
        print("  gymnast's microseconds a step: " + ", ".join(f"{k.split()[0]} {v:.1f}" for k, v in spent.items()))
        figures[-1]["gymnast"] = middle
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
