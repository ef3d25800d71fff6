"""How much main memory this process may still take, and what it can give back of its own. Knows no torch."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MEMINFO: Final = Path("/proc/meminfo")
OWN_GROUP: Final = Path("/proc/self/cgroup")
GROUPS: Final = Path("/sys/fs/cgroup")


def free_bytes(meminfo: Path = MEMINFO, own: Path = OWN_GROUP, groups: Path = GROUPS) -> int | None:
    """Return the bytes that can be had without swapping, or None where the system does not tell (not Linux).

    The least of MemAvailable (proc(5)) and of what each control group around this process leaves: its limit less what
    it holds, files not read lately not counted, for the kernel drops those first (cgroup v2 and v1, `memory`).
    """
    rooms = [*_available(meminfo), *_rooms(own, groups)]
    return min(rooms) if rooms else None


def trim_heap() -> None:
    """Give the system what the C library keeps of freed memory (malloc_trim(3)), where it can: glibc alone does."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _available(meminfo: Path) -> Iterator[int]:
    if found := re.search(r"^MemAvailable: +(\d+) kB$", _read(meminfo), re.MULTILINE):
        yield int(found[1]) * 1024


def _rooms(own: Path, groups: Path) -> Iterator[int]:
    for line in _read(own).splitlines():
        number, kinds, path = line.split(":", 2)
        if number == "0":
            root, limit, usage, dropped = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in kinds.split(","):
            root, limit, usage, dropped = groups / "memory", *_FIRST_VERSION
        else:
            continue
        group = root / path.lstrip("/")
        # A container may see its own group as the root: what is named and not there is passed over.
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            most, held = _read(folder / limit).strip(), _read(folder / usage).strip()
            if most.isdigit() and held.isdigit():
                found = re.search(rf"^{dropped} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
                yield max(0, int(most) - int(held) + (int(found[1]) if found else 0))


_FIRST_VERSION: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""  # another system, or a controller that is off: no limit is told there
