"""What keeps a discriminator smooth: penalties of its gradient, clipped weights, spectral norms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gymnast.networks.modes import has_batch_norm

Score = Callable[[Tensor], Tensor]
"""From examples [B, ...] to scores [B], each of its own example."""
SMALL = 1e-12
ORIGINAL = ".parametrizations.weight.original"
"""End of the name of a weight in a state, as it is before it is divided by its spectral norm."""


def gradients(score: Score, examples: Tensor) -> Tensor:
    """d score / d example, each example's flattened, [B, K]; it has a gradient itself."""
    inputs = examples.detach().requires_grad_()
    (found,) = torch.autograd.grad(score(inputs).sum(), inputs, create_graph=True)
    return found.flatten(1)


def interpolated(score: Score, real: Tensor, fake: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(|gradient| - 1)^2 between pairs of examples [B, ...], mean over the batch (Gulrajani et al. 2017, eq. 3).

    The second number is the mean norm of the gradients.
    """
    share = torch.rand(len(real), generator=generator, device=real.device).view(-1, *[1] * (real.dim() - 1))
    squares = gradients(score, real + share * (fake - real)).square().sum(1)
    norm = (squares + SMALL).sqrt()  # at 0 a root has no gradient
    return (norm - 1).square().mean(), norm.detach().mean()


def r1(score: Score, real: Tensor) -> Tensor:
    """Half the squared norm of the gradient at real examples [B, ...], mean over the batch (Mescheder et al. 2018)."""
    return 0.5 * gradients(score, real).square().sum(1).mean()


@torch.no_grad()
def clip_(parameters: Iterable[nn.Parameter], bound: float) -> None:
    """Clip all weights in place to [-bound, bound] (Arjovsky et al. 2017, algorithm 1)."""
    for parameter in parameters:
        parameter.clamp_(-bound, bound)


def normalise_spectra(module: nn.Module) -> None:
    """Divide the weights of all linear and convolutional layers by their largest singular value (Miyato et al. 2018).

    Each pass in training mode refines it by a step of the power method.

    Raises:
        ValueError: weights that are constrained already.
    """
    for name, layer in list(module.named_modules()):
        if parametrize.is_parametrized(layer):
            raise ValueError(f"spectral_norm: the weights of {name} are constrained already; leave out network.norm")
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            parametrizations.spectral_norm(layer)


def with_spectra(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a module after `normalise_spectra` as that of a module before: the normalised weights themselves."""
    found = {}
    for name, value in state.items():
        layer, original, rest = name.partition(ORIGINAL)
        if original and not rest:
            prefix = f"{layer}.parametrizations.weight.0"
            u, v = state[f"{prefix}._u"], state[f"{prefix}._v"]
            value, name = value / torch.vdot(u, torch.mv(value.flatten(1), v)), f"{layer}.weight"
        elif ".parametrizations.weight.0." in name:
            continue
        found[name] = value
    return found


def check_own_gradients(module: nn.Module, what: str) -> None:
    """ValueError if the score of an example depends on the others of its batch."""
    if has_batch_norm(module):
        raise ValueError(
            f"{what} is of each example's own gradient, and batch normalisation mixes those of a batch; "
            "use another network.norm, such as layer"
        )
