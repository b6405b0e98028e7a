"""Exported policies beside their agents: CPU time of one action, of one observation.

    python benchmarks/export.py [--rounds 15] [--calls 300] [--only mlp nature-cnn] [--json FILE]

For a DQN with an MLP (120-84) on CartPole's observations and one with the Nature CNN on stacks of four 84x84 frames:

- eager: the policy as a module of torch, without gradients, from tensors to an action; the same module is exported
- predict: `agent.predict` of the agent, which acts by gymnast's faster forms where it has them and checks observations
- session: onnxruntime's `run` of the exported model, on arrays
- exported: `ExportedPolicy.predict`, with the checks of `agent.predict`
- alone: the exported folder's own `policy.py`

They take turns within a round, on one thread; the time is the process's own, so that a busy machine disturbs it little.
A ratio is the median over the rounds, with the lowest and the highest one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

import gymnast
from gymnast.agents import DQN, DQNConfig
from gymnast.export import contract, formats
from gymnast.export.module import PolicyModule
from gymnast.export.policy import ExportedPolicy
from gymnast.export.standalone import Policy
from gymnast.machine import limit_threads
from gymnast.storage import checkpoint

POLICIES: dict[str, tuple[spaces.Box, DQNConfig]] = {
    "mlp": (spaces.Box(-1.0, 1.0, (4,), np.float32), DQNConfig()),
    "nature-cnn": (spaces.Box(0, 255, (4, 84, 84), np.uint8), DQNConfig(network="nature-cnn")),
}
SHARE = {"mlp": 1.0, "nature-cnn": 0.05}
"""Calls of a round as a share of `--calls`."""
RATIOS = (("eager", "session"), ("predict", "exported"), ("predict", "alone"))
"""What is divided by what."""
TARGET = 2.0
"""Of torch eager over onnxruntime, at batch 1."""


def exported(agent: DQN, folder: Path) -> PolicyModule:
    """Write the agent's policy as ONNX, with its contract."""
    gymnast.save(agent, folder / "agent.pt")
    about, _ = checkpoint.read_agent(folder / "agent.pt")
    module = PolicyModule(agent.greedy_policy(), agent.observation_space, agent.action_space, masked=False)
    file = folder / formats.FILES["onnx"]
    opset = formats.write_onnx(formats.program_of(module), module, file)
    contract.write(folder, contract.contract_of(agent, about, module, kind="onnx", file=file, opset=opset))
    return module


def contenders(agent: DQN, folder: Path) -> dict[str, Callable[[], Any]]:
    """A call of each on the same observation."""
    module = exported(agent, folder)
    obs = agent.observation_space.sample()
    tensor, array = torch.from_numpy(obs).unsqueeze(0), obs[None]
    whole, alone = ExportedPolicy(folder), Policy(folder)

    def eager() -> Any:
        with torch.no_grad():
            return module(tensor)[0]

    return {
        "eager": eager,
        "predict": lambda: agent.predict(obs),
        "session": lambda: alone.session.run(["action"], {"obs": array})[0],
        "exported": lambda: whole.predict(obs),
        "alone": lambda: alone(obs),
    }


def microseconds(call: Callable[[], Any], calls: int) -> float:
    """CPU time of a call."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return 1e6 * (time.process_time() - began) / calls


def compare(name: str, rounds: int, calls: int) -> dict[str, Any]:
    """Time all of them in turns, and print the medians and ratios."""
    space, config = POLICIES[name]
    agent = DQN(space, spaces.Discrete(4), config)
    with tempfile.TemporaryDirectory() as folder:
        made = contenders(agent, Path(folder))
        actions = {int(np.asarray(call()).item()) for call in made.values()}
        if len(actions) != 1:
            raise SystemExit(f"{name}: the contenders act differently")
        times: dict[str, list[float]] = {one: [] for one in made}
        for _ in range(rounds):
            for one, call in made.items():
                times[one].append(microseconds(call, max(1, int(calls * SHARE[name]))))
    medians = {one: statistics.median(values) for one, values in times.items()}
    print(f"{name}, {rounds} rounds; median us: " + ", ".join(f"{one} {value:.1f}" for one, value in medians.items()))
    ratios = {}
    for slow, fast in RATIOS:
        each = [a / b for a, b in zip(times[slow], times[fast], strict=True)]
        ratios[f"{slow} / {fast}"] = statistics.median(each)
        target = f", target {TARGET:g}" if fast == "session" else ""
        print(f"  {slow} / {fast}: x{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f}){target}")
    return {"microseconds": medians, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=300, help="calls of each in a round; a 20th for the CNN")
    parser.add_argument("--only", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--json", default="", help="file for the results")
    options = parser.parse_args()
    limit_threads(1)
    found = {name: compare(name, options.rounds, options.calls) for name in options.only}
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
