"""What a fitted network is judged by: pure functions of everything that it predicted."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Counts [C, C] of examples by their class (row) and the predicted one (column)."""
    return torch.bincount(target * classes + predicted, minlength=classes * classes).view(classes, classes)


def r2(output: Tensor, target: Tensor) -> float:
    """1 - squared error / squared deviation from the mean, over all K outputs of [N, K]; 1 is exact.

    Of targets that are all the same it is 1 if the outputs are exact, else 0.
    """
    spread = (target - target.mean(0)).square().sum().item()
    error = (output - target).square().sum().item()
    return 1.0 - error / spread if spread > 0 else float(error == 0)


def calibration_error(probability: Tensor, correct: Tensor, *, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3) of confidences [N] and bool [N]; 0 is calibrated."""
    index = (probability * bins).long().clamp(max=bins - 1)
    count = torch.bincount(index, minlength=bins).double()
    sure = torch.bincount(index, weights=probability.double(), minlength=bins)
    right = torch.bincount(index, weights=correct.double(), minlength=bins)
    return float((sure - right).abs().sum() / count.sum())


def slope(output: Tensor, target: Tensor) -> float:
    """Slope of the targets over the outputs, both [N, K] flattened, by least squares; 1 is calibrated."""
    x, y = output.flatten().double(), target.flatten().double()
    spread = (x - x.mean()).square().sum()
    return float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread > 0 else 0.0


def perplexity(log_prob: Tensor) -> float:
    """exp of the mean negative log-probability [N] of what came."""
    return float((-log_prob.double().mean()).exp())


def of_numbers(output: Tensor, target: Tensor) -> dict[str, float]:
    """What predicted numbers are judged by, both [N, K]: R2, slope, mean squared and mean absolute error."""
    error = output - target
    return {
        "r2": r2(output, target),
        "slope": slope(output, target),
        "mse": error.square().mean().item(),
        "l1": error.abs().mean().item(),
    }
