"""MT19937 (Matsumoto and Nishimura 1998) with a 32-bit seed, in a row of 625 words: the state and the position."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymnast.envs.atari2600.compiling import rule, stay_apart

SIZE, SHIFT = 624, 397
ONE, UPPER, LOWER = np.uint32(1), np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
TWIST, SPREAD = np.uint32(0x9908B0DF), np.uint32(1812433253)
MASK_B, MASK_C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
ALL_NUMBERS, LOW_HALF, HALF = np.uint64(2**32), np.uint64(0xFFFFFFFF), np.uint64(32)
S7, S11, S15, S18, S30 = (np.uint32(shift) for shift in (7, 11, 15, 18, 30))


@rule
def seed_generator(words: Any, seed: int) -> None:
    """Begin the sequence of a seed from 0 to 2**32 - 1."""
    stay_apart()
    words[0] = np.uint32(seed)
    for at in range(1, SIZE):
        before = words[at - 1]
        words[at] = np.uint32(np.uint32(SPREAD * np.uint32(before ^ (before >> S30))) + np.uint32(at))
    words[SIZE] = SIZE


def generators(seeds: np.ndarray) -> np.ndarray:
    """`seed_generator` for many seeds at once, uint32 [N]: rows [N, 625]."""
    words = np.empty((len(seeds), SIZE + 1), np.uint32)
    words[:, 0], words[:, SIZE] = seeds, SIZE
    for at in range(1, SIZE):
        before = words[:, at - 1]
        words[:, at] = SPREAD * (before ^ (before >> S30)) + np.uint32(at)
    return words


@rule
def draw(words: Any) -> Any:
    """The next number, uint32."""
    at = np.int64(words[SIZE])
    if at == SIZE:
        _twist(words)
        at = np.int64(0)
    words[SIZE] = at + 1
    bits = words[at]
    bits ^= bits >> S11
    bits ^= (bits << S7) & MASK_B
    bits ^= (bits << S15) & MASK_C
    return np.uint32(bits ^ (bits >> S18))


@rule
def _twist(words: Any) -> None:
    for at in range(SIZE):
        bits = (words[at] & UPPER) | (words[(at + 1) % SIZE] & LOWER)
        word = words[(at + SHIFT) % SIZE] ^ (bits >> ONE)
        words[at] = word ^ TWIST if bits & ONE else word


@rule
def below(words: Any, count: int) -> int:
    """Uniform from 0 to count - 1, without bias (Lemire 2019)."""
    many = np.uint64(count)
    product = np.uint64(draw(words)) * many
    while product & LOW_HALF < ALL_NUMBERS % many:
        product = np.uint64(draw(words)) * many
    return np.int64(product >> HALF)  # type: ignore[no-any-return]
