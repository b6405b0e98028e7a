"""PQN's gradient as one compiled function of a rollout and the samples of a minibatch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymnast.networks.fast.compiling import kernel
from gymnast.networks.fast.q_compiled import QNet, q_backward, q_forward, q_slopes

Array = NDArray[Any]


@kernel
def write_gradient(
    q: QNet, obs: Array, action: Array, target: Array, weight: Array, index: Array
) -> tuple[Array, Array]:
    """Write the gradient of half the squared error of the samples of these numbers.

    Returns the error of each [B], and the loss and the mean value of the actions taken [2].
    """
    samples = len(index)
    output, slopes = q_forward(q, obs, index), q_slopes(q, samples)
    error, count, loss, mean = np.empty(samples, np.float32), 0.0, 0.0, 0.0
    for row in range(samples):
        count += weight[index[row]]
    for row in range(samples):
        number = index[row]
        value, share = output[row, action[number]], weight[number] / max(count, 1.0)
        error[row] = target[number] - value
        if share > 0.0:  # rows that do not count may hold anything
            slopes[row, action[number]] = -share * error[row]
            loss += 0.5 * share * error[row] * error[row]
            mean += share * value
    q_backward(q, samples)
    numbers = np.empty(2, np.float32)
    numbers[0], numbers[1] = loss, mean
    return error, numbers
