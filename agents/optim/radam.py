"""RAdam whose step is one fused kernel, unlike torch's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gymnast.agents.optim.fused_adam import fused_adam

RECTIFIED_FROM = 5.0
"""Length of the average of squares (rho) above which it is used."""


def rectification(step: int, beta2: float) -> float:
    """r_t of a step that is counted from 1, 0 while the variance cannot be estimated (Liu et al. 2020, algorithm 2)."""
    longest, kept = 2.0 / (1.0 - beta2) - 1.0, beta2**step
    length = longest - 2.0 * step * kept / (1.0 - kept)
    if length <= RECTIFIED_FROM:
        return 0.0
    share = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
    return math.sqrt(share)


class RAdam(torch.optim.Optimizer):
    """Rectified Adam (Liu et al. 2020, algorithm 2): Adam with the step size lr * r_t.

    While r_t is not defined (the first steps) it is only momentum, lr * m / (1 - beta1**t). Epsilon is added to the
    root of the corrected square, as in Adam. On the CPU the host counts the steps; elsewhere the device does, and
    nothing is read from it, so that a step may be part of a CUDA graph.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        capturable: bool = False,
    ) -> None:
        # Fused, so that a loaded state counts its steps on the parameter's device.
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "capturable": capturable, "fused": True})
        self._factors: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), device=parameter.device)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                if parameter.device.type == "cpu":
                    self._by_host(parameter, state, group)
                else:
                    self._by_device(parameter, state, group)

    def _by_host(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        factor = rectification(step, beta2)
        fused_adam([parameter], [state], group, float(group["lr"]) * factor)
        if factor == 0.0:
            parameter.add_(state["exp_avg"], alpha=-float(group["lr"]) / (1.0 - beta1**step))

    def _by_device(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        if self._factors is None or self._factors.device != parameter.device:
            beta1, beta2 = group["betas"]
            self._factors = factors(beta1, beta2, parameter.device)
        row = state["step"].long().clamp(max=len(self._factors) - 1).view(1)
        rectified, momentum = (self._factors.index_select(0, row) * group["lr"]).view(2).unbind(0)
        fused_adam([parameter], [state], group, rectified)
        parameter.addcmul_(state["exp_avg"], momentum, value=-1.0)


def factors(beta1: float, beta2: float, device: torch.device) -> Tensor:
    """r_t and, if it is 0, the correction of the momentum, [steps, 2]; the last row applies to all later steps."""
    steps = math.ceil(math.log(1e-12) / math.log(beta2))
    rows = [(0.0, 0.0)]
    for step in range(1, steps + 1):
        factor = rectification(step, beta2)
        rows.append((factor, 0.0 if factor else 1.0 / (1.0 - beta1**step)))
    return torch.tensor(rows, device=device)
