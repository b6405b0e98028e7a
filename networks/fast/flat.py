"""All parameters of a module in one flat tensor, so that clipping, optimizer and target update are one call each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """The parameters of a module and their gradients as views of two flat tensors [P].

    Convolutions with weights in channels-last order keep it. The module works as before, its `state_dict` keeps its
    names, and loading one writes into the flat tensor. Move the module to its device first; a module that shares
    parameters keeps sharing them.

    The parameters of the modules `apart` are a second group for an optimizer, with a learning rate of their own.
    `memory` are the two flat tensors, if they exist already.

    Raises:
        ValueError: no parameters, or parameters of several dtypes or devices.
    """

    def __init__(
        self, module: nn.Module, *, apart: Sequence[nn.Module] = (), memory: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.module = module
        named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        parameters = list(named.values())
        if len({(parameter.dtype, parameter.device) for parameter in parameters}) != 1:
            raise ValueError("a network needs trainable parameters, all of one dtype and on one device")
        self.learned = parameters
        """The parameters, in the order of `data`."""
        self.layout = [[name, parameter.numel()] for name, parameter in named.items()]
        """Name and size of each parameter, in the order of `data`."""
        if memory is None:
            size = sum(parameter.numel() for parameter in parameters)
            data = torch.empty(size, dtype=parameters[0].dtype, device=parameters[0].device)
            memory = data, torch.zeros_like(data)
        self.data, self.grad = memory
        self.added = self.grad
        """The part of `grad` that a backward pass adds to, so that it is zeroed before; the rest is overwritten."""
        self.parameter = nn.Parameter(self.data)
        """The flat tensor as a single parameter for an optimizer."""
        self.parameter.grad = self.grad
        self.spans = _spans(parameters, {id(one) for part in apart for one in part.parameters()})
        """Start and end in `data` of the parameters of each group, the second group being those of `apart`."""
        offset = 0
        for parameter in parameters:
            chosen = slice(offset, offset + parameter.numel())
            strides = _strides(parameter)
            view = self.data[chosen].as_strided(parameter.shape, strides)
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = self.grad[chosen].as_strided(parameter.shape, strides)
            offset = chosen.stop

    @property
    def groups(self) -> list[list[nn.Parameter]]:
        """The parameters of each group for an optimizer: all of `data` as one, or views of it if there are two groups.

        `data` and `grad` stay the memory of all of them.
        """
        return [[self.parameter]] if len(self.spans) == 1 else self.views(self.data)

    def views(self, data: Tensor) -> list[list[nn.Parameter]]:
        """Each group's parts of a tensor [P] in the order of `data`, as parameters with their parts of `grad`."""
        groups = [[nn.Parameter(data[start:end]) for start, end in spans] for spans in self.spans]
        for spans, parts in zip(self.spans, groups, strict=True):
            for (start, end), part in zip(spans, parts, strict=True):
                part.grad = self.grad[start:end]
        return groups

    def part(self, module: nn.Module) -> FlatParameters:
        """The parameters of a module inside this one, in the same memory, where they must follow each other.

        Raises:
            ValueError: they are not neighbours.
        """
        spans = _spans(self.learned, {id(one) for one in module.parameters()})
        if len(spans) == 1 or len(spans[1]) != 1:
            raise ValueError("the parameters of a part must follow each other")
        ((start, end),) = spans[1]
        return FlatParameters(module, memory=(self.data[start:end], self.grad[start:end]))

    def gradient(self, parameter: Tensor) -> Tensor:
        """The view of `grad` that belongs to a parameter of the module."""
        assert parameter.grad is not None
        return parameter.grad

    def flatten(self, values: Iterable[Tensor]) -> Tensor:
        """One tensor for each learned parameter as one flat tensor [P], in the order of `data`."""
        return torch.cat([_in_memory_order(value, like) for value, like in zip(values, self.learned, strict=True)])

    def freeze(self) -> FlatParameters:
        """Stop requiring gradients."""
        self.module.requires_grad_(False)
        self.parameter.requires_grad_(False)
        return self

    def follow(self, other: FlatParameters, tau: float = 1.0) -> None:
        """Move a fraction `tau` towards another module's parameters; 1 copies them."""
        if tau == 1.0:
            self.data.copy_(other.data)
        else:
            self.data.lerp_(other.data, tau)


def _spans(parameters: Sequence[nn.Parameter], apart: set[int]) -> list[list[tuple[int, int]]]:
    """Where the parameters of each group lie, neighbours joined: one group, or two if some are apart."""
    spans: list[list[tuple[int, int]]] = [[], []]
    start = 0
    for is_apart, run in itertools.groupby(parameters, lambda parameter: id(parameter) in apart):
        end = start + sum(parameter.numel() for parameter in run)
        spans[is_apart].append((start, end))
        start = end
    return spans if spans[1] else spans[:1]


def _channels_last(parameter: Tensor) -> bool:
    return parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last)


def _strides(parameter: Tensor) -> tuple[int, ...]:
    """Strides of a parameter without gaps in memory."""
    layout = torch.channels_last if _channels_last(parameter) else torch.contiguous_format
    return torch.empty_like(parameter, device="meta", memory_format=layout).stride()


def _in_memory_order(value: Tensor, like: Tensor) -> Tensor:
    """The entries of a tensor as a parameter of its shape has them in memory."""
    return (value.permute(0, 2, 3, 1) if _channels_last(like) else value).flatten()


def copy_buffers(source: nn.Module, target: nn.Module) -> None:
    """Copy a module's buffers (a normalisation's running statistics)."""
    for mine, theirs in zip(target.buffers(), source.buffers(), strict=True):
        mine.copy_(theirs)


def clip_norm(grad: Tensor, max_norm: float) -> Tensor:
    """Scale a flat gradient [P] in place so that its Euclidean norm is at most `max_norm`; returns the norm before."""
    norm: Tensor = torch.linalg.vector_norm(grad)
    if grad.device.type != "cpu" or torch.compiler.is_compiling():
        grad.view(1, -1).renorm_(2.0, 0, max_norm)
    elif norm > max_norm:  # on the CPU it may be read: three passes over the memory fewer
        grad.mul_(max_norm / norm)
    return norm
