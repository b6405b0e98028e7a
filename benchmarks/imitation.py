"""Imitation of an expert of CartPole-v1 from few episodes: GAIL, and behaviour cloning of the same ones.

    python benchmarks/imitation.py [--seeds 5] [--episodes 10] [--steps 100000] [--jobs 2] [--forms positive airl]

One PPO agent is the expert; its greedy episodes are recorded once. For each seed GAIL learns from them in `--steps` env
steps, without the environment's rewards, and behaviour cloning fits them. Each figure is the mean return of 100 greedy
episodes. GAIL's are those of the last checkpoint, because the best one is chosen by true returns. The target is 475 for
every seed.

A reward of 1 for each step keeps the pole up already, so that positive rewards need not come from the expert. Hence
`--forms` compares the forms of the discriminator's reward, each with the reward of having ended and, with `--biased`,
without it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ENV, DATA = "CartPole-v1", "bench/cartpole-expert-v0"
TARGET = 475.0
FORMS = ("positive", "negative", "airl")


def gymnast(*words: str, sets: Path) -> str:
    """The output of a command; its error ends the program."""
    env = {**os.environ, "MINARI_DATASETS_PATH": str(sets)}
    done = subprocess.run([sys.executable, "-m", "gymnast", *words], env=env, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"gymnast {' '.join(words)}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def played(run: Path, out: Path) -> float:
    """Mean return of 100 greedy episodes."""
    found: dict[str, float] = json.loads(gymnast("evaluate", str(run), "--episodes", "100", "--json", sets=out))
    return found["mean_return"]


def expert(out: Path, *, steps: int, episodes: int) -> float:
    """Train the expert and record its episodes; its mean return."""
    words = ["train", "ppo", "--env", ENV, "--preset", "cartpole", "--steps", str(steps), "--out", str(out)]
    gymnast(*words, "--name", "expert", "--no-video", sets=out)
    run = out / ENV / "ppo" / "expert"
    gymnast("record", str(run), "--episodes", str(episodes), "--dataset", DATA, sets=out)
    return played(run, out)


def imitated(form: str, biased: bool, seed: int, steps: int, out: Path) -> float:
    """Mean return of GAIL's last policy."""
    name = f"{form}{'-biased' * biased}-{seed}"
    words = ["train", "ppo", "--env", ENV, "--preset", "cartpole", "--stop-return", "off", "--steps", str(steps)]
    words += [
        "--learning-rate",
        f"linear:1e-3:0:{steps}",
        "--clip",
        f"linear:0.2:0:{steps}",
        "--eval-every",
        str(steps),
    ]
    words += ["--gail", DATA, "--gail-reward", form, *(["--no-gail-absorbing"] if biased else [])]
    gymnast(*words, "--seed", str(seed), "--out", str(out), "--name", name, "--no-video", sets=out)
    return played(out / ENV / "ppo" / name / "checkpoints" / "last.pt", out)


def cloned(seed: int, out: Path) -> float:
    """Mean return of a policy that was cloned from the same episodes."""
    words = ["fit", "behaviour-cloning", "--dataset", DATA, "--epochs", "40", "--seed", str(seed), "--out", str(out)]
    gymnast(*words, "--name", str(seed), sets=out)
    (run,) = out.glob(f"*/behaviour-cloning/{seed}")
    return played(run, out)


def row(name: str, values: list[float]) -> str:
    shown = " ".join(f"{value:.1f}" for value in values)
    met = sum(value >= TARGET for value in values)
    return f"{name:<34}mean {statistics.fmean(values):6.1f}  {met} of {len(values)} reach {TARGET:.0f}  [{shown}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=10, help="episodes of the expert")
    parser.add_argument("--steps", type=int, default=100_000, help="env steps of GAIL")
    parser.add_argument("--expert-steps", type=int, default=100_000, help="env steps of the expert at most")
    parser.add_argument("--forms", nargs="+", default=["positive"], choices=FORMS, help="forms of GAIL's reward")
    parser.add_argument("--biased", action="store_true", help="also without the reward of having ended")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    options = parser.parse_args()
    seeds = range(options.seeds)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        out = Path(folder)
        mean = expert(out, steps=options.expert_steps, episodes=options.episodes)
        print(f"expert: return {mean:.1f}; {options.episodes} of its episodes are imitated", flush=True)
        print(row("behaviour cloning", list(pool.map(lambda seed: cloned(seed, out), seeds))), flush=True)
        for form in options.forms:
            for biased in (False, True) if options.biased else (False,):
                jobs = [(form, biased, seed, options.steps, out) for seed in seeds]
                name = f"GAIL, {form}{', without absorbing' * biased}"
                print(row(name, list(pool.map(lambda job: imitated(*job), jobs))), flush=True)
    print(f"GAIL took {options.steps:,} env steps for each seed")


if __name__ == "__main__":
    main()
