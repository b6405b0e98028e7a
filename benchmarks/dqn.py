"""DQN end to end compared with its peers: env steps per second on CartPole-v1, each in its own process, one thread.

    python benchmarks/dqn.py [--periods 1 10] [--rounds 3] [--steps 5000] [--peer-python PATH] [--json FILE]
    python benchmarks/dqn.py --parts

Batch 128, an MLP of 120 and 84 units, one environment, Adam, one update every 1 or 10 steps. The contenders take turns
within a round, and each is timed after its warm-up. Stable-Baselines3 and Tianshou come with `pip install -e .[bench]`,
or are in another environment's interpreter (`--peer-python`).
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


class Timed:
    """From here to `result`: env steps per second, and processor time per step, which a busy machine affects less."""

    def __init__(self, steps: int) -> None:
        self.steps, self.wall, self.processor = steps, time.perf_counter(), time.process_time()

    def result(self) -> dict[str, Any]:
        processor, wall = time.process_time() - self.processor, time.perf_counter() - self.wall
        return {"steps_per_second": self.steps / wall, "cpu_us": 1e6 * processor / self.steps}


def gymnast_loop(period: int) -> Any:
    """Our own loop, as `gymnast train` runs it, after its warm-up."""
    from gymnast.agents import DQN, DQNConfig
    from gymnast.envs import make
    from gymnast.training.loop import Loop

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
    return loop


def run_gymnast(period: int, steps: int) -> dict[str, Any]:
    """Our own loop; steps/s and where the time went."""
    loop = gymnast_loop(period)
    agent = loop.agent
    before, updates = dict(vars(loop.seconds)), agent.updates
    timed = Timed(steps)
    loop.advance(WARM_UP + steps, lambda: False)
    result = timed.result()
    if agent.updates - updates != steps // period:
        raise SystemExit(f"{agent.updates - updates} updates in {steps} steps at one per {period}")
    spent = {name: 1e6 * (value - before[name]) / steps for name, value in vars(loop.seconds).items()}
    return {**result, "spent": spent}


def run_stable_baselines3(period: int, steps: int) -> dict[str, Any]:
    """Stable-Baselines3's DQN, by `learn`."""
    from stable_baselines3 import DQN

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
    timed = Timed(steps)
    model.learn(steps, reset_num_timesteps=False)
    return timed.result()


def run_tianshou(period: int, steps: int) -> dict[str, Any]:
    """Tianshou's DQN, by its off-policy trainer."""
    import gymnasium
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.trainer import OffPolicyTrainerParams

    envs = DummyVectorEnv([lambda: gymnasium.make("CartPole-v1")])
    algorithm = _tianshou_dqn(period)
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
    timed = Timed(steps)
    train(steps)
    return timed.result()


def _tianshou_dqn(period: int) -> Any:
    import gymnasium
    from tianshou.algorithm import DQN
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.utils.net.common import Net

    space = gymnasium.make("CartPole-v1")
    policy = DiscreteQLearningPolicy(
        model=Net(state_shape=(4,), action_shape=2, hidden_sizes=list(HIDDEN)),
        action_space=space.action_space,
        observation_space=space.observation_space,
        eps_training=EPSILON,
    )
    return DQN(
        policy=policy,
        optim=AdamOptimizerFactory(lr=LEARNING_RATE),
        target_update_freq=max(TARGET // period, 1),
        is_double=False,
        huber_loss_delta=1.0,
    )


def update_parts(updates: int = 2_000) -> dict[str, float]:
    """Microseconds of one update's phases (`learn`: the rest), one update after the other, without the loop."""
    import torch

    from gymnast.agents import DQN, DQNConfig
    from gymnast.envs import make
    from gymnast.training.loop import Loop
    from gymnast.training.profile_result import UPDATE
    from gymnast.training.profiler import Profiler

    torch.set_num_threads(1)
    env = make("CartPole-v1", 1, seed=0)
    config = DQNConfig(hidden_sizes=HIDDEN, batch_size=BATCH, learning_starts=WARM_UP, replay_size=BUFFER)
    agent = DQN(env.single_observation_space, env.single_action_space, config, seed=0)
    env.reset()
    loop = Loop(agent, agent.actor(1, explore=True, seed=0), env)
    loop.advance(WARM_UP, lambda: False)
    with Profiler(loop, agent.device) as profiler:
        for _ in range(updates):
            agent.learn()
    spent = profiler.result().phases
    return {phase: 1e6 * spent[phase] / updates for phase in UPDATE if phase in spent}


RUNNERS = {"gymnast": run_gymnast, "stable-baselines3": run_stable_baselines3, "tianshou": run_tianshou}


def measure(name: str, period: int, steps: int, python: str) -> dict[str, Any] | None:
    """One contender in its own process; None if it is not installed or failed, reported on stderr."""
    command = [python, str(Path(__file__).resolve()), "--worker", name, "--periods", str(period), "--steps", str(steps)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, **threads})
    if done.returncode:
        print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def report(period: int, rates: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Print the table of one period; its rows."""

    def median(name: str, key: str) -> float:
        return statistics.median(result[key] for result in rates[name])

    print(
        f"\none update per {period} env steps; medians, (lowest, highest) round, gymnast's ratio by wall and CPU time"
    )
    rows = []
    for name in (name for name in CONTENDERS if rates[name]):
        values = sorted(result["steps_per_second"] for result in rates[name])
        ratio = median("gymnast", "steps_per_second") / median(name, "steps_per_second")
        cpu_ratio = median(name, "cpu_us") / median("gymnast", "cpu_us")
        print(
            f"  {name:18} {statistics.median(values):7,.0f} steps/s ({values[0]:,.0f}, {values[-1]:,.0f})"
            f" {median(name, 'cpu_us'):8,.1f} CPU us/step   x{ratio:.2f} x{cpu_ratio:.2f}"
        )
        rows.append(
            {"contender": name, "period": period, "rounds": rates[name], "ratio": ratio, "cpu_ratio": cpu_ratio}
        )
    middle = sorted(rates["gymnast"], key=lambda result: result["steps_per_second"])[len(rates["gymnast"]) // 2]
    print(
        "  gymnast's us/step: " + ", ".join(f"{name} {value:.1f}" for name, value in middle["spent"].items() if value)
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--periods", type=int, nargs="+", default=[1, 10], help="env steps of one update")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5_000, help="timed env steps at one update a step; 3x else")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that the peers are installed in")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--parts", action="store_true", help="only time the parts of one of our updates")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.parts:
        print("us of one update: " + ", ".join(f"{name} {value:.0f}" for name, value in update_parts().items()))
        return
    if arguments.worker:
        print(json.dumps(RUNNERS[arguments.worker](arguments.periods[0], arguments.steps)))
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
        figures += report(period, rates)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
