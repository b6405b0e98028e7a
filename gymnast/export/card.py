"""The model card of an exported policy: README.md with the metadata of a model index, and the run's pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from gymnast.storage.folder import folder_name

USES = {
    "onnx": """\
It needs NumPy and onnxruntime:

```python
from policy import Policy

policy = Policy()
action = policy(obs, start=True)  # of one observation, or of a batch of them
```

`python policy.py` prints the inputs and outputs and plays random observations. With gymnast, `gymnast evaluate DIR`
plays it in its environment.""",
    "torch-export": """\
It needs torch:

```python
import torch

policy = torch.export.load("policy.pt2").module()
with torch.no_grad():
    {outputs} = policy({inputs})
```""",
    "safetensors": """\
It has the weights by name, without the computation:

```python
from safetensors.numpy import load_file

weights = load_file("policy.safetensors")
```""",
}


def write(folder: Path, contract: dict[str, Any], *, run: Path | None) -> None:
    """Write README.md, beside copies of the run's curve and video if `run`, its folder, has them."""
    pictures = [] if run is None else _pictures(run, folder)
    lines = ["---", *_front_matter(contract), "---", "", f"# {contract['agent']} on {contract['env']}", ""]
    lines += [f"{_origin(contract)}", "", *_scores(contract), *pictures, "## Use", ""]
    ports = {kind: ", ".join(_variable(port["name"]) for port in contract[kind]) for kind in ("inputs", "outputs")}
    use = USES[contract["format"]]
    lines += [use.format(**ports) if contract["format"] == "torch-export" else use, "", "## Inputs and outputs", ""]
    lines += ["| | name | dtype | shape |", "| --- | --- | --- | --- |"]
    for kind in ("inputs", "outputs"):
        for port in contract[kind]:
            shape = "[" + ", ".join(map(str, port["shape"])) + "]"
            lines.append(f"| {kind[:-1]} | `{port['name']}` | {port['dtype']} | {shape} |")
    lines += ["", *_notes(contract)]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _front_matter(contract: dict[str, Any]) -> list[str]:
    """The YAML metadata, in which every text is quoted as JSON quotes it."""
    name = f"{folder_name(contract['env'])}-{folder_name(contract['agent'])}"
    score = contract["scores"].get("final") or contract["scores"].get("best")
    lines = ["library_name: gymnast", "tags:", "- reinforcement-learning", "- gymnasium"]
    lines += [f"- {json.dumps(str(contract[key]))}" for key in ("agent", "env", "format")]
    if score is None:
        return lines
    spread = "" if score.get("std_return") is None else f" +/- {score['std_return']:.2f}"
    shown = f"{score['mean_return']:.2f}{spread}"
    return [
        *lines,
        "model-index:",
        f"- name: {json.dumps(name)}",
        "  results:",
        "  - task:",
        "      type: reinforcement-learning",
        "      name: Reinforcement Learning",
        "    dataset:",
        f"      name: {json.dumps(contract['env'])}",
        f"      type: {json.dumps(contract['env'])}",
        "    metrics:",
        "    - type: mean_reward",
        "      name: mean return",
        f"      value: {json.dumps(shown)}",
        "      verified: false",
    ]


def _origin(contract: dict[str, Any]) -> str:
    versions = contract["versions"]
    protocol = contract["protocol"] or {}
    under = f" under the protocol {protocol['name']}" if protocol.get("name") else ""
    return (
        f"The greedy policy of gymnast's agent `{contract['agent']}`, trained on `{contract['env']}`{under} for "
        f"{contract['env_step']:,} env steps. Written by gymnast {versions['gymnast']} and torch {versions['torch']}."
    )


def _scores(contract: dict[str, Any]) -> list[str]:
    words = {"final": "the run's last evaluation", "best": "the evaluation that chose these weights"}
    lines = []
    for name, score in contract["scores"].items():
        spread = "" if score.get("std_return") is None else f" ± {score['std_return']:.2f}"
        episodes = f" over {score['episodes']} episodes" if score.get("episodes") else ""
        lines.append(f"Mean return {score['mean_return']:.2f}{spread}{episodes}, {words[name]}.")
    return [*lines, ""] if lines else []


def _pictures(run: Path, folder: Path) -> list[str]:
    lines: list[str] = []
    if (run / "curve.png").is_file():
        shutil.copyfile(run / "curve.png", folder / "curve.png")
        lines += ["![Returns during training](curve.png)", ""]
    if (run / "videos" / "best.mp4").is_file():
        shutil.copyfile(run / "videos" / "best.mp4", folder / "replay.mp4")
        lines += ["[A video of an episode](replay.mp4)", ""]
    return lines


def _notes(contract: dict[str, Any]) -> list[str]:
    """What a user of the inputs must know."""
    names = {port["name"] for port in contract["inputs"]}
    notes = ["N is the batch. `action` holds values of the environment's action space."]
    if "memory" in names:
        notes.append("`memory` is the last `next_memory`; where `start` is true it is not used, so that zeros will do.")
    if "action_mask" in names:
        notes.append("`action_mask` says which actions are allowed.")
    stack = contract["run"].get("frame_stack") or 1
    if stack > 1:
        notes.append(f"The environment stacks the last {stack} frames, which is not part of the policy.")
    notes.append("`policy.json` has the ranges, and the environment's settings and protocol.")
    return [" ".join(notes)]


def _variable(name: str) -> str:
    """A port's name as a variable's."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
