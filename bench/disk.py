"""What the disk itself can do, and which one it is: records appended and synced one by one. Knows no server."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

# What lies in memory, or whose sync says nothing of a disk.
NO_DISKS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


@dataclass(frozen=True)
class Appended:
    """One writer's appends, each synced before the next: how many a second, and how long they took."""

    per_second: float
    p50_ms: float
    p99_ms: float


def file_system(folder: Path, mounts: str | None = None) -> str:
    """Return the type of the file system that holds a folder, and the device; fail when it is no disk's."""
    text = Path("/proc/self/mounts").read_text("utf-8") if mounts is None else mounts
    holding = [line.split() for line in text.splitlines() if folder.is_relative_to(line.split()[1])]
    if not holding:
        raise BenchError(f"no file system is known to hold {folder}")
    # The later of two mounts on one place hides the former.
    device, _, kind, *_ = max(enumerate(holding), key=lambda one: (len(one[1][1]), one[0]))[1]
    if kind in NO_DISKS:
        raise BenchError(f"{folder} lies in memory ({kind}), where a sync costs nothing: set TMPDIR to a disk's folder")
    return f"{kind} on {device}"


def append(path: Path, record: bytes, seconds: float) -> Appended:
    """Append a record and `fdatasync` it, again and again for some seconds."""
    took: list[float] = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        began = last = time.perf_counter()
        while last - began < seconds:
            if os.write(descriptor, record) != len(record):
                raise BenchError(f"{path} could not be written")
            os.fdatasync(descriptor)
            now = time.perf_counter()
            took.append(now - last)
            last = now
    finally:
        os.close(descriptor)
    return Appended(len(took) / (last - began), 1000 * quantile(took, 0.5), 1000 * quantile(took, 0.99))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
