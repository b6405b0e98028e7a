"""Floating-point operations: those of an update, and those that this machine manages in a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gymnast.networks.fast.operations import OPERATIONS
from gymnast.training.clock import Clock, Function

PEAK_SIZE = {"cpu": 1024, "mps": 4096}
"""Rows and columns of the matrices whose product measures the peak."""
PEAK_SIZE_ELSEWHERE = 8192
PEAK_SECONDS = 0.25


class Counter(TorchDispatchMode):
    """Adds up the operations of everything that torch computes in its context.

    Unlike `FlopCounterMode`, whose hooks in every module's backward pass some networks do not bear.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would wrap the next method, and import Dynamo for that, which takes a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        return result


@dataclass
class _Known:
    calls: int = 0
    flops: int = 0
    """Of a call, as last counted."""


class Flops:
    """Counts the operations of timed functions by torch's formulas: those of products, convolutions and attention.

    Counting takes time, so only calls number 1, 10, 100 ... of a function are counted, which belong to the warm-up; the
    calls after each count as many. A backward pass is known by the forward pass before it.
    """

    def __init__(self, clock: Clock) -> None:
        self.total = 0
        """Of all calls that do not belong to the warm-up."""
        self._clock = clock
        self._known: dict[tuple[Hashable, Hashable], _Known] = {}
        self._forward: Hashable = None
        self._inside = False

    def counted(self, name: Hashable, function: Function, *, backward: bool) -> Function:
        """The function, counted under this name."""

        def run(*args: Any, **kwargs: Any) -> Any:
            if self._inside:  # its operations are among the outer function's
                return function(*args, **kwargs)
            key = (name, self._forward if backward else None)
            self._forward = None if backward else name
            self._inside = True
            try:
                return self._call(self._known.setdefault(key, _Known()), function, args, kwargs)
            finally:
                self._inside = False

        return run

    def _call(self, known: _Known, function: Function, args: Any, kwargs: Any) -> Any:
        known.calls += 1
        if not _is_power_of_ten(known.calls):
            self.total += known.flops
            return function(*args, **kwargs)
        before = OPERATIONS.total
        with self._clock.warming_up(), Counter() as counter:
            result = function(*args, **kwargs)
        known.flops = counter.flops + OPERATIONS.total - before
        return result


def peak(device: torch.device) -> float:
    """Operations per second of float32 matrix products on this device, with torch's threads: the fastest of a few."""
    size = PEAK_SIZE.get(device.type, PEAK_SIZE_ELSEWHERE)
    now = clock_of(device)
    generator = torch.Generator(device).manual_seed(0)  # not torch's own, from which a run may draw
    one, other = torch.rand((2, size, size), generator=generator, device=device)
    product, fastest = one @ other, float("inf")
    over = now() + PEAK_SECONDS
    while (begun := now()) < over:
        torch.mm(one, other, out=product)
        fastest = min(fastest, now() - begun)
    return 2.0 * size**3 / fastest


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds, read after all work on the device is done."""
    if device.type == "cpu":
        return time.perf_counter
    synchronize = partial(torch.cuda.synchronize, device) if device.type == "cuda" else torch.mps.synchronize

    def now() -> float:
        synchronize()
        return time.perf_counter()

    return now


def _is_power_of_ten(number: int) -> bool:
    while number % 10 == 0:
        number //= 10
    return number == 1
