"""policy.json: what a policy takes and gives, where it comes from, and how well it has played."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from gymnast.agents.prediction import ExportableAgent
from gymnast.atari import protocols
from gymnast.export.module import PolicyModule, Port
from gymnast.export.standalone import CONTRACT, FORMAT
from gymnast.storage import space_json
from gymnast.storage.checkpoint import About
from gymnast.version import __version__

ENV_OPTIONS = ("env_options", "wrapper", "max_episode_steps", "frame_stack")
"""The options of a run that say how its environment is made."""
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch-export": (), "safetensors": ("safetensors",)}
"""What writes each format besides torch."""
BATCH = "N"


def write(folder: Path, contract: dict[str, Any]) -> None:
    """Write policy.json."""
    text = json.dumps(contract, indent=2, allow_nan=False) + "\n"
    (folder / CONTRACT).write_text(text, encoding="utf-8", newline="\n")


def contract_of(
    agent: ExportableAgent, about: About, module: PolicyModule, *, kind: str, file: Path, opset: int | None
) -> dict[str, Any]:
    """The contract of a policy that was written to a file, without its scores."""
    versions = {name: metadata.version(name) for name in ("torch", *PACKAGES[kind])}
    return {
        "contract": FORMAT,
        "format": kind,
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "agent": about.agent,
        "config": {name: about.config[name] for name in protocols.LEARNER if name in about.config},
        "env": about.env,
        "run": {name: about.run[name] for name in ENV_OPTIONS if name in about.run},
        "outside": about.outside,
        "protocol": about.protocol,
        "env_step": agent.env_step,
        "observation_space": about.observation_space,
        "action_space": about.action_space,
        "inputs": [_port(port) for port in module.inputs],
        "outputs": [{**_port(port), **_meaning(port, module)} for port in module.outputs],
        "versions": {"gymnast": __version__, **versions, **({} if opset is None else {"opset": opset})},
    }


def _port(port: Port) -> dict[str, Any]:
    """An input or output in JSON; a part of the observation says where it lies and which values it has."""
    is_part = port.name.split(".")[0] == "obs"
    return {
        "name": port.name,
        "shape": [BATCH, *port.shape],
        "dtype": port.dtype,
        **({"path": list(port.path)} if is_part else {}),
        **({} if port.space is None else {"space": space_json.encode(port.space)}),
    }


def _meaning(port: Port, module: PolicyModule) -> dict[str, str]:
    """What an output's numbers are, where the name does not say it."""
    return {"meaning": module.greedy.preferences} if port.name == "preference" else {}


def about_of(contract: dict[str, Any]) -> About:
    """A contract as the description of a checkpoint, by which its environment is made."""
    names = ("agent", "config", "env", "env_step", "observation_space", "action_space", "run", "versions")
    return About(**{name: contract[name] for name in names}, protocol=contract["protocol"], outside=contract["outside"])
