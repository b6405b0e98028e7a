"""Adam's step by torch's fused kernel alone, without what torch's optimizer does around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def fused_adam(
    parameters: Sequence[Tensor], states: Sequence[Mapping[str, Tensor]], group: Mapping[str, Any], lr: Any
) -> None:
    """Step parameters by their gradients (Kingma & Ba 2015), in place.

    A state has the averages `exp_avg` and `exp_avg_sq` of the parameter's shape, and `step` [], this step included.
    Betas and epsilon are the group's; `lr` is a number or a tensor [].
    """
    beta1, beta2 = group["betas"]
    gradients: Any = [parameter.grad for parameter in parameters]
    torch._fused_adam_(
        list(parameters),
        gradients,
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=0.0,
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
