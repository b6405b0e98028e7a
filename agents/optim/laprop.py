"""LaProp (Ziyin et al. 2020), and clipping of gradients by the size of the weights (Brock et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LaProp(torch.optim.Optimizer):
    """Normalise the gradient by the root of its running square, then average it; in Adam's order momentum comes first.

    square and mean are running averages of grad**2 and of grad / (sqrt(square) + eps), corrected for their start at 0;
    the step is lr * mean (Ziyin et al. 2020, algorithm 1). The device counts the steps, and nothing is read from it, so
    that a step may be part of a CUDA graph.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 4e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        *,
        capturable: bool = False,
    ) -> None:
        # Fused, so that a loaded state counts its steps on the parameter's device.
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "capturable": capturable, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                grad, state = parameter.grad, self.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), device=parameter.device)
                    state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                state["square"].mul_(second).addcmul_(grad, grad, value=1 - second)
                root = (state["square"] / _weight(second, state["step"])).sqrt_().add_(group["eps"])
                state["mean"].lerp_(grad / root, 1 - first)
                parameter.sub_(state["mean"] * (group["lr"] / _weight(first, state["step"])))


def _weight(beta: float, steps: Tensor) -> Tensor:
    """1 - beta**steps, the sum of the weights in a running average, without loss of digits."""
    return -torch.expm1(steps * math.log(beta)) if beta > 0.0 else torch.ones_like(steps)


@torch.no_grad()
def clip_adaptively(parameters: list[Tensor], gradients: list[Tensor], *, clip: float, eps: float = 1e-3) -> None:
    """Scale each gradient in place to a norm of at most `clip` times its weights' norm, which counts at least `eps`."""
    weights, sizes = torch._foreach_norm(parameters), torch._foreach_norm(gradients)
    allowed = torch.stack(weights).clamp_(min=eps).mul_(clip)
    scales = (allowed / torch.stack(sizes).clamp_(min=1e-30)).clamp_(max=1.0)
    torch._foreach_mul_(gradients, list(scales.unbind()))
