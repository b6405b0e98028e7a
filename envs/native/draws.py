"""Random numbers that are a function of a key and a counter: the same on every device and for any number of rows."""

from __future__ import annotations

import torch
from torch import Tensor

STRIDE = 256
"""Draws that one step of a row may take, those of a new episode included."""
_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number
_FIRST, _SECOND = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # SplitMix64's multipliers, signed


def mix(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014, figure 15): 64 bits to 64 bits, one to one; int64 [...]."""
    bits = (bits ^ (bits >> 30 & 0x3FFFFFFFF)) * _FIRST  # the mask makes the shift a logical one
    bits = (bits ^ (bits >> 27 & 0x1FFFFFFFFF)) * _SECOND
    return bits ^ (bits >> 31 & 0x1FFFFFFFF)


def row_keys(seed: int, num_envs: int, *, device: torch.device) -> Tensor:
    """A key for each row, int64 [N]; that of a row does not depend on N."""
    rows = torch.arange(1, num_envs + 1, device=device)
    return mix(mix(torch.full_like(rows, _signed(seed))) + rows * _GOLDEN)


def keys_of(seeds: Tensor) -> Tensor:
    """The key of an individually seeded episode, int64 [...]; distinct from the keys of rows."""
    return mix(~mix(seeds))


def next_keys(key: Tensor) -> Tensor:
    """The keys of the episodes that follow in the same rows, int64 [N]; no draw of these rows gives them."""
    return mix(~key)


class Draws:
    """The random numbers of one step: number `index` of key and counter, both int64 [N].

    Each index is a separate number and always gives the same one: rules that need several name
    several, up to `STRIDE` of them.
    """

    def __init__(self, key: Tensor, counter: Tensor) -> None:
        self._base = key + counter * _signed(STRIDE * 0x9E3779B97F4A7C15)

    def bits(self, index: int) -> Tensor:
        """64 random bits, int64 [N]."""
        if not 0 <= index < STRIDE:
            raise ValueError(f"the index of a draw must be from 0 to {STRIDE - 1}, got {index}")
        return mix(self._base + _signed((index + 1) * 0x9E3779B97F4A7C15))

    def uniform(self, index: int) -> Tensor:
        """Uniform in [0, 1), a multiple of 2**-24, float32 [N]."""
        return (self.bits(index) >> 40 & 0xFFFFFF).to(torch.float32) * 2.0**-24

    def integer(self, index: int, below: int | Tensor) -> Tensor:
        """Uniform in 0 .. below - 1 (a number, or int64 [N] of one for each row; at most 2**31), int64 [N].

        By multiplication, so no value is more probable than another by over `below` / 2**32 of itself.
        """
        return (self.bits(index) >> 32 & 0xFFFFFFFF) * below >> 32


def _signed(number: int) -> int:
    """The low 64 bits as a signed number, as int64 tensors hold them."""
    return (number + 2**63) % 2**64 - 2**63
