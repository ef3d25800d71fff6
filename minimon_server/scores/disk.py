"""Files that appear whole and stay: write, sync, rename, sync the folder. Knows nothing of what they hold."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: a disk that fills up, or a limit, takes a part and says so only at the next call."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def check_size(descriptor: int, size: int) -> None:
    """Raise `OSError` when a file is not as long as what was written to it: a disk may take less than it says."""
    found = os.fstat(descriptor).st_size
    if found != size:
        raise OSError(errno.EIO, f"{found} bytes are there instead of {size}")


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put `data` under `path`, durably: whoever looks sees the former file or this one, also after a power cut.

    The name of the temporary file is fixed: a writer that was killed leaves one file behind, not many.
    """
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        check_size(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file that may be missing, durably."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
