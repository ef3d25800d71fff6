"""Pictures in two steps: all of them down to the disk, then all of them named. Knows no job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from minimon_server.disk import sync_folder

UNFINISHED: Final = ".part"


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
