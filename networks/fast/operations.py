"""Counts floating-point operations of compiled networks, which torch's counters do not see."""

from __future__ import annotations


class Operations:
    """Operations of products so far."""

    total = 0


OPERATIONS = Operations()
