"""Files that appear whole and stay: write, sync, rename, sync the folder. Knows nothing of what they hold."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: the content of a file is on disk, its name is the folder's."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it such that they last: what is synced in it must not vanish with its name."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in new:
        sync_folder(one.parent)


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


def read_parts(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes [start, end) of a file; raise `OSError` when they are not all there.

    In parts, because one read gives at most 2 GiB, and says nothing of what it left out.
    """
    while start < end:
        part = os.pread(descriptor, min(_BLOCK, end - start), start)
        if not part:
            raise OSError(errno.EIO, f"the file ends at byte {start} instead of {end}")
        yield part
        start += len(part)


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put `data` under `path`, durably: whoever looks sees the former file or this one, also after a power cut."""
    write_parts(path, [data], mode)


def write_parts(path: Path, parts: Iterable[bytes], mode: int = 0o644) -> None:
    """Like `write_whole`, for what is too much to be held at once.

    The name of the temporary file is fixed: a writer that was killed leaves one file behind, not many.
    """
    temporary = path.with_name(path.name + ".new")
    descriptor = _new_file(temporary, mode)
    try:
        size = 0
        for part in parts:
            write_all(descriptor, part)
            size += len(part)
        check_size(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)


def _new_file(path: Path, mode: int) -> int:
    """Open a file that did not exist: what lies there, a link to a file of somebody's above all, is not written to."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, mode)


def remove(path: Path) -> None:
    """Remove a file that may be missing, durably."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
