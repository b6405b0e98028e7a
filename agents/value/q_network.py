"""Networks of action values: a backbone, and the head that the config selects."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.agents.encoder import Layers, make_backbone
from gymnast.agents.value.backup import Backup, GreedyBackup
from gymnast.agents.value.ensemble import EnsembleBackup, EnsembleValues
from gymnast.agents.value.munchausen import munchausen_backup
from gymnast.agents.value.values import (
    CategoricalValues,
    ImplicitValues,
    QuantileValues,
    RescaledValues,
    ScalarValues,
    Values,
)
from gymnast.networks.build import Backbone, chosen_name, default_sizes
from gymnast.networks.heads.ensemble import EnsembleHead, PriorNetwork
from gymnast.networks.heads.q import DuelingHead, ImplicitHead, QHead, QNetwork
from gymnast.networks.heads.recurrent_q import RecurrentQNetwork
from gymnast.networks.layers.gated_transformer import GatedTransformer
from gymnast.networks.layers.init import BATCH, initialise, lsuv
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.noisy import Linear, NoisyLayers
from gymnast.networks.layers.recurrent import Core, build_core
from gymnast.networks.layers.samples import sampled
from gymnast.networks.modes import acting

if TYPE_CHECKING:
    from gymnast.agents.value.dqn_config import DQNConfig
    from gymnast.agents.value.pqn_config import PQNConfig

NORMED_SIZES = (128, 128)
"""Units of an MLP whose layers are normalised."""


def q_network(
    backbone: Backbone,
    observation_space: gym.Space[Any],
    actions: int,
    config: DQNConfig,
    outputs: int,
    generator: torch.Generator,
) -> QNetwork:
    """Observations [B, ...] to [B, A, K]: K `outputs` for each of A `actions`; the generator draws its weights.

    The last fully connected layer is the head's, so that noise and streams are in it too, as in their papers; a
    recurrent layer is below it. A user's own backbone does not use `hidden_sizes`.
    """
    layers, hidden = q_layers(backbone, observation_space, config)
    base = make_backbone(backbone, observation_space, config, layers, generator=generator)
    features = int(base.out_features)  # type: ignore[arg-type]
    core = build_core(config, features)
    head, noise_size = _head(features if core is None else core.out_features, actions, outputs, hidden, config)
    initialise(head, config.init, activation=config.activation, generator=generator)
    fractions = config.quantiles if config.values == "implicit" else 0
    if isinstance(head, EnsembleHead) and config.prior_scale:
        prior = _prior(backbone, observation_space, actions, config, layers, hidden, generator)
        quantiles = config.quantiles if config.values in ("quantile", "implicit") else 1
        network: QNetwork = PriorNetwork(
            base, head, prior, scale=config.prior_scale, quantiles=quantiles, noise_size=noise_size, fractions=fractions
        )
    elif core is None:
        network = QNetwork(base, head, noise_size=noise_size, fractions=fractions)
    else:
        initialise(core, config.init, activation=None, generator=generator)
        network = RecurrentQNetwork(base, core, head, noise_size=noise_size, fractions=fractions)
    acting(network)
    if config.init == "lsuv":  # the backbone has its scale; the last hidden layers are the head's
        _scale_head(network, core, sampled(observation_space, BATCH, generator=generator))
    return network


@torch.no_grad()
def _scale_head(network: QNetwork, core: Core | GatedTransformer | None, obs: Obs) -> None:
    """`lsuv` of the head, by the features of observations [B, ...] without memory."""
    features = network.backbone(obs)
    if core is not None:
        features = core.step(features, features.new_zeros(len(features), core.memory_size))[0]
    lsuv(network.head, features)


def q_layers(
    backbone: Backbone, observation_space: gym.Space[Any], config: DQNConfig
) -> tuple[Layers, tuple[int, ...]]:
    """The layers of a backbone, and the units of the head's hidden layers, of which named backbones leave it one."""
    defaults = default_sizes(backbone, observation_space)
    sizes = config.hidden_sizes or defaults
    own = len(sizes) - 1 if defaults else 0
    return Layers(sizes[:own], config.activation), sizes[own:]


def normed_q_network(
    backbone: Backbone,
    observation_space: gym.Space[Any],
    actions: int,
    config: PQNConfig,
    generator: torch.Generator,
) -> QNetwork:
    """Observations [B, ...] to [B, A, 1]: all hidden layers are the backbone's, normalised if the config says so."""
    layers = normed_layers(backbone, observation_space, config)
    base = make_backbone(backbone, observation_space, config, layers, generator=generator)
    head = QHead(int(base.out_features), actions, 1)  # type: ignore[arg-type]
    initialise(head, config.init, activation=None, generator=generator)
    return acting(QNetwork(base, head))


def normed_layers(backbone: Backbone, observation_space: gym.Space[Any], config: PQNConfig) -> Layers:
    """The layers of a backbone."""
    defaults = default_sizes(backbone, observation_space)
    mlp = chosen_name(backbone, observation_space) == "mlp"
    sizes = config.hidden_sizes
    if sizes is None:
        sizes = NORMED_SIZES if mlp else defaults
    return Layers(sizes, config.activation, config.layer_norm)


def _head(
    features: int, actions: int, outputs: int, hidden: tuple[int, ...], config: DQNConfig
) -> tuple[nn.Module, int]:
    """The head, or an ensemble of heads, and how much noise its layers take."""
    noisy = NoisyLayers(config.noise, config.noisy_sigma)
    linear = noisy if config.noisy else Linear
    settings: dict[str, Any] = {"hidden": hidden, "activation": config.activation, "linear": linear}

    def one() -> QHead | DuelingHead:
        if config.dueling:
            return DuelingHead(features, actions, outputs, aggregation=config.dueling_aggregation, **settings)
        return QHead(features, actions, outputs, shared_bias=config.shared_bias, **settings)

    heads: list[Any] = [one() for _ in range(max(config.bootstrap_heads, 1))]
    if config.values == "implicit":
        offset = noisy.noise_size
        heads = [ImplicitHead(features, head, quantiles=config.quantiles, offset=offset) for head in heads]
    return EnsembleHead(heads) if config.bootstrap_heads else heads[0], noisy.noise_size


def _prior(
    backbone: Backbone,
    observation_space: gym.Space[Any],
    actions: int,
    config: DQNConfig,
    layers: Layers,
    hidden: tuple[int, ...],
    generator: torch.Generator,
) -> QNetwork:
    """A random network with a layer structure like that of the heads: one number per action and head, [B, A, H]."""
    own = copy.deepcopy(backbone) if isinstance(backbone, nn.Module) else backbone
    base = make_backbone(own, observation_space, config, layers, generator=generator)
    features = int(base.out_features)  # type: ignore[arg-type]
    made = [
        QHead(features, actions, 1, hidden=hidden, activation=config.activation) for _ in range(config.bootstrap_heads)
    ]
    head = EnsembleHead(made, share=1.0)
    initialise(head, config.init, activation=config.activation, generator=generator)
    return QNetwork(base, head)


def noise_buffer(network: QNetwork, config: DQNConfig, device: torch.device) -> Tensor | None:
    """The noise of an update: online network, target network, and online network in the next state; [3, 1, C].

    The weights' noise is shared by a batch; implicit quantiles draw fractions for each sample.
    """
    steps = 1 if config.recurrent == "none" else config.sequence_length + config.n_step
    size = network.noise_size + config.batch_size * steps * network.fractions
    return torch.zeros((3, 1, size), device=device) if size else None


def build_backup(config: DQNConfig, values: Values | EnsembleValues, key: int) -> Backup:
    """The backup that a config names; `key` decides which heads of an ensemble learn from which transitions."""
    if isinstance(values, EnsembleValues):
        each = build_backup(config, values.each, key)
        return EnsembleBackup(each, values.heads, probability=config.bootstrap_probability, key=key)
    if config.munchausen:
        return munchausen_backup(config, values)
    return GreedyBackup(values, config.double)


def build_values(config: DQNConfig, device: torch.device) -> Values | EnsembleValues:
    """The interpretation that a config names."""
    each = _values(config, device)
    return EnsembleValues(each, config.bootstrap_heads) if config.bootstrap_heads else each


def _values(config: DQNConfig, device: torch.device) -> Values:
    """That of one head."""
    if config.values == "categorical":
        return CategoricalValues(atoms=config.atoms, v_min=config.v_min, v_max=config.v_max, device=device)
    if config.values == "quantile":
        return QuantileValues(quantiles=config.quantiles, kappa=config.kappa, device=device)
    if config.values == "implicit":
        return ImplicitValues(kappa=config.kappa)
    return RescaledValues(config.loss) if config.values == "rescaled" else ScalarValues(config.loss)
