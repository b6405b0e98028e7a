"""Memory and disk space of a replay, checked before it is allocated; and frames on disk."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import psutil
import torch

RESERVE = 256 * 2**20
"""Bytes left for everything else."""
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated: free on a GPU, else in the machine and under the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    for limit_file, used_file in CGROUPS:
        try:
            limit, used = (int(Path(name).read_text(encoding="utf-8")) for name in (limit_file, used_file))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        free = min(free, limit - used)
    return free


def check_fits(needed: int, device: torch.device, *, replay_size: int) -> None:
    """Raise ValueError, with the numbers, if a replay of `needed` bytes does not fit."""
    free = free_bytes(device)
    if needed > free - RESERVE:
        fits = max(int(replay_size * (free - RESERVE) / needed), 0)
        raise ValueError(
            f"replay_size {replay_size:,} needs {needed / 1e9:.2f} GB but {max(free, 0) / 1e9:.2f} GB are free on "
            f"{device}; at most {fits:,} slots fit"
        )


def map_file(path: str, sizes: list[int], *, replay_size: int) -> list[np.ndarray]:
    """Arrays of these sizes in bytes, initially zero, in a file that disappears with the process, however it ends.

    The file is created and its name deleted as soon as it is mapped: its space is free again when the process ends,
    no other run can open it, and nothing stale is left to clean up. Its room is reserved at once if the system can,
    because a disk that fills up later would kill the process. An existing file is never touched.

    Raises:
        ValueError: if it exists, cannot be made, or the disk has too little room.
    """
    starts = np.cumsum([0, *(size + -size % mmap.PAGESIZE for size in sizes)]).tolist()
    try:
        free = shutil.disk_usage(Path(path).absolute().parent).free
        if starts[-1] > free:
            raise ValueError(
                f"replay_size {replay_size:,} needs {starts[-1] / 1e9:.2f} GB of disk but {free / 1e9:.2f} GB are "
                f"free for replay_path {path}"
            )
        mapped = _mapped(path, starts[-1])
    except FileExistsError:
        raise ValueError(
            f"replay_path {path} exists: name a file that does not exist, the replay creates its own"
        ) from None
    except OSError as error:
        raise ValueError(f"replay_path {path} cannot be used: {error.strerror}") from None
    return [np.ndarray(size, np.uint8, mapped, offset=start) for size, start in zip(sizes, starts, strict=False)]


def _mapped(path: str, size: int) -> mmap.mmap:
    """A new file of `size` bytes in memory, already unlinked; OSError if it cannot be created."""
    new = os.O_RDWR | os.O_CREAT | os.O_EXCL
    if sys.platform == "win32":  # an open file keeps its name there, and O_TEMPORARY deletes it with the last handle
        file = os.open(path, new | os.O_BINARY | os.O_TEMPORARY, 0o600)
    else:
        file = os.open(path, new, 0o600)
        os.unlink(path)
    try:
        if sys.platform == "linux":
            os.posix_fallocate(file, 0, size)
        else:
            os.ftruncate(file, size)
        mapped = mmap.mmap(file, size)
    finally:
        os.close(file)
    if sys.platform != "win32":
        mapped.madvise(mmap.MADV_RANDOM)  # frames are read at random places: reading ahead is not worthwhile
    return mapped


def slots_for(size: int, num_envs: int, *, stack: int, n: int) -> int:
    """Slots of a ring, a multiple of num_envs; ValueError if a stream could not hold one window."""
    least = (2 * stack + n + 2) * num_envs
    if size < least:
        raise ValueError(f"replay_size must be >= {least} for {num_envs} environments, got {size}")
    return size - size % num_envs
