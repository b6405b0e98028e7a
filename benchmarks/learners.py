"""Speedup of PPO by learners: env steps per second of one process and of several that share every minibatch.

    python benchmarks/learners.py [--env ALE/Pong-v5] [--learners 1 2] [--num-envs 8] [--rollouts 3] [--rounds 3]

The same training for each number of learners: so many rows in all, the same minibatches, and weights that differ by
rounding only. Each learner has one thread of torch and one for its emulators, and so about one core. The numbers of
learners take turns within a round; each is timed after one rollout, in which processes start. The exchange is the part
of the time in which gradients are summed, the wait for the slower learner included. The ratio by CPU seconds of the
first learner, in which waits do not count, depends less on what else the machine does. Target: 2 learners on two cores
take 1.6 times the steps of 1 on one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.training.learner_start import learners_loop
from gymnast.training.loop import Loop
from gymnast.training.parts import Parts

TARGET = 1.6


def rate(arguments: argparse.Namespace, learners: int) -> tuple[float, float, float]:
    """Env steps of all learners per second, and per CPU second of the first one; the share of time in the exchange."""
    config = replace(agents.default_config("ppo"), network="nature-cnn", rollout_steps=arguments.rollout_steps)
    one_thread = '{"threads": 1}' if arguments.env.startswith("ALE/") else ""
    options = TrainOptions(
        env=arguments.env, num_envs=arguments.num_envs, learners=learners, device="cpu", env_options=one_thread
    )
    with ExitStack() as stack:
        parts = Parts.make("ppo", options, config, env=None, stack=stack)
        loop: Loop
        if learners == 1:
            loop = Loop(parts.agent, parts.actor, parts.env)
        else:
            loop, _ = learners_loop(parts, stack, None)
        loop.env.reset()
        rollout = arguments.num_envs * arguments.rollout_steps
        loop.advance(rollout, lambda: False)
        began, busy, exchanged = time.perf_counter(), time.process_time(), getattr(loop.seconds, "exchange", 0.0)
        loop.advance((1 + arguments.rollouts) * rollout, lambda: False)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - busy
        share = (getattr(loop.seconds, "exchange", 0.0) - exchanged) / seconds
        return arguments.rollouts * rollout / seconds, arguments.rollouts * rollout / cpu_seconds, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ALE/Pong-v5")
    parser.add_argument("--learners", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--rollout-steps", type=int, default=128)
    parser.add_argument("--rollouts", type=int, default=3, help="timed, of each number of learners and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    found: dict[int, list[tuple[float, float, float]]] = {learners: [] for learners in arguments.learners}
    for number in range(arguments.rounds):
        for learners in arguments.learners if number % 2 == 0 else arguments.learners[::-1]:
            found[learners].append(rate(arguments, learners))
            print(f"{learners} learners: {found[learners][-1][0]:,.0f} steps/s", flush=True)
    print(f"\nPPO, nature-cnn, {arguments.env}, {arguments.num_envs} rows; medians (lowest, highest round)")
    single, alone, _ = map(statistics.median, zip(*found[arguments.learners[0]], strict=True))
    for learners, results in found.items():
        rates = [steps for steps, _, _ in results]
        middle, busy, share = map(statistics.median, zip(*results, strict=True))
        said = f", target x{TARGET} {'reached' if middle >= TARGET * single else 'missed'}" if learners == 2 else ""
        print(
            f"  {learners} learners {middle:9,.1f} steps/s ({min(rates):,.1f}, {max(rates):,.1f})  "
            f"exchange {share:.0%}  x{middle / single:.2f}{said}; per CPU second x{busy / alone:.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
