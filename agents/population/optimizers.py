"""Optimizers of many agents at once: parameters [M, P], and a learning rate for all or one for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gymnast.agents.optim import optimizers
from gymnast.agents.optim.radam import factors


class MemberAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1), whose learning rate may be a tensor [M, 1] for parameters [M, P]."""

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-3, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                self._move(parameter, self.state[parameter], group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; torch does not move the step counter to the parameters' device, where GPU graphs need it."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            state["step"] = state["step"].to(parameter.device)

    def _move(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        of_mean, root = _moments(parameter, state, group)
        parameter.addcdiv_(state["mean"], root.div_(-(group["lr"] / of_mean)))


class MemberRAdam(MemberAdam):
    """`RAdam`, whose learning rate may be a tensor [M, 1] for parameters [M, P]."""

    _factors: Tensor | None = None

    def _move(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        if self._factors is None or self._factors.device != parameter.device:
            first, second = group["betas"]
            self._factors = factors(first, second, parameter.device)
        of_mean, root = _moments(parameter, state, group)
        row = state["step"].long().clamp(max=len(self._factors) - 1).view(1)
        rectified, momentum = self._factors.index_select(0, row).view(2).unbind(0)
        parameter.sub_(group["lr"] * (rectified / of_mean) * state["mean"] / root)
        parameter.sub_(group["lr"] * momentum * state["mean"])


def _moments(parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Count a step and average the gradient and its square; the correction of the mean [], and the divisor [M, P]."""
    grad, (first, second) = parameter.grad, group["betas"]
    assert grad is not None
    if not state:
        # In float32 1 - 0.999**step would have a relative error of 5e-5 at first.
        state["step"] = torch.zeros((), dtype=torch.float64, device=parameter.device)
        state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    state["step"] += 1
    state["mean"].lerp_(grad, 1 - first)
    state["square"].mul_(second).addcmul_(grad, grad, value=1 - second)
    of_mean, of_square = ((1 - keep ** state["step"]).to(grad.dtype) for keep in (first, second))
    return of_mean, (state["square"] / of_square).sqrt_().add_(group["eps"])


PER_MEMBER: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": MemberAdam,
    "radam": MemberRAdam,
    "nature-rmsprop": optimizers.NatureRMSprop,
    "a3c-rmsprop": optimizers.A3CRMSprop,
}
"""Optimizers whose learning rate may differ between members."""


def build(
    name: str, parameter: nn.Parameter, *, rate: float | Tensor, eps: float | None, captured: bool
) -> torch.optim.Optimizer:
    """An optimizer of parameters [M, P] by name; `rate` is a number for all members, or a tensor [M, 1].

    Every optimizer is elementwise, so a number gives each member its own steps. ValueError if the named one does not
    take a tensor.
    """
    if not isinstance(rate, Tensor):
        return optimizers.build(name, parameter, lr=rate, eps=eps, captured=captured)
    if name not in PER_MEMBER:
        raise ValueError(f"learning_rate can vary between members only with {', '.join(PER_MEMBER)}, not with {name}")
    options: dict[str, Any] = {"lr": rate} if eps is None else {"lr": rate, "eps": eps}
    return PER_MEMBER[name]([parameter], **options)
