"""Optimizers by name, over one flat parameter."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gymnast.agents.optim.fused_adam import fused_adam
from gymnast.agents.optim.laprop import LaProp
from gymnast.agents.optim.radam import RAdam
from gymnast.networks.fast.flat import FlatParameters

NOT_FLAT = {
    "lbfgs": "it needs a closure",
    "sparseadam": "it needs sparse gradients",
    "adafactor": "it treats a matrix as a whole, and the parameters are one flat vector",
    "muon": "it treats a matrix as a whole, and the parameters are one flat vector",
}

FORMS = ("foreach", "fused", "capturable", "differentiable")
"""Arguments of torch's optimizers that choose how a step is computed."""
FROM_ZERO = ("adam", "adamw", "radam", "rmsprop", "nature-rmsprop", "sgd")
"""Optimizers whose statistics begin at 0."""
CAPTURED = ("sgd", "nature-rmsprop", "a3c-rmsprop")
"""Optimizers that need no `capturable` for a CUDA graph."""


class NatureRMSprop(torch.optim.Optimizer):
    """RMSProp as in DQN's paper: centred, with epsilon inside the root (Graves 2013, eq. 38-40).

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
                parameter.addcdiv_(grad, root.div_(-group["lr"]))  # lr may be a tensor, which `value` may not


class A3CRMSprop(torch.optim.Optimizer):
    """RMSProp as in A3C's paper: not centred, with epsilon inside the root (Mnih et al. 2016, eq. 8 and 9).

    square is a running average of the gradient's square; the step is lr * grad / sqrt(square + eps). It starts at 1,
    as in the code of that time, so that the first steps are not the largest.
    """

    def __init__(self, params: Any, lr: float = 7e-4, *, alpha: float = 0.99, eps: float = 1e-5) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            keep = group["alpha"]
            for parameter in group["params"]:
                grad, state = parameter.grad, self.state[parameter]
                if not state:
                    state["square"] = torch.ones_like(parameter)
                square = state["square"].mul_(keep).addcmul_(grad, grad, value=1 - keep)
                parameter.addcdiv_(grad, (square + group["eps"]).sqrt_().div_(-group["lr"]))


PAPERS = {"nature-rmsprop": NatureRMSprop, "a3c-rmsprop": A3CRMSprop, "laprop": LaProp, "radam": RAdam}
"""Optimizers from papers that torch lacks, or lacks in a fused form."""


def names() -> tuple[str, ...]:
    """Valid names of `optimizer`: torch's elementwise optimizers in lower case, and the papers' RMSProp."""
    classes = [name for name, value in vars(torch.optim).items() if _is_optimizer(value)]
    torchs = {name.lower() for name in classes} - NOT_FLAT.keys() - PAPERS.keys()
    return (*sorted(torchs), *PAPERS)


def check(name: str, eps: float | None, *, captured: bool = False) -> None:
    """Raise ValueError if the optimizer is unknown, cannot be used, or has no epsilon to set.

    `captured`: its step will be part of a CUDA graph.
    """
    if name in NOT_FLAT:
        raise ValueError(f"optimizer {name} cannot be used: {NOT_FLAT[name]}; use one of {', '.join(names())}")
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"optimizer must be one of {', '.join(names())}, got {name!r}{hint}")
    if eps is not None and "eps" not in _parameters(name):
        raise ValueError(f"optimizer_eps has no effect: {name} has no epsilon")
    if captured and name not in CAPTURED and "capturable" not in _parameters(name):
        raise ValueError(f"cuda_graphs cannot be combined with optimizer {name}, which steps on the host; use adam")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError for an argument that the optimizer does not take."""
    known = sorted(_parameters(name) - {"self", "params", "lr", *FORMS})
    for key in options:
        if key not in known:
            raise ValueError(f"optimizer {name} has no option {key}; its options are {', '.join(known)}")


def build(
    name: str,
    parameter: nn.Parameter,
    *,
    lr: float,
    eps: float | None = None,
    captured: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> torch.optim.Optimizer:
    """An optimizer of one parameter, in its fused form if torch has one; `eps` None means the optimizer's own.

    `captured`: its step will be part of a CUDA graph, so the learning rate is a tensor. `more` are further arguments.
    """
    return build_groups(name, [[parameter]], lr=lr, eps=eps, captured=captured, more=more)


def build_groups(
    name: str,
    groups: Sequence[Sequence[nn.Parameter]],
    *,
    lr: float,
    eps: float | None = None,
    captured: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> torch.optim.Optimizer:
    """`build` for groups of parameters, each with its own learning rate, at first `lr` for all."""
    check(name, eps, captured=captured)
    check_options(name, more)
    parameter = groups[0][0]
    options: dict[str, Any] = {"lr": lr, **more}
    if eps is not None:
        options["eps"] = eps
    if "fused" in _parameters(name) and parameter.device.type in ("cpu", "cuda"):
        options["fused"] = True
    elif captured and "foreach" in _parameters(name):
        options["foreach"] = True  # the plain form reads the learning rate on the host
    if captured and "capturable" in _parameters(name):
        options["capturable"] = True
    own: list[dict[str, Any]] = [{"params": list(group)} for group in groups]
    if captured:
        for settings in own:
            settings["lr"] = torch.tensor(lr, device=parameter.device)
    optimizer: torch.optim.Optimizer = _untraced(_class(name))(own, **options)
    return optimizer


class OptimizerConfig(Protocol):
    """The settings of an agent's optimizer."""

    @property
    def optimizer(self) -> str: ...
    @property
    def optimizer_eps(self) -> float | None: ...


def of_agent(config: OptimizerConfig, weights: FlatParameters, lr: float) -> torch.optim.Optimizer:
    """The optimizer of an agent's weights, one group for each of theirs, as its config has it."""
    captured = bool(getattr(config, "cuda_graphs", False))
    return build_groups(config.optimizer, weights.groups, lr=lr, eps=config.optimizer_eps, captured=captured)


@cache
def _untraced(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The class without torch's wrappers of these methods, whose first call imports Dynamo and takes a second.

    They keep Dynamo from tracing through an optimizer, which our graphs never do.
    """
    names = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")
    return type(kind.__name__, (kind,), {name: inspect.unwrap(getattr(kind, name)) for name in names})


def stepper(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """The optimizer's `step` without torch's wrappers, whose checks for hooks and profilers take as long as it."""
    step = inspect.unwrap(type(optimizer).step)

    def run() -> None:
        with torch.no_grad():
            step(optimizer)

    if isinstance(optimizer, torch.optim.Adam) and all(_is_plain_adam(group) for group in optimizer.param_groups):
        return partial(_step_adam, optimizer, run)
    return run


def _is_plain_adam(group: Mapping[str, Any]) -> bool:
    """Whether a group's step is `_step_adam`'s: fused, on the CPU, without torch's options."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in group["params"])
    options = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay", "weight_decay")
    return bool(on_cpu and group["fused"] and not any(group[name] for name in options))


@torch.no_grad()
def _step_adam(optimizer: torch.optim.Adam, first: Callable[[], None]) -> None:
    """torch's fused step by the kernel alone: what is around it takes as long for a small network's parameters."""
    if not optimizer.state:
        first()
        return
    for group in optimizer.param_groups:
        states = [optimizer.state[parameter] for parameter in group["params"]]
        for state in states:
            state["step"] += 1
        fused_adam(group["params"], states, group, group["lr"])


@torch.no_grad()
def forget(optimizer: torch.optim.Optimizer) -> None:
    """Set its statistics to 0, where those of `FROM_ZERO` begin; in place, for compiled steps hold their addresses."""
    for state in optimizer.state.values():
        for value in state.values():
            if value is not None:  # plain SGD has no momentum
                value.zero_()


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float, *, group: int = 0) -> None:
    """Set the learning rate of a group's next steps."""
    settings = optimizer.param_groups[group]
    if isinstance(settings["lr"], torch.Tensor):
        settings["lr"].fill_(value)
    else:
        settings["lr"] = value


def state_of(optimizer: torch.optim.Optimizer, weights: FlatParameters | None = None) -> dict[str, Any]:
    """A copy of its state, with the learning rate as a number, and the layout of the parameters that it belongs to."""
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        group["lr"] = float(group["lr"])
    if weights is None:
        return state
    if len(weights.spans) > 1 and state["state"]:
        state["state"] = {0: _joined(state["state"], weights)}
    return {**state, "layout": weights.layout}


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any], weights: FlatParameters | None = None) -> None:
    """Load a state except the settings, which are the config's: captured steps and others load each other's.

    With `weights` its parts are matched by the names of the parameters, wherever they lie. Raises ValueError if a
    name is missing or unknown; states of earlier builds have no names.
    """
    kept = {"state": copy.deepcopy(state["state"]), "param_groups": optimizer.state_dict()["param_groups"]}
    layout = state.get("layout")
    if weights is not None and layout is not None and layout != weights.layout:
        kept["state"] = {key: _arranged(part, layout, weights.layout) for key, part in kept["state"].items()}
    if weights is not None and len(weights.spans) > 1 and kept["state"]:
        kept["state"] = _divided(kept["state"][0], weights)
    optimizer.load_state_dict(kept)


def _spans(weights: FlatParameters) -> list[tuple[int, int]]:
    """Where each parameter of an optimizer lies in the flat ones, in the optimizer's order."""
    return [span for spans in weights.spans for span in spans]


def _joined(states: dict[int, dict[str, Any]], weights: FlatParameters) -> dict[str, Any]:
    """The states of several groups as that of one flat parameter."""
    spans, size = _spans(weights), weights.data.numel()
    joined = dict(states[0])
    for name, value in joined.items():
        if isinstance(value, Tensor) and value.dim() == 1:
            joined[name] = value.new_empty(size)
            for number, (start, end) in enumerate(spans):
                joined[name][start:end] = states[number][name]
    return joined


def _divided(state: dict[str, Any], weights: FlatParameters) -> dict[int, dict[str, Any]]:
    """The state of one flat parameter as those of several groups; numbers, such as steps, are each group's own."""

    def part(value: Any, start: int, end: int) -> Any:
        if not isinstance(value, Tensor):
            return value
        return (value[start:end] if value.dim() == 1 else value).clone()

    return {
        number: {name: part(value, *span) for name, value in state.items()}
        for number, span in enumerate(_spans(weights))
    }


def _arranged(state: dict[str, Any], layout: list[list[Any]], wanted: list[list[Any]]) -> dict[str, Any]:
    """The flat tensors of a state in the order of another layout."""
    if sorted(map(tuple, layout)) != sorted(map(tuple, wanted)):
        raise ValueError("the optimizer's state is of other parameters than the network has")
    counts = [count for _, count in layout]

    def arranged(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.shape != (sum(counts),):
            return value
        parts = dict(zip((name for name, _ in layout), torch.split(value, counts), strict=True))
        return torch.cat([parts[name] for name, _ in wanted])

    return {name: arranged(value) for name, value in state.items()}


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer


def _class(name: str) -> Any:
    if name in PAPERS:
        return PAPERS[name]
    return next(value for key, value in vars(torch.optim).items() if key.lower() == name and _is_optimizer(value))


def _parameters(name: str) -> set[str]:
    return set(inspect.signature(_class(name).__init__).parameters)
