"""What tells one state of a file from another, without reading it. Keeps nothing."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[int, ...]
MISSING: Stamp = ()  # as much an answer as any: a file that is back is another one


def stamp_of(path: Path) -> Stamp:
    """Return device, inode, size in bytes and time of change in nanoseconds; raise `OSError`."""
    return _state(path.stat())


def sure_stamp_of(path: Path) -> Stamp:
    """Return the same with the time at which the file's node changed, which nobody can set back; raise `OSError`.

    A file that is renamed, linked or given other rights is another one by it: right for what is told of a content for
    years, too much for what would be loaded anew.
    """
    found = path.stat()
    return *_state(found), found.st_ctime_ns


def stamp_or_missing(path: Path) -> Stamp:
    """Return a file's stamp, or `MISSING` where it cannot be looked at."""
    try:
        return stamp_of(path)
    except OSError:
        return MISSING


def _state(found: os.stat_result) -> Stamp:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
