"""Training and evaluation mode: the one place that decides which of them a network is in.

A network is in evaluation mode from the moment it is built: acting, greedily or to explore, target networks, values of
successors and everything else except updates. So an output does not depend on other rows of its batch, and
evaluation changes nothing. Only `Update` switches to training mode, around a loss and its gradient, and only for a
network that `depends_on_mode`; the others pay nothing. A loss may put a network that it learns against into training
mode too (`opposing`). Of gymnast's own layers only `OWN_DROPOUT` and `BatchRenorm` depend on it (noise
is an argument). A frozen part of a network stays in evaluation mode during updates too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gymnast.networks.layers.cells import VariationalDropout, Zoneout
from gymnast.networks.layers.renorm import BatchRenorm

M = TypeVar("M", bound=nn.Module)

SAME_IN_BOTH = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose2d,
    nn.Embedding,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softmax,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    nn.ParameterList,
    nn.ParameterDict,
)
"""torch's modules that compute the same in both modes; any other one is taken to depend on it."""


DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""torch's layers of dropout."""
OWN_DROPOUT = (VariationalDropout, Zoneout)
"""gymnast's own layers that depend on the mode."""


def acting(network: M) -> M:
    """The network, in evaluation mode.

    Raises:
        ValueError: a BatchNorm without running statistics, whose output in evaluation mode depends on the other rows.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"{type(module).__name__} ({name}) has no running statistics, so that an action would depend on the "
                "other rows of its batch; use track_running_stats=True, or LayerNorm"
            )
    network.eval()
    return network


def has_dropout(network: nn.Module) -> bool:
    """Whether `with_dropout` changes what a network computes."""
    return any(isinstance(module, (*DROPOUT, *OWN_DROPOUT)) for module in network.modules())


@contextmanager
def with_dropout(network: nn.Module) -> Iterator[None]:
    """The network with its dropout at work, everything else as in evaluation mode."""
    layers = [module for module in network.modules() if isinstance(module, (*DROPOUT, *OWN_DROPOUT))]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()


def freeze(module: M) -> M:
    """The module, whose parameters and running statistics no longer change: without gradients, in evaluation mode."""
    module.requires_grad_(False)
    module.frozen = True  # type: ignore[assignment]
    return module


def learning(network: nn.Module) -> None:
    """Put a network into training mode, except its frozen parts."""
    network.train()
    for module in network.modules():
        if getattr(module, "frozen", False):
            module.eval()


@contextmanager
def opposing(network: nn.Module) -> Iterator[None]:
    """A network in training mode and without gradients of its weights, while another one learns against it."""
    switches = depends_on_mode(network)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if switches:
        learning(network)
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        if switches:
            network.eval()


@contextmanager
def resting(network: nn.Module) -> Iterator[None]:
    """A network in evaluation mode, amid an update too."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        if training:
            learning(network)


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a layer normalises over the batch in training mode."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def depends_on_mode(network: nn.Module) -> bool:
    """Whether training mode may change a network's output, or its gradient requires it (cuDNN's LSTM and GRU)."""
    return any(_depends(module) for module in network.modules())


def _depends(module: nn.Module) -> bool:
    """Of one module without its children. Hooks may look at the mode (`torch.nn.utils.spectral_norm`)."""
    if module._forward_hooks or module._forward_pre_hooks:
        return True
    if isinstance(module, BatchRenorm):
        return True
    if isinstance(module, OWN_DROPOUT):
        return module.share > 0
    cls = type(module)
    return cls not in SAME_IN_BOTH and not cls.__module__.startswith("gymnast.networks.")
