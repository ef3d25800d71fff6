"""Reads from /proc what a process and those it started use; starts and judges nothing."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

KERNEL_THREADS = 2  # the process that starts them all


@dataclass(frozen=True)
class Memory:
    """Memory held, in KiB: all that is mapped in, and the same with shared pages counted in part."""

    rss_kib: int
    pss_kib: int


def memory(pid: int) -> Memory:
    """Add up the memory of a process and its descendants."""
    rss = pss = 0
    for one in family(pid):
        folder = Path("/proc") / str(one)
        rss += _field((folder / "status").read_text("ascii", "replace"), "VmRSS:")
        pss += _field((folder / "smaps_rollup").read_text("ascii", "replace"), "Pss:")
    return Memory(rss, pss)


def cpu_seconds(pid: int) -> float:
    """Add up the processor time that a process and its living descendants have used."""
    return sum(_ticks(one) for one in family(pid)) / os.sysconf("SC_CLK_TCK")


def kernel_seconds() -> float:
    """Add up the processor time of the kernel's own threads; nothing where they cannot be seen, as in a container."""
    comm = Path(f"/proc/{KERNEL_THREADS}/comm")
    if not comm.exists() or comm.read_text() != "kthreadd\n":
        return 0.0
    ticks = 0
    for one in family(KERNEL_THREADS):
        try:
            ticks += _ticks(one)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_kib(pid: int) -> int:
    """Return the most memory that one process has held so far."""
    return _field((Path("/proc") / str(pid) / "status").read_text("ascii", "replace"), "VmHWM:")


def busy_seconds(cores: Collection[int]) -> float:
    """Add up the time some cores have been at work, or were taken away by the machine's host."""
    names = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, fields[:8])
            ticks += user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children = (int(one) for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split())
    return [pid, *(member for child in children for member in family(child))]


def _ticks(pid: int) -> int:
    stat = (Path("/proc") / str(pid) / "stat").read_text("ascii", "replace")
    user, system = stat.rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise BenchError(f"/proc shows no {name}")
