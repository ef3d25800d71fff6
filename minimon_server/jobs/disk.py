"""Files that are on the disk when a call returns: whole, under their name, or not there. Knows no job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

UNFINISHED: Final = ".part"


def sync_folder(folder: Path) -> None:
    """Write a folder's names to the disk: a file that was made or renamed is not there for certain before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_unfinished(path: Path, data: bytes) -> None:
    """Write a file beside `path`, down to the disk; `finish` gives it its name."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def finish(paths: list[Path]) -> None:
    """Give unfinished files of one folder their names, all before this returns."""
    for path in paths:
        path.with_name(path.name + UNFINISHED).rename(path)
    sync_folder(paths[0].parent)
