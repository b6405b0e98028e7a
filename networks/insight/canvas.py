"""Inputs that are made by gradient descent: bounded, and pictures in the parameters of their spatial frequencies.

Without that, what descent makes of a picture is pixel noise, to which strided convolutions are blind or too sensitive
(Olah et al. 2017, "Preconditioning and better parameterization").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EDGE = 0.01
"""How near a number starts to its bounds at most, as a share of the range: the sigmoid's slope there is not 0."""


class Canvas:
    """B inputs [...] within [low, high], each the middle plus what its parameters add.

    A parameter of a picture is the size of a wave, divided by its spatial frequency; numbers of a vector have one each.
    The first ones are random: `amplitude` is the standard deviation of what they add before the sigmoid, which keeps
    the bounds.

    Args:
        count: B.
        low, high, middle: bounds and start of each number, [...].
        axes: the axes of height and width in [B, ...]; None for vectors.
        amplitude: see above.
        generator: of the first parameters.
    """

    def __init__(
        self,
        count: int,
        *,
        low: Tensor,
        high: Tensor,
        middle: Tensor,
        axes: tuple[int, int] | None,
        amplitude: float,
        generator: torch.Generator,
    ) -> None:
        self.low, self.span, self.axes = low, high - low, axes
        self.offset = _shares(middle, low, self.span).clamp(EDGE, 1.0 - EDGE).logit()
        shape = (count, *low.shape)
        self.shape = shape
        noise = torch.randn(shape, generator=generator, device=low.device) * amplitude
        if axes is None:
            self.parameter = noise.requires_grad_(True)
            return
        self.size = (shape[axes[0]], shape[axes[1]])
        spectrum = torch.fft.rfft2(noise, dim=axes, norm="ortho")
        self.scale = wave_sizes(*self.size, device=low.device).view(
            [spectrum.shape[axis] if axis in axes else 1 for axis in range(spectrum.dim())]
        )
        self.parameter = torch.view_as_real(spectrum).clone().requires_grad_(True)

    @property
    def parameters(self) -> list[Tensor]:
        """What descent changes."""
        return [self.parameter]

    def picture(self) -> Tensor:
        """The inputs, [B, ...]."""
        return self.low + self.span * self.shares()

    def shifted(self, x: Tensor, most: int, *, generator: torch.Generator) -> Tensor:
        """Inputs whose picture is shifted at random by up to that many pixels; `generator` is one of the CPU."""
        if self.axes is None or not most:
            return x
        return torch.roll(x, torch.randint(-most, most + 1, (2,), generator=generator).tolist(), self.axes)

    def variation(self, x: Tensor) -> Tensor:
        """`variation` [B] of pictures, 0 of vectors."""
        if self.axes is None:
            return x.new_zeros(len(x))
        return variation(x, self.axes)

    def shares(self) -> Tensor:
        """The place of each number between its bounds, [B, ...]."""
        if self.axes is None:
            added = self.parameter
        else:
            spectrum = torch.view_as_complex(self.parameter) * self.scale
            added = torch.fft.irfft2(spectrum, s=self.size, dim=self.axes, norm="ortho")
        return torch.sigmoid(self.offset + added)


class Collage:
    """Inputs [B, K] of several parts one after the other, each on a canvas of its own.

    Args:
        parts: of each part its shape and its canvas, or None for one that stays at the middle.
        low, high, middle: of all parts, [K].
        count: B.
    """

    def __init__(
        self,
        parts: Sequence[tuple[tuple[int, ...], Canvas | None]],
        *,
        low: Tensor,
        high: Tensor,
        middle: Tensor,
        count: int,
    ) -> None:
        self.parts, self.count = parts, count
        self.low, self.span = low, high - low
        self.still = _shares(middle, low, self.span)
        offsets = [
            own if canvas is None else canvas.offset.flatten()
            for own, (_, canvas) in zip(self._split(self.still.logit()), parts, strict=True)
        ]
        self.offset = torch.cat(offsets)

    @property
    def parameters(self) -> list[Tensor]:
        """What descent changes."""
        return [canvas.parameter for _, canvas in self.parts if canvas is not None]

    def picture(self) -> Tensor:
        """The inputs, [B, K]."""
        return self.low + self.span * self.shares()

    def shares(self) -> Tensor:
        """The place of each number between its bounds, [B, K]."""
        still = self._split(self.still)
        found = [
            own.expand(self.count, -1) if canvas is None else canvas.shares().flatten(1)
            for own, (_, canvas) in zip(still, self.parts, strict=True)
        ]
        return torch.cat(found, 1)

    def shifted(self, x: Tensor, most: int, *, generator: torch.Generator) -> Tensor:
        """Inputs whose pictures are shifted at random, each by up to that many pixels of its own."""
        found = [
            own if canvas is None else canvas.shifted(own.view(-1, *shape), most, generator=generator).flatten(1)
            for own, (shape, canvas) in zip(self._split(x), self.parts, strict=True)
        ]
        return torch.cat(found, 1)

    def variation(self, x: Tensor) -> Tensor:
        """Total variation [B], summed over the pictures."""
        found = [
            canvas.variation(own.view(-1, *shape))
            for own, (shape, canvas) in zip(self._split(x), self.parts, strict=True)
            if canvas is not None
        ]
        return torch.stack(found).sum(0)

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        """The parts [..., n] of numbers [..., K]."""
        return torch.split(x, [math.prod(shape) for shape, _ in self.parts], -1)


def variation(x: Tensor, axes: tuple[int, int]) -> Tensor:
    """Total variation [B] of pictures [B, ...]: the mean absolute difference of neighbours along two axes."""
    return sum((x.diff(dim=axis).abs().flatten(1).mean(1) for axis in axes), x.new_zeros(len(x)))


def _shares(x: Tensor, low: Tensor, span: Tensor) -> Tensor:
    """The place of numbers between their bounds; 0 where the bounds are equal."""
    return (x - low) / torch.where(span > 0, span, 1.0)


def wave_sizes(height: int, width: int, *, device: torch.device) -> Tensor:
    """What a wave's parameter is multiplied by, [height, width // 2 + 1]: 1 / frequency, of mean square 1.

    The constant has the frequency of one wave over the longer side.
    """
    down = torch.fft.fftfreq(height, device=device).view(-1, 1)
    across = torch.fft.rfftfreq(width, device=device).view(1, -1)
    frequency = (down.square() + across.square()).sqrt().clamp(min=1.0 / max(height, width))
    sizes: Tensor = frequency.reciprocal()
    return sizes / float(sizes.square().mean().sqrt())


def descend(
    canvas: Canvas | Collage, loss: Callable[[Tensor], Tensor], *, steps: int, rate: float = 0.05
) -> tuple[Tensor, list[float]]:
    """Adam on the parameters of a canvas.

    Args:
        canvas: where the inputs begin.
        loss: of shares of the range [B, ...], a number [B].
        steps: updates.
        rate: step size.

    Returns:
        The inputs [B, ...], and the mean loss before each step and after the last one.
    """
    optimizer = torch.optim.Adam(canvas.parameters, lr=rate)
    course = []
    for _ in range(steps):
        losses = loss(canvas.shares())
        course.append(float(losses.detach().mean()))
        optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        course.append(float(loss(canvas.shares()).mean()))
        return canvas.picture(), course
