"""What is looked into: an agent that decides, or an encoder, on observations as float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.agents.base import Agent, DecidingAgent, Decision, SteppedDecision
from gymnast.agents.table import CLASSES
from gymnast.envs.env import Env
from gymnast.errors import first_line
from gymnast.explain.form import Form
from gymnast.fitting.representations import architecture_of, encoder_of, normalised
from gymnast.networks.insight.units import Layer, recording
from gymnast.networks.modes import acting
from gymnast.settings import agents
from gymnast.storage import checkpoint, rebuild
from gymnast.storage.encoder import described, same_kind
from gymnast.storage.fitted import FIT


class Explained(DecidingAgent, Agent, Protocol):
    """An agent that decides."""


@dataclass(frozen=True)
class Subject:
    """A trained network, and the agent around it if it has one."""

    what: str
    """The run."""
    kind: str
    """Of the agent, or of what was fitted, in words."""
    space: gym.Space[Any]
    network: nn.Module
    device: torch.device
    agent: Explained | None = None

    @cached_property
    def form(self) -> Form:
        """Of its observations."""
        return Form(self.space)

    def decide(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Decision:
        """The agent's decision for observations [B, ...] of `form`, float32 in the environment's units."""
        assert self.agent is not None
        return self.agent.decide(self.form.obs(x), memory, mask)

    def features(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """What the last layers read, or the encoder's output, [B, F]."""
        if self.agent is not None:
            return self.decide(x, memory).features
        features: Tensor = self.network(self.form.obs(x))
        return features

    def layers(self, x: Tensor, memory: Tensor | None = None) -> dict[str, Layer]:
        """What each layer of weights makes of observations [B, ...], in the order of the calls."""
        with recording(self.network) as found:
            self.features(x, memory)
        return found.layers

    @staticmethod
    def deciding(layers: dict[str, Layer]) -> dict[str, Layer]:
        """Those that lead to the decision: without a critic's own trunk and the head of its value."""
        return {name: layer for name, layer in layers.items() if name.split(".")[0] not in ("critic", "value")}

    @staticmethod
    def reading(layers: dict[str, Layer]) -> dict[str, Layer]:
        """Those of the encoder, if an agent's network has one before its latents; else those that decide."""
        encoder = {name: layer for name, layer in layers.items() if name.startswith("encoder.")}
        return encoder or Subject.deciding(layers)

    @property
    def discrete(self) -> str:
        """The discrete numbers that the decision goes through, in words; empty if there are none."""
        agent: object = self.agent
        return agent.discrete if isinstance(agent, SteppedDecision) else ""

    @property
    def memory_size(self) -> int:
        return 0 if self.agent is None else self.agent.decision_memory


def subject_of(path: str, env: Env, device: str, *, trust: bool) -> Subject:
    """The agent or encoder of a run or checkpoint; ValueError or UsageError (one line) if it cannot be explained."""
    space = env.single_observation_space
    about, _ = checkpoint.read(checkpoint.find(path))
    if about.agent == FIT:
        return _encoder(path, env, space, device, trust=trust)
    agent = rebuild.load_trained(path, device=device, trust=trust)
    if not isinstance(agent, DecidingAgent):
        able = ", ".join(name for name in CLASSES if hasattr(agents.agent_class(name), "decide"))
        raise ValueError(f"explain needs an agent whose network it can differentiate ({able}), got {about.agent}")
    made: Explained = agent
    if not same_kind(made.observation_space, space):
        raise ValueError(
            f"{path} reads {described(made.observation_space)}, but observations of {env.id} are {described(space)}"
        )
    if made.action_space != env.single_action_space:
        raise ValueError(f"{path} takes actions {made.action_space}, and {env.id} has {env.single_action_space}")
    network = acting(made.decision_network).requires_grad_(False)
    return _readable(Subject(path, about.agent, space, network, torch.device(device), made))


def _encoder(path: str, env: Env, space: gym.Space[Any], device: str, *, trust: bool) -> Subject:
    encoder = encoder_of(path, space, env=env.id)
    if trust:
        agents.import_backbone(architecture_of(encoder))
    network = acting(normalised(encoder.build(), encoder).to(device)).requires_grad_(False)
    return _readable(Subject(path, f"encoder {encoder.name}", space, network, torch.device(device)))


def _readable(subject: Subject) -> Subject:
    """The subject; ValueError if its network, which may be a user's own, needs whole numbers for choices."""
    if subject.form.has_choices:
        try:
            with torch.no_grad():
                subject.features(torch.zeros((1, *subject.form.shape), device=subject.device))
        except Exception as error:
            what = f"{subject.what} fails on them: {type(error).__name__}: {first_line(error)}"
            raise ValueError(f"explain gives choices as float32, a number for each alternative; {what}") from error
    return subject


def home_of(path: str) -> Path | None:
    """The folder of the run that a path is of, if it is in one."""
    home = Path(path) if Path(path).is_dir() else Path(path).parent.parent
    return home if (home / "config.json").is_file() else None
