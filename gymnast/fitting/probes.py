"""Linear probes: ridge and logistic regression on standardised features, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

STRENGTHS = (1e3, 1e2, 10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths of the L2 penalty per example, from which the validation episodes choose; the strongest wins ties."""
FLAT = 1e-10
"""Share of the largest variance below which a direction of the features holds only rounding errors."""
PATIENCE = 2
"""Strengths without a lower cross-entropy, after which weaker ones, which cost more iterations, are not tried."""
IGNORED = -1
"""Class of an example that counts neither in a fit nor in its accuracy."""
SHARE = 0.2
"""Share of the episodes for testing, and of the others for validation."""


class Split(NamedTuple):
    """Indices int64 of the steps of whole episodes, in ascending order."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split(episode: Tensor, *, seed: int | np.random.SeedSequence) -> Split:
    """Draw the episodes, int64 [N] by step, for training, validation and test.

    Raises:
        ValueError: fewer than three episodes.
    """
    numbers = np.unique(episode.numpy())
    if len(numbers) < 3:
        raise ValueError(f"{len(numbers)} episodes cannot be split into training, validation and test")
    drawn = np.random.default_rng(seed).permutation(numbers)
    test = max(round(SHARE * len(drawn)), 1)
    validation = max(round(SHARE * (len(drawn) - test)), 1)
    groups = drawn[test + validation :], drawn[test : test + validation], drawn[:test]
    return Split(*(torch.from_numpy(np.flatnonzero(np.isin(episode.numpy(), group))) for group in groups))


@dataclass(frozen=True)
class Basis:
    """Standardised features of N examples along the K directions of their covariance that have a variance."""

    mean: Tensor
    """[D]"""
    scale: Tensor
    """[D], 0 for a feature that never changes."""
    low: Tensor
    """[D], the lowest value of each feature."""
    high: Tensor
    """[D], the highest one."""
    directions: Tensor
    """[D, K], orthonormal."""
    variance: Tensor
    """[K]"""
    rotated: Tensor
    """[N, K]"""

    @staticmethod
    def of(x: Tensor) -> Basis:
        """The basis of features [N, D]."""
        x = x.double()
        low, high = x.aminmax(dim=0)
        mean, spread = x.mean(0), x.std(0, correction=0)
        changes = spread > FLAT * torch.maximum(low.abs(), high.abs())
        scale = torch.where(changes, 1.0 / spread.where(changes, 1.0), 0.0)
        normal = (x - mean) * scale
        variance, directions = torch.linalg.eigh(normal.T @ normal / len(x))
        kept = variance > FLAT * variance[-1]
        directions = directions[:, kept]
        return Basis(mean, scale, low, high, directions, variance[kept], normal @ directions)

    def rotate(self, x: Tensor) -> Tensor:
        """Other features [M, D] in it, [M, K], each limited to the range that it has here.

        Without the limit, a unit of a network that was almost silent in training and is not in a test episode would be
        standardised to thousands and would decide the score.
        """
        return ((torch.clamp(x.double(), self.low, self.high) - self.mean) * self.scale) @ self.directions


def ridge(basis: Basis, y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weights [K, O] in the basis and bias [O] of targets [N, O]: least squares plus N * strength * |weights|^2.

    In closed form (Hoerl & Kennard 1970): the basis diagonalises the normal equations.
    """
    y = y.double()
    weights = basis.rotated.T @ (y - y.mean(0)) / (len(y) * (basis.variance + strength).unsqueeze(1))
    return weights, y.mean(0)  # the rotated features have mean 0


def logistic(
    basis: Basis, label: Tensor, classes: int, strength: float, *, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Weights [K, C] in the basis and bias [C] of classes int64 [N]: mean cross-entropy + strength / 2 |weights|^2.

    By L-BFGS, from `start` if given. Each direction is scaled by about the curvature there, so that few iterations
    suffice. Examples that are `IGNORED` do not count.
    """
    counted = label != IGNORED
    scale = (basis.variance / classes + strength).rsqrt().unsqueeze(1)
    inputs, label = basis.rotated[counted] * scale.T, label[counted]
    if start is None:
        start = inputs.new_zeros(len(scale), classes), inputs.new_zeros(classes)
    weights, bias = (start[0] / scale).requires_grad_(), start[1].clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=100, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        fit = functional.cross_entropy(inputs @ weights + bias, label)
        total: Tensor = fit + strength / 2 * (weights * scale).square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return (weights * scale).detach(), bias.detach()


def r2(output: Tensor, target: Tensor) -> Tensor:
    """1 - squared error / squared deviation from the mean, of each output [O] of [N, O]; nan for a constant target."""
    target = target.double()
    spread = (target - target.mean(0)).square().sum(0)
    error = (output - target).square().sum(0)
    return torch.where(spread > 0, 1.0 - error / spread, torch.nan)


def accuracy(logits: Tensor, label: Tensor) -> float:
    """Share of the examples that are not `IGNORED` whose class has the largest logit; nan without any."""
    counted = label != IGNORED
    return float((logits.argmax(1) == label)[counted].double().mean())


class Probes:
    """Probes of one representation over one split.

    Each target chooses its own strength on the validation episodes, and is then fitted to training and validation.
    """

    def __init__(self, x: Tensor, parts: Split) -> None:
        """`x` are the features [N, D] of all steps."""
        self.parts = parts
        self.both = torch.cat([parts.train, parts.validation])
        self.basis = Basis.of(x[parts.train])
        self.validation = self.basis.rotate(x[parts.validation])
        self.final = Basis.of(x[self.both])
        self.test = self.final.rotate(x[parts.test])

    def regress(self, y: Tensor) -> Tensor:
        """R2 on the test episodes of each of the targets [N, O], float64 [O]."""
        fits = [ridge(self.basis, y[self.parts.train], strength) for strength in STRENGTHS]
        found = [r2(self.validation @ weights + bias, y[self.parts.validation]) for weights, bias in fits]
        chosen = torch.stack(found).nan_to_num(-torch.inf).argmax(0)
        scores = y.new_full((y.shape[1],), torch.nan, dtype=torch.float64)
        for index in sorted(set(chosen.tolist())):
            columns = (chosen == index).nonzero().flatten()
            weights, bias = ridge(self.final, y[self.both][:, columns], STRENGTHS[index])
            scores[columns] = r2(self.test @ weights + bias, y[self.parts.test][:, columns])
        return scores

    def classify(self, label: Tensor, classes: int) -> float:
        """Accuracy on the test episodes of classes int64 [N]."""
        train, validation = label[self.parts.train], label[self.parts.validation]
        known = (validation != IGNORED) & torch.isin(validation, train)  # others cost infinity
        best, chosen, since, fit = torch.inf, STRENGTHS[0], 0, None
        for strength in STRENGTHS:
            fit = logistic(self.basis, train, classes, strength, start=fit)
            logits = self.validation[known] @ fit[0] + fit[1]
            found = float(functional.cross_entropy(logits, validation[known]))
            if found < best:
                best, chosen, since = found, strength, 0
            elif (since := since + 1) == PATIENCE:
                break
        weights, bias = logistic(self.final, label[self.both], classes, chosen)
        return accuracy(self.test @ weights + bias, label[self.parts.test])
