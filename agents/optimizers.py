"""Optimizers by name, over one flat parameter."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

NOT_FLAT = {
    "lbfgs": "it needs a closure",
    "sparseadam": "it needs sparse gradients",
    "adafactor": "it treats a matrix as a whole, and the parameters are one flat vector",
    "muon": "it treats a matrix as a whole, and the parameters are one flat vector",
}


class NatureRMSprop(torch.optim.Optimizer):
    """RMSProp as DQN's paper has it: centred, with epsilon inside the root (Graves 2013, eq. 38-40).

    mean and square are running averages of the gradient and of its square; the step is
    lr * grad / sqrt(square - mean**2 + eps). The defaults are those of Mnih et al. 2015 (extended data table 1).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2.5e-4,
        *,
        alpha: float = 0.95,
        eps: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            keep = group["alpha"]
            for parameter in group["params"]:
                grad, state = parameter.grad, self.state[parameter]
                if not state:
                    state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["mean"].lerp_(grad, 1 - keep)
                state["square"].mul_(keep).addcmul_(grad, grad, value=1 - keep)
                root = torch.addcmul(state["square"], state["mean"], state["mean"], value=-1).add_(group["eps"]).sqrt_()
                parameter.addcdiv_(grad, root, value=-group["lr"])


def names() -> tuple[str, ...]:
    """What `optimizer` may be: torch's elementwise optimizers in lower case, and the papers' RMSProp."""
    classes = [name for name, value in vars(torch.optim).items() if _is_optimizer(value)]
    return (*sorted(name.lower() for name in classes if name.lower() not in NOT_FLAT), "nature-rmsprop")


def check(name: str, eps: float | None) -> None:
    """ValueError in one line where the optimizer is unknown, does not fit, or has no epsilon to set."""
    if name in NOT_FLAT:
        raise ValueError(f"optimizer {name} does not fit: {NOT_FLAT[name]}; use one of {', '.join(names())}")
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"optimizer must be one of {', '.join(names())}, got {name!r}{hint}")
    if eps is not None and "eps" not in _parameters(name):
        raise ValueError(f"optimizer_eps does not fit: {name} has no epsilon")


def build(name: str, parameter: nn.Parameter, *, lr: float, eps: float | None = None) -> torch.optim.Optimizer:
    """An optimizer of one parameter, in its fused form where torch has one; `eps` None is the optimizer's own."""
    check(name, eps)
    options: dict[str, Any] = {"lr": lr}
    if eps is not None:
        options["eps"] = eps
    if "fused" in _parameters(name) and parameter.device.type in ("cpu", "cuda"):
        options["fused"] = True
    optimizer: torch.optim.Optimizer = _class(name)([parameter], **options)
    return optimizer


def stepper(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """The optimizer's `step` without torch's wrappers, whose look for hooks and profilers takes as long as the step."""
    step = inspect.unwrap(type(optimizer).step)

    def run() -> None:
        with torch.no_grad():
            step(optimizer)

    return run


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer


def _class(name: str) -> Any:
    if name == "nature-rmsprop":
        return NatureRMSprop
    return next(value for key, value in vars(torch.optim).items() if key.lower() == name and _is_optimizer(value))


def _parameters(name: str) -> set[str]:
    return set(inspect.signature(_class(name).__init__).parameters)
