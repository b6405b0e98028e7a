"""Memory and start of a short run beside Stable-Baselines3: peak resident memory, seconds to the first env step.

    python benchmarks/footprint.py [--only dqn ppo] [--steps 2000] [--rounds 5] [--peer-python PATH] [--json FILE]

Ours is `gymnast train AGENT --env CartPole-v1 --no-video` with its log, evaluations, checkpoints and learning curve;
the peer's a script of ten lines that only learns. DQN has a replay of 50,000 steps and one environment, PPO eight
environments, as by default. The contenders take turns, each in its own process. Seconds are counted from before the
process starts to the first call of CartPole's step. The peak is VmHWM of /proc/self/status, so it needs Linux. Of
several rounds the first, in which compiled code may not be cached yet, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

AGENTS = ("dqn", "ppo")
CONTENDERS = ("gymnast", "stable-baselines3")
BEGAN = "FOOTPRINT_BEGAN"
REPLAY, ENVS, ROLLOUT, MINIBATCHES, EPOCHS = 50_000, 8, 128, 4, 4
Result = dict[str, float]


def peak_mb() -> float:
    """The largest resident memory of this process so far, in MB of 10**6 bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def note_first_step() -> Result:
    """What the first step of any CartPole will be noted in."""
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    noted: Result = {}
    step = CartPoleEnv.step

    def noting(self: CartPoleEnv, action: Any) -> Any:
        if not noted:
            noted.update(first_step_s=time.time() - float(os.environ[BEGAN]), first_step_mb=peak_mb())
        return step(self, action)

    CartPoleEnv.step = noting  # type: ignore[method-assign]
    return noted


def run_gymnast(agent: str, steps: int) -> None:
    from gymnast.cli.main import main

    sizes = ["--replay-size", str(REPLAY)] if agent == "dqn" else ["--num-envs", str(ENVS)]
    with tempfile.TemporaryDirectory() as out:
        code = main(["train", agent, "--env", "CartPole-v1", "--steps", str(steps), *sizes, "--no-video", "--out", out])
    if code:
        raise SystemExit(code)


def run_stable_baselines3(agent: str, steps: int) -> None:
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.env_util import make_vec_env

    if agent == "dqn":
        model = DQN("MlpPolicy", "CartPole-v1", buffer_size=REPLAY, device="cpu", seed=0)
    else:
        batch = ENVS * ROLLOUT // MINIBATCHES
        envs = make_vec_env("CartPole-v1", ENVS)
        model = PPO("MlpPolicy", envs, n_steps=ROLLOUT, batch_size=batch, n_epochs=EPOCHS, device="cpu", seed=0)
    model.learn(steps)


RUNNERS: dict[str, Callable[[str, int], None]] = {
    "gymnast": run_gymnast,
    "stable-baselines3": run_stable_baselines3,
}


def work(contender: str, agent: str, steps: int) -> None:
    """Run one contender in this process and print its figures as JSON."""
    noted = note_first_step()
    RUNNERS[contender](agent, steps)
    print(json.dumps({**noted, "peak_mb": peak_mb()}))


def measure(contender: str, agent: str, steps: int, python: str) -> Result | None:
    """One contender in its own process; None if it is not installed or failed, reported on stderr."""
    command = [python, str(Path(__file__).resolve()), "--worker", contender, "--only", agent, "--steps", str(steps)]
    environment = {**os.environ, BEGAN: str(time.time())}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if done.returncode:
        print(f"{contender}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr)
        return None
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def take_turns(agent: str, steps: int, rounds: int, peer_python: str) -> dict[str, list[Result]]:
    """The results of each contender that ran, round by round."""
    results: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        for name in CONTENDERS if number % 2 == 0 else CONTENDERS[::-1]:
            python = sys.executable if name == "gymnast" else peer_python
            result = measure(name, agent, steps, python)
            results[name] += [] if result is None else [result]
    return {name: found[1:] or found for name, found in results.items() if found}


def report(agent: str, steps: int, results: dict[str, list[Result]]) -> dict[str, Any]:
    """Print one agent's medians and our ratios, of which each is to be at most 1; the figures."""
    print(f"\n{agent}, {steps:,} steps of CartPole-v1; medians (lowest, highest round)")
    medians: dict[str, Result] = {}
    for name, found in results.items():
        medians[name] = middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
        peaks, seconds = ([one[key] for one in found] for key in ("peak_mb", "first_step_s"))
        print(
            f"  {name:18}peak {middle['peak_mb']:.0f} MB ({min(peaks):.0f}, {max(peaks):.0f}), "
            f"at the first step {middle['first_step_mb']:.0f} MB, "
            f"which comes after {middle['first_step_s']:.2f} s ({min(seconds):.2f}, {max(seconds):.2f})"
        )
    if len(medians) == len(CONTENDERS):
        ours, theirs = medians["gymnast"], medians["stable-baselines3"]
        for key, what in (("peak_mb", "peak"), ("first_step_s", "seconds to the first step")):
            ratio = ours[key] / theirs[key]
            print(f"  {what}: x{ratio:.2f}, target at most x1 {'reached' if ratio <= 1 else 'missed'}")
    return {"agent": agent, "steps": steps, "medians": medians, "rounds": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=AGENTS, default=list(AGENTS), help="run only these agents")
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that the peer is installed in")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.only[0], arguments.steps)
        return
    figures = []
    for agent in arguments.only:
        results = take_turns(agent, arguments.steps, arguments.rounds, arguments.peer_python)
        if "gymnast" not in results:
            raise SystemExit("nothing to compare with: gymnast itself failed")
        figures.append(report(agent, arguments.steps, results))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
