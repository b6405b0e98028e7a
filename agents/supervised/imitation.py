"""Tasks that fit a policy: behaviour cloning, and the distillation of an agent into a smaller network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from gymnast.agents.base import Agent, Metrics
from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.supervised import measures
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.episodes import OfEpisodes, Transitions, on
from gymnast.agents.supervised.shown import ConfusionMatrix, Shown
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import Outputs, predicted
from gymnast.agents.supervised.teacher import Teacher, acting_parameters
from gymnast.networks.layers.init import BATCH as LSUV_BATCH
from gymnast.networks.layers.init import lsuv
from gymnast.networks.layers.inputs import Obs

LABELLED_AT_ONCE = 128
"""Neighbouring transitions that a teacher labels together."""


@dataclass(frozen=True)
class ImitationConfig(FitConfig):
    """A policy like another one; its network is that of PPO, which can go on from it."""

    teacher: str = field(default="", metadata={"metavar": "RUN"})
    """Trained run whose actions on the observations are learned."""
    value_coef: float = 0.0
    """Weight of the loss of the value head, whose targets are the returns of the data; 0 leaves it untrained."""
    gamma: float = 0.99
    """Discount of these returns."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.value_coef < float("inf"):
            raise ValueError(f"value_coef must be >= 0, got {self.value_coef}")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma must be between 0 and 1, got {self.gamma}")
        if self.layer_norm:
            raise ValueError(
                "layer_norm cannot be combined with a policy, whose network is PPO's; --network.norm layer can"
            )


@dataclass(frozen=True)
class BehaviourCloningConfig(ImitationConfig):
    """A policy that acts as the data do, or as a teacher would (Pomerleau 1991)."""

    losses: ClassVar[tuple[str, ...]] = ("nll", "mse")

    loss: Literal["auto", "nll", "mse"] = "auto"
    """Negative log-likelihood of the actions (auto), or for Box actions the squared error of the mean."""


@dataclass(frozen=True)
class DistillationConfig(ImitationConfig):
    """A policy with a teacher's whole distribution (Rusu et al. 2016)."""

    losses: ClassVar[tuple[str, ...]] = ("kl", "mse", "nll")

    loss: Literal["auto", "kl", "mse", "nll"] = "auto"
    """KL divergence from the teacher (auto), squared error of its logits, or likelihood of its greedy action."""
    temperature: float | None = None
    """Temperature of the teacher's logits. Default: 1 for a policy, 0.01 of the largest value for action values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.teacher:
            raise ValueError("distillation needs a teacher: --teacher RUN")
        if self.temperature is not None and not 0.0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be > 0, got {self.temperature}")


class Imitation(OfEpisodes):
    """Fits the network of a PPO agent, which plays as any other once it is saved."""

    config: ImitationConfig
    encodes = False

    def __init__(self, source: Source, config: ImitationConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        space = self.action_space
        self.student = ActorCritic(
            self.observation_space,
            space,  # type: ignore[arg-type]
            ActorCriticConfig(
                network=config.network,
                network_options=config.network_options,
                hidden_sizes=config.hidden_sizes,
                activation=config.activation,
                init=config.init,
                squash=self.squashes(source.teacher),
                gamma=config.gamma,
            ),
            device=device,
            seed=source.seed,
        )
        self.network, self.distribution = self.student.network, self.student.distribution
        self.teacher = None if source.teacher is None else Teacher(source.teacher, self.observation_space, space)
        self.returns = self.data.returns(config.gamma) if config.value_coef else None
        self._labels: Tensor | None = None
        self._known: set[int] = set()
        if config.init == "lsuv":
            for backbone in self.network.backbones:
                lsuv(backbone, on(self.inputs(self.train[:LSUV_BATCH]), device))

    def agent(self) -> ActorCritic:
        return self.student

    def squashes(self, teacher: Agent | None) -> bool:
        """Whether the student squashes Box actions: as data have them, they are clipped."""
        return False

    def label(self, index: Tensor) -> Tensor:
        """What the teacher gives for the transitions, computed once for each.

        Neighbours are computed together, the same in each run: rounding may depend on the other rows of a batch, and a
        resumed run is to equal an uninterrupted one.
        """
        for block in sorted(set((index // LABELLED_AT_ONCE).tolist()) - self._known):
            rows = torch.arange(block * LABELLED_AT_ONCE, min((block + 1) * LABELLED_AT_ONCE, len(self.data)))
            found = self.taught(on(self.data.observations(rows), self.device)).cpu()
            if self._labels is None:
                self._labels = torch.zeros((len(self.data), *found.shape[1:]), dtype=found.dtype)
            self._labels[rows] = found
            self._known.add(block)
        assert self._labels is not None
        return self._labels[index].to(self.device)

    def taught(self, obs: Obs) -> Tensor:
        """What the teacher gives for observations [B, ...]: its actions."""
        assert self.teacher is not None
        return self.teacher.actions(obs)

    def values_loss(self, value: Tensor, index: Tensor) -> Tensor:
        """Half the squared error of values [B, 1] from the returns of the data, as PPO's loss has it."""
        assert self.returns is not None
        return 0.5 * functional.mse_loss(value[:, 0], self.returns[index].to(self.device))

    def with_values(self, loss: Tensor, value: Tensor, batch: Transitions) -> tuple[Tensor, Metrics]:
        """The loss, and that of the values if the config asks for it."""
        if self.returns is None:
            return loss, {}
        of_value = self.values_loss(value, batch.rows)
        return loss + self.config.value_coef * of_value, {"value_loss": of_value}

    def policy(self, obs: Obs) -> Tensor:
        """The distribution's inputs [B, P], the mean of passes with dropout if the config asks for them."""
        return predicted(self.network, lambda: self.network(obs)[0], self.config.mc_samples)


class BehaviourCloning(Imitation):
    """Fits the actions of the data, or those of the teacher."""

    name, Config = "behaviour-cloning", BehaviourCloningConfig

    def __init__(self, source: Source, config: BehaviourCloningConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.discrete = not isinstance(self.action_space, spaces.Box)
        if config.chosen_loss == "mse" and self.discrete:
            raise ValueError(f"loss mse needs Box actions, got {self.action_space}; nll takes any")
        self.metric, self.largest = ("accuracy", True) if self.discrete else ("loss", False)

    def batch(self, index: Tensor) -> Transitions:
        batch = super().batch(index)
        action = batch.action if self.teacher is None else self.label(index)
        return batch._replace(target=raw_of(self.action_space, action))

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        output, value = self.network(self.augmented(batch.obs, generator))
        if self.config.chosen_loss == "mse":
            loss = functional.mse_loss(self.distribution.mode(output), batch.target)
        else:
            loss = -self.distribution.log_prob(output, batch.target).mean()
        loss, metrics = self.with_values(loss, value, batch)
        if self.discrete:
            metrics["accuracy"] = same(self.distribution.mode(output), batch.target).float().mean()
        return loss, metrics

    def outputs(self, batch: Transitions) -> Outputs:
        output = self.policy(batch.obs)
        return {
            "log_prob": self.distribution.log_prob(output, batch.target),
            "mode": self.distribution.mode(output),
            "target": batch.target,
        }

    def measures(self, outputs: Outputs) -> dict[str, float]:
        mode, target, log_prob = outputs["mode"], outputs["target"], outputs["log_prob"]
        found = {"nll": -log_prob.double().mean().item()}
        if self.discrete:
            found["accuracy"] = same(mode, target).double().mean().item()
            found["perplexity"] = measures.perplexity(log_prob)
        else:
            found |= {"r2": measures.r2(mode, target), "mse": functional.mse_loss(mode, target).item()}
        return {**found, "loss": found["mse"] if self.config.chosen_loss == "mse" else found["nll"]}

    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        if not isinstance(self.action_space, spaces.Discrete):
            return {}
        actions, start = int(self.action_space.n), int(self.action_space.start)
        counts = measures.confusion(outputs["mode"], outputs["target"], actions)
        return {"confusion": ConfusionMatrix(counts, tuple(str(start + action) for action in range(actions)))}


class Distillation(Imitation):
    """Fits a teacher's whole distribution over the actions."""

    name, Config, metric, largest = "distillation", DistillationConfig, "kl", False
    config: DistillationConfig

    def __init__(self, source: Source, config: DistillationConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        assert self.teacher is not None  # the config has looked
        if config.temperature is not None and self.distribution.scales:
            raise ValueError(f"temperature {config.temperature} has no effect on the actions {self.action_space}")
        self.temperature = config.temperature or self._temperature()
        probe = self.taught(self.batch_obs(self.train[:1]))
        if probe.shape[1] != self.distribution.outputs + self.distribution.scales:
            raise ValueError(
                f"the teacher gives {probe.shape[1]} numbers for an observation, and the student "
                f"{self.distribution.outputs + self.distribution.scales}"
            )

    def squashes(self, teacher: Agent | None) -> bool:
        """As the teacher does, so that both distributions are of the same numbers."""
        return bool(getattr(getattr(teacher, "config", None), "squash", False))

    def _temperature(self) -> float:
        """1 for a policy; for action values a hundredth of the largest one, so that a greedy action stays one."""
        assert self.teacher is not None
        if not hasattr(self.teacher.agent, "q_values"):
            return 1.0
        q = self.teacher.outputs(self.batch_obs(self.train[:256]), 1.0)
        return max(0.01 * q.abs().max().item(), 1e-6)

    def batch_obs(self, index: Tensor) -> Any:
        """The observations of transitions, on the device."""
        return super().batch(index).obs

    def taught(self, obs: Obs) -> Tensor:
        """The teacher's logits [B, P]."""
        assert self.teacher is not None
        return self.teacher.outputs(obs, self.temperature)

    def batch(self, index: Tensor) -> Transitions:
        batch = super().batch(index)
        return batch._replace(target=self.label(index))

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        output, value = self.network(self.augmented(batch.obs, generator))
        kind, dist = self.config.chosen_loss, self.distribution
        if kind == "kl":
            loss = dist.kl(batch.target, output).mean()
        elif kind == "mse":
            loss = functional.mse_loss(output, batch.target)
        else:
            loss = -dist.log_prob(output, dist.mode(batch.target)).mean()
        return self.with_values(loss, value, batch)

    def outputs(self, batch: Transitions) -> Outputs:
        output, dist = self.policy(batch.obs), self.distribution
        return {
            "kl": dist.kl(batch.target, output),
            "same": same(dist.mode(output), dist.mode(batch.target)),
        }

    def measures(self, outputs: Outputs) -> dict[str, float]:
        found = {"kl": outputs["kl"].double().mean().item()}
        if not isinstance(self.action_space, spaces.Box):
            found["agreement"] = outputs["same"].double().mean().item()
        own = acting_parameters(self.network)
        assert self.teacher is not None
        return {**found, "parameters": float(own), "teacher_parameters": float(self.teacher.parameters)}


def raw_of(space: Any, action: Tensor) -> Tensor:
    """Actions of a space [B, ...] as the raw ones [B, *shape] that distributions speak of."""
    if isinstance(space, spaces.Box):
        return action.flatten(1).float()
    if isinstance(space, spaces.Discrete):
        return action.long() - int(space.start)
    first = np.asarray(getattr(space, "start", 0)).reshape(-1)
    return action.long().flatten(1) - torch.as_tensor(first, dtype=torch.int64, device=action.device)


def same(one: Tensor, other: Tensor) -> Tensor:
    """Whether whole actions are the same, bool [B]."""
    equal = one == other
    return equal if equal.dim() == 1 else equal.flatten(1).all(1)
