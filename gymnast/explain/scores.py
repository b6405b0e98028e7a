"""What is explained: one number for each observation, differentiable in it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from gymnast.explain.context import Context
from gymnast.networks.insight.attribution import Score


def chosen(space: gym.Space[Any], preference: Tensor, action: Tensor) -> Tensor:
    """Weights [N, P] whose inner product with preferences is the preference for the actions [N, ...].

    For Discrete it is that of the action, for MultiDiscrete the sum over its parts, for MultiBinary the sum of the
    logits with the sign of each bit. For a Box it is the sum of the means with the signs that they have: how far the
    action is from 0.
    """
    if isinstance(space, spaces.Discrete):
        return functional.one_hot(action.long() - int(space.start), preference.shape[1]).to(preference.dtype)
    flat = action.reshape(len(action), -1)
    if isinstance(space, spaces.MultiDiscrete):
        first = torch.from_numpy(np.asarray(space.start).flatten().astype(np.int64)).to(flat.device)
        parts = zip((flat.long() - first).T, np.asarray(space.nvec).flatten().tolist(), strict=True)
        return torch.cat([functional.one_hot(part, size) for part, size in parts], 1).to(preference.dtype)
    if isinstance(space, spaces.MultiBinary):
        return 2.0 * flat.to(preference.dtype) - 1.0
    return preference.detach().sign()


def greedy(space: gym.Space[Any], preference: Tensor) -> Tensor:
    """The most preferred actions, int64 [N, parts] counted from 0; for a Box the means [N, P]."""
    if isinstance(space, spaces.Discrete):
        return preference.argmax(1, keepdim=True)
    if isinstance(space, spaces.MultiDiscrete):
        sizes = np.asarray(space.nvec).flatten().tolist()
        return torch.stack([part.argmax(1) for part in torch.split(preference, sizes, 1)], 1)
    if isinstance(space, spaces.MultiBinary):
        return (preference > 0).long()
    return preference


def score_of(context: Context, step: int) -> Score:
    """The target of the options at one step played: of observations [B, ...] near it, [B].

    The memory before the step and the action taken there stay as they are.
    """
    return scores_of(context, slice(step, step + 1))


def scores_of(context: Context, steps: slice) -> Score:
    """`score_of` of several steps: of observations [B, ...], one of each step, or any number near a single one."""
    played, subject = context.played, context.subject
    assert played.preference is not None
    weights = target_weights(context, steps)
    memory = None if played.memory is None else played.memory[steps]
    mask = None if played.mask is None else played.mask[steps]

    def score(x: Tensor) -> Tensor:
        rows = len(x)
        decision = subject.decide(x, _rows(memory, rows), _rows(mask, rows))
        if weights is None:
            assert decision.value is not None
            return decision.value
        return (decision.preference * weights).sum(1)

    return score


def target_weights(context: Context, steps: slice) -> Tensor | None:
    """Weights [N, P] of the preferences, None for the state's value."""
    preference = context.played.preference
    assert preference is not None
    if context.options.target == "value":
        return None
    preference = preference[steps]
    weights = chosen(context.action_space, preference, context.played.action[steps])
    if context.options.target == "margin":
        allowed = context.allowed(preference).to(weights.dtype)
        weights = weights - allowed / allowed.sum(1, keepdim=True)
    return weights


def attack_loss(context: Context, steps: Tensor) -> Score:
    """How little the most preferred action of each step is preferred, [B], of observations [B, ...] of these steps.

    For Discrete actions it is the cross-entropy of the softmax of the preferences (Huang et al. 2017); otherwise the
    preference for the action, with its sign turned.
    """
    played, subject, space = context.played, context.subject, context.action_space
    assert played.preference is not None
    preference = played.preference[steps]
    best = greedy(space, preference)
    if isinstance(space, spaces.Discrete):
        best = best.squeeze(1) + int(space.start)
    elif isinstance(space, spaces.MultiDiscrete):
        best = best + torch.from_numpy(np.asarray(space.start).flatten().astype(np.int64)).to(best.device)
    weights = chosen(space, preference, best)
    memory = None if played.memory is None else played.memory[steps]
    mask = None if played.mask is None else played.mask[steps]

    def loss(x: Tensor) -> Tensor:
        found = subject.decide(x, memory, mask).preference
        own = (found * weights).sum(1)
        return found.logsumexp(1) - own if isinstance(space, spaces.Discrete) else -own

    return loss


def _rows(field: Tensor | None, rows: int) -> Tensor | None:
    """One row repeated, or the rows themselves."""
    return field if field is None or len(field) == rows else field.expand(rows, *field.shape[1:])
