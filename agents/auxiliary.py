"""A loss that is trained beside an agent's own, on the same backbone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Metrics, restore_generator, torch_seed
from gymnast.agents.maths import auxiliary as losses
from gymnast.agents.optim import optimizers
from gymnast.envs.step import Obs, map_obs
from gymnast.networks.backbones.convolutional import ConvNet, MinAtarCNN
from gymnast.networks.backbones.image import ImageBackbone
from gymnast.networks.fast.flat import FlatParameters, clip_norm, copy_buffers
from gymnast.networks.heads.auxiliary import ContrastiveHead, InverseDynamicsHead, RewardHead
from gymnast.networks.heads.self_prediction import SelfPredictionHead
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.samples import sampled
from gymnast.networks.layers.views import Views
from gymnast.replay.following import Following

Task = Literal["none", "contrastive", "inverse-dynamics", "reward", "self-prediction"]
MOMENTUM = 0.95
"""Share of the key encoder that each update keeps (CURL, Laskin et al. 2020, table 4)."""


@dataclass(frozen=True)
class AuxiliaryConfig:
    """The settings of every agent that trains an auxiliary loss."""

    auxiliary: Task = "none"
    """Loss trained beside the agent's on its backbone: contrastive (CURL), inverse-dynamics, reward (prediction), or
    with a replay self-prediction (SPR)."""
    auxiliary_weight: float = 1.0
    """Weight of the auxiliary loss in the backbone's gradient."""

    def check_auxiliary(self) -> None:
        """Raise ValueError for an unknown task, or settings that it cannot be combined with."""
        if self.auxiliary not in get_args(Task):
            raise ValueError(f"auxiliary must be one of {', '.join(get_args(Task))}, got {self.auxiliary!r}")
        if not 0.0 < self.auxiliary_weight < math.inf:
            raise ValueError(f"auxiliary_weight must be > 0, got {self.auxiliary_weight}")
        if self.auxiliary == "none":
            return
        reasons = {
            "recurrent": "its samples are single steps",
            "workers": "they share only the agent's own weights",
            "freeze_encoder": "that leaves it nothing to train",
            "compile": "it is not part of a compiled update",
            "cuda_graphs": "it is not part of a recorded update",
        }
        for name, reason in reasons.items():
            value = getattr(self, name, False)
            if value not in (False, 0, "none"):
                raise ValueError(f"auxiliary {self.auxiliary} cannot be combined with {name}: {reason}")


class Transitions(NamedTuple):
    """B transitions that the loss is computed on; none of them crosses the end of an episode."""

    obs: Obs
    next_obs: Obs | None
    """The true successors [B, ...] (n steps later with n-step targets), if the loss needs them."""
    action: Tensor
    """[B, ...], values of the action space."""
    reward: Tensor
    """[B], as the agent learns from them: clipped, scaled, and summed over n steps."""
    weight: Tensor
    """[B], each row's share; they sum to 1."""
    following: Following | None = None
    """The K steps from each transition on, if the loss predicts them."""


class Auxiliary:
    """An auxiliary loss with its head, the head's optimizer, and its random numbers.

    The loss's gradient reaches the backbone together with the agent's; the head learns by an optimizer of the same
    kind. Acting does not need any of this.

    Raises:
        ValueError: spaces that the loss does not fit, or a backbone without layers that could learn from it.
    """

    def __init__(
        self,
        config: Any,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        backbone: nn.Module,
        *,
        prepare: Callable[[Obs], Obs],
        seed: np.random.SeedSequence,
    ) -> None:
        """`prepare` maps observations to what the backbone reads; `config` also has the optimizer's settings."""
        self.task, self.weight, self.max_grad_norm = config.auxiliary, config.auxiliary_weight, config.max_grad_norm
        self.backbone, self.prepare = backbone, prepare
        self.needs_successors, self.needs_following = self.task == "inverse-dynamics", self.task == "self-prediction"
        self.momentum = MOMENTUM
        parameter = next(backbone.parameters(), None)
        if parameter is None:
            raise ValueError(
                f"auxiliary {self.task} teaches the layers below the head, and this network has none: "
                "give more hidden_sizes, or another network"
            )
        device = parameter.device
        init_seed, views_seed = seed.spawn(2)
        self.generator = torch.Generator(device).manual_seed(torch_seed(views_seed))
        self.keys: nn.Module | None = None
        """The momentum copy of backbone and projection, which encodes what a contrastive loss finds or
        self-prediction predicts."""
        features = int(backbone.out_features)  # type: ignore[arg-type]
        self.head: nn.Module
        if self.task == "contrastive":
            layout = backbone.layout if isinstance(backbone, ImageBackbone) else None
            try:
                self.views = Views(observation_space, layout=layout)
            except ValueError as error:
                raise ValueError(f"auxiliary contrastive: {error}") from error
            self.head = ContrastiveHead(features)
        elif self.task == "inverse-dynamics":
            self.actions = Actions(action_space, device=device)
            self.head = InverseDynamicsHead(features, self.actions.outputs)
        elif self.task == "self-prediction":
            if not isinstance(action_space, spaces.Discrete):
                raise ValueError(f"auxiliary self-prediction needs Discrete actions, got {action_space}")
            self.momentum = config.prediction_momentum
            shape = map_shape(backbone, observation_space, device=device)
            self.head = SelfPredictionHead(features, int(action_space.n), shape)
        else:
            self.head = RewardHead(features, action_space)
        self._init = config.init
        initialise(
            self.head, self._init, activation="relu", generator=torch.Generator().manual_seed(torch_seed(init_seed))
        )
        self.head.to(device)
        self.weights = FlatParameters(self.head)
        self.optimizer = optimizers.build(config.optimizer, self.weights.parameter, lr=0.0, eps=config.optimizer_eps)
        self._step = optimizers.stepper(self.optimizer)
        if isinstance(self.head, ContrastiveHead | SelfPredictionHead):
            self.keys = copy.deepcopy(self._encoder()).requires_grad_(False).eval()

    def _encoder(self) -> nn.Module:
        assert isinstance(self.head, ContrastiveHead | SelfPredictionHead)
        return nn.Sequential(self.backbone, self.head.projection)

    def restart(self) -> None:
        """Copy the backbone into the key encoder: it has other weights now."""
        self._follow(0.0)

    def loss(self, batch: Transitions, features: Tensor) -> tuple[Tensor, Metrics]:
        """The weighted loss [], to be added to the agent's, and its metrics; `features` [B, F] of the observations."""
        metrics: Metrics = {}
        if isinstance(self.head, ContrastiveHead):
            assert self.keys is not None
            query = self.backbone(self.prepare(self.views(batch.obs, self.generator)))
            with torch.no_grad():
                key = self.keys(self.prepare(self.views(batch.obs, self.generator)))
            loss, metrics["auxiliary_accuracy"] = losses.contrastive_loss(self.head(query, key), batch.weight)
        elif isinstance(self.head, InverseDynamicsHead):
            assert batch.next_obs is not None
            output = self.head(features, self.backbone(self.prepare(batch.next_obs)))
            loss, accuracy = self.actions.loss(output, batch.action, batch.weight)
            metrics |= {} if accuracy is None else {"auxiliary_accuracy": accuracy}
        elif isinstance(self.head, SelfPredictionHead):
            assert batch.following is not None
            loss, metrics["auxiliary_cosine"] = self._self_prediction(batch.following, features, batch.weight)
        else:
            loss = losses.regression_loss(self.head(features, batch.action), batch.reward, batch.weight)
        metrics["auxiliary_loss"] = loss.detach()
        return self.weight * loss, metrics

    def _self_prediction(self, following: Following, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [] and mean cosine [] of the steps that follow observations with these features [B, F]."""
        assert self.keys is not None
        steps = following.action.shape[1]
        with torch.no_grad():
            target = self.keys(self.prepare(map_obs(lambda part: part.flatten(0, 1), following.obs)))
        target = target.view(-1, steps, target.shape[1])
        return losses.self_prediction_loss(self.head(features, following.action), target, following.valid, weight)

    def step(self, learning_rate: float) -> None:
        """Move the head by the gradient that the agent's update left there, and the key encoder after the backbone."""
        if self.max_grad_norm is not None:
            clip_norm(self.weights.grad, self.max_grad_norm)
        optimizers.set_learning_rate(self.optimizer, learning_rate)
        self._step()
        self.weights.grad.zero_()
        if self.keys is not None:
            self._follow(self.momentum)

    @torch.no_grad()
    def redraw(self, keep: float, generator: torch.Generator) -> None:
        """Begin anew with new weights, of which a transition model takes only a share of 1 - `keep`."""
        fresh = copy.deepcopy(self.head).cpu()
        initialise(fresh, self._init, activation="relu", generator=generator)
        for (name, parameter), new in zip(self.head.named_parameters(), fresh.parameters(), strict=True):
            parameter.lerp_(new.to(parameter.device), 1.0 - keep if name.startswith("transition.") else 1.0)
        optimizers.forget(self.optimizer)
        self.restart()

    @torch.no_grad()
    def _follow(self, momentum: float) -> None:
        if self.keys is None:
            return
        encoder = self._encoder()
        for mine, theirs in zip(self.keys.parameters(), encoder.parameters(), strict=True):
            mine.lerp_(theirs, 1.0 - momentum)
        copy_buffers(encoder, self.keys)

    def state_dict(self) -> dict[str, Any]:
        state = {
            "head": copy.deepcopy(dict(self.head.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "generator": self.generator.get_state(),
        }
        return state if self.keys is None else {**state, "keys": copy.deepcopy(dict(self.keys.state_dict()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.head.load_state_dict(state["head"])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        restore_generator(self.generator, state["generator"])
        if self.keys is not None:
            self.keys.load_state_dict(state["keys"])


def map_shape(backbone: nn.Module, space: gym.Space[Any], *, device: torch.device) -> tuple[int, int, int] | None:
    """Shape [C, h, w] of the feature map that a backbone's features are, if they are one."""
    if not isinstance(backbone, ConvNet | MinAtarCNN | ImageBackbone):
        return None
    seen = map_obs(lambda part: part.to(device), sampled(space, 1, generator=torch.Generator()))
    with torch.no_grad():
        channels, height, width = backbone.mapped(seen).shape[1:]
    return (channels, height, width) if channels * height * width == backbone.out_features else None


def build_auxiliary(
    config: Any,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    backbone: nn.Module,
    *,
    seed: np.random.SeedSequence,
    prepare: Callable[[Obs], Obs] = lambda obs: obs,
) -> Auxiliary | None:
    """The auxiliary loss that a config asks for, if any; only then is a seed spawned."""
    if config.auxiliary == "none":
        return None
    return Auxiliary(config, observation_space, action_space, backbone, prepare=prepare, seed=seed.spawn(1)[0])


class Actions:
    """The actions of a space as targets of a prediction with `outputs` numbers.

    Raises:
        ValueError: a space other than Discrete, MultiDiscrete, MultiBinary and Box.
    """

    def __init__(self, space: gym.Space[Any], *, device: torch.device) -> None:
        self.space = space
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            self.sizes = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec).flatten().tolist()
            self.start = torch.from_numpy(np.asarray(space.start, np.int64).flatten()).to(device)
            self.outputs = sum(self.sizes)
        elif isinstance(space, spaces.Box):
            low, high = space.low.flatten().astype(np.float32), space.high.flatten().astype(np.float32)
            bounded = np.isfinite(low) & np.isfinite(high) & (low < high)
            lower, upper = np.where(bounded, low, -1.0) / 2, np.where(bounded, high, 1.0) / 2
            centre, reach = (lower + upper).astype(np.float32), (upper - lower).astype(np.float32)
            self.centre, self.reach = torch.from_numpy(centre).to(device), torch.from_numpy(reach).to(device)
            self.outputs = len(low)
        elif isinstance(space, spaces.MultiBinary):
            self.outputs = math.prod(space.shape)
        else:
            raise ValueError(f"auxiliary inverse-dynamics cannot predict {space}")

    def loss(self, output: Tensor, action: Tensor, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Loss [] of a prediction [B, outputs] of actions [B, ...], and its accuracy [] if they are choices.

        Those of a finite Box are scaled to [-1, 1].
        """
        action = action.reshape(len(action), -1)
        if isinstance(self.space, spaces.Box):
            return losses.regression_loss(output, (action.float() - self.centre) / self.reach, weight), None
        if isinstance(self.space, spaces.MultiBinary):
            return losses.bits_loss(output, action.float(), weight)
        return losses.choices_loss(output, action.long() - self.start, self.sizes, weight)
