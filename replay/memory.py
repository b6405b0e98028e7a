"""How much memory a replay may take, asked before it is allocated."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

RESERVE = 256 * 2**20
"""Bytes left for everything else."""
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated: free on a GPU, else in the machine and under the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    for limit_file, used_file in CGROUPS:
        try:
            limit, used = (int(Path(name).read_text()) for name in (limit_file, used_file))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        free = min(free, limit - used)
    return free


def check_memory(needed: int, device: torch.device, *, replay_size: int) -> None:
    """Raise ValueError, with the numbers, where a replay of `needed` bytes does not fit."""
    free = free_memory(device)
    if needed > free - RESERVE:
        fits = max(int(replay_size * (free - RESERVE) / needed), 0)
        raise ValueError(
            f"replay_size {replay_size:,} needs {needed / 1e9:.2f} GB and {max(free, 0) / 1e9:.2f} GB are free on "
            f"{device}; at most {fits:,} fits"
        )
