"""`gymnast.load`: whatever gymnast has written, ready to act."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gymnast.errors import UsageError
from gymnast.export.policy import ExportedPolicy, is_exported
from gymnast.networks.build import Backbone
from gymnast.storage import rebuild


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    agent: type[Any] | None = None,
    network: Backbone | None = None,
    trust: bool = False,
) -> Any:
    """The trained agent of a run's folder (its best checkpoint) or of a checkpoint file, ready to act.

    `agent.predict(obs)` is its greedy action. `agent` is the class of an agent that is not gymnast's own, and
    `network` a backbone of your own, as a module or a class; `trust=True` imports those that the file names. Of a run
    of `gymnast fit` or `gymnast pretrain` it is a `FittedNetwork`, which encodes, decodes, samples and predicts; it
    needs no data set. Of a folder of `gymnast export` it is an `ExportedPolicy`, which has `predict` too. Raises
    UsageError.
    """
    if not is_exported(path):
        return rebuild.load(path, device=device, agent=agent, network=network, trust=trust)
    given = {"agent": agent is not None, "network": network is not None, "device": device != "cpu"}
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{name} has no effect on {path}, an exported policy")
    return ExportedPolicy(path, trust=trust)
