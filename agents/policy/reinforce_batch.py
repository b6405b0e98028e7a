"""Turns the steps of whole episodes into the batch that REINFORCE learns from."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gymnast.agents.maths.means import shares
from gymnast.agents.maths.returns import linear_recurrence
from gymnast.envs.step import Obs, map_obs


class EpisodeBatch(NamedTuple):
    """B steps of several episodes, one episode after another, with V kinds of reward.

    If the policy is recurrent, the episodes are E sequences as long as the longest, B = E * L. Steps that pad them
    repeat another one and have weight 0.
    """

    obs: Obs
    raw: Tensor
    """[B, ...], actions as sampled."""
    mask: Tensor | None
    """bool [B, A], the allowed actions."""
    weighing: Tensor
    """[B, V], returns that weight actions, without the subtraction of a learned baseline."""
    target: Tensor
    """[B, V], the returns that follow, the targets of values."""
    weight: Tensor
    """[B], shares of the mean over steps; they sum to 1."""
    length: Tensor
    """[], mean steps of an episode."""
    start: Tensor | None = None
    """bool [E, L], all False: every sequence is one episode."""
    memory: Tensor | None = None
    """[E, M], zeros: the memory before an episode."""


def episode_returns(reward: Tensor, bootstrap: Tensor, last: Tensor, gamma: Tensor) -> Tensor:
    """G_t = r_t + gamma * G_{t+1} within episodes that follow each other in time; [B, V].

    `last` bool [B] marks the final step of each, followed by `bootstrap` [B, V], which is zero at other steps and at
    terminations; `gamma` [V].
    """
    return linear_recurrence(reward + gamma * bootstrap, gamma * ~last.unsqueeze(1))


@torch.no_grad()
def returns_of(fields: dict[str, Any], lengths: list[int], gamma: Tensor) -> tuple[Tensor, Tensor]:
    """The returns that follow each step, and those of its whole episode; [F, V] each."""
    reward: Tensor = fields["reward"]
    counts = torch.tensor(lengths, device=reward.device)
    ends = counts.cumsum(0)
    last = torch.zeros(len(reward), dtype=torch.bool, device=reward.device)
    last[ends - 1] = True
    bootstrap = fields["bootstrap"] if "bootstrap" in fields else torch.zeros_like(reward)
    to_go = episode_returns(reward, bootstrap, last, gamma)
    return to_go, to_go[ends - counts].repeat_interleave(counts, 0, output_size=len(reward))


def batch_of(
    fields: dict[str, Any],
    lengths: list[int],
    weighing: Tensor,
    target: Tensor,
    *,
    memory_size: int = 0,
    fill: bool = False,
) -> EpisodeBatch:
    """All F steps; as sequences if the policy is recurrent, or padded to a power of two with `fill`."""
    steps, longest, start, memory, index = len(target), max(lengths), None, None, None
    count = target.new_ones(steps)
    if memory_size:
        counts = torch.tensor(lengths, device=target.device).unsqueeze(1)  # [E, 1]
        time = torch.arange(longest, device=target.device)
        index = (counts.cumsum(0) - counts + torch.minimum(time, counts - 1)).flatten()
        count = (time < counts).flatten().float()
        start = torch.zeros((len(lengths), longest), dtype=torch.bool, device=target.device)
        memory = target.new_zeros((len(lengths), memory_size))
    elif fill:
        time = torch.arange(1 << (steps - 1).bit_length(), device=target.device)
        index, count = time.clamp(max=steps - 1), (time < steps).float()

    def rows(part: Tensor) -> Tensor:
        return part if index is None else part.index_select(0, index)

    return EpisodeBatch(
        map_obs(rows, fields["obs"]),
        rows(fields["raw"]),
        rows(fields["mask"]) if "mask" in fields else None,
        rows(weighing),
        rows(target),
        shares(count),
        target.new_tensor(steps / len(lengths)),
        start,
        memory,
    )
