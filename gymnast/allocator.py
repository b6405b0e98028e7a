"""Settings of the C library for memory that every update and every step of many rows frees and allocates again."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of mallopt(3)."""
LARGEST = 32 * 2**20
"""The largest block that glibc keeps: activations and gradients are smaller, a replay of images is larger."""


def keep_freed_pages() -> None:
    """Let the process keep freed blocks of up to 32 MiB for reuse, instead of returning them to the system.

    Otherwise the kernel clears the pages of large activations and gradients again in every update, which for Rainbow on
    the CPU takes a fifth as long as the arithmetic. Without glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
