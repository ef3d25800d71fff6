"""SHA-256 of files and of parts of them on the disk, for the next start: one small file, which several processes write.

A hash counts for the very state of a file that it was computed of: device, inode, size, time of change, and time of the
node's change, which nobody can set back. Whatever is wrong with the file is logged, and hashes are computed anew. Reads
no weights.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from minimon_server.disk import make_folder, write_whole
from minimon_server.engines.file_stamps import MISSING, Stamp, stamp_or_missing
from minimon_server.logs import Logger

SCHEMA: Final = 1
SMALLEST_FILE: Final = 1 << 20  # bytes; a smaller one is hashed sooner than its hash is written
MOST_KEPT: Final = 2048  # files; those that were hashed longest ago go first
LARGEST: Final = 8 << 20  # bytes of the file of hashes: as many paths of 4096 bytes
# A file that changes twice within one tick of a file system's clock may bear the same times; 2 s are FAT's tick.
SETTLED_NS: Final = 2 * 10**9
TRIES, PAUSE_SECONDS = 50, 0.02  # until another process has written
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

Files = dict[str, tuple[Stamp, str]]


class _Damaged(Exception):
    """Why what lies there is no file of hashes."""


class KeptHashes:
    """For every thread, and beside other processes."""

    def __init__(self, path: Path, log: Logger, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock` gives nanoseconds since 1970, as file systems count them. Nothing is read before it is asked for."""
        self._path = path
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._files: Files = {}
        self._seen: Stamp | None = None  # of the file as it was read
        self._closed = False  # it is there and cannot be read: it is not written over
        self._told: set[tuple[str, str]] = set()

    def find(self, file: Path, stamp: Stamp, part: str = "") -> str | None:
        """Return the SHA-256 of a file in just this state, in lower-case hex; None where nobody has computed it.

        `part` names what was hashed of it, "" the whole.
        """
        with self._lock:
            self._read()
            kept = self._files.get(_name(file, part))
        return kept[1] if kept is not None and kept[0] == stamp else None

    def keep(self, file: Path, stamp: Stamp, digest: str, part: str = "") -> None:
        """Keep a hash for the next start, if that is worth it; what hinders that is logged, and hinders nothing else.

        `stamp` is that of `file_stamps.sure_stamp_of`: device, inode, size, and both times.
        """
        _, _, size, changed, node_changed = stamp
        if size < SMALLEST_FILE or self._clock() - max(changed, node_changed) < SETTLED_NS:
            return
        try:
            with self._lock:
                make_folder(self._path.parent)
                with self._alone():
                    self._read()  # what others have written meanwhile stays
                    if self._closed:
                        return  # as was told
                    self._files.pop(_name(file, part), None)
                    self._files[_name(file, part)] = stamp, digest
                    self._write()
        except OSError as error:
            self._tell("hashes are not kept", error)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other process write meanwhile; raise `OSError` where one does not end."""
        path = self._path.with_name(f"{self._path.name}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            for left in reversed(range(TRIES)):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not left:
                        raise
                    time.sleep(PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        """Read the file if it is another one than before."""
        stamp = stamp_or_missing(self._path)
        if stamp == self._seen:
            return
        self._seen, self._files, self._closed = stamp, {}, False
        if stamp == MISSING and not os.path.lexists(self._path):
            return  # nothing was kept yet
        try:
            self._files = _files_in(self._path)
        except OSError as error:
            self._closed = True
            self._tell("kept hashes cannot be read", error)
        except _Damaged as damage:
            aside = self._path.with_name(f"{self._path.name}.damaged")
            self._log.warning("kept hashes are damaged", file=str(self._path), reason=str(damage), aside=aside.name)
            try:
                self._path.replace(aside)
            except OSError as error:
                self._tell("kept hashes cannot be put aside", error)

    def _write(self) -> None:
        for oldest in list(self._files)[: max(0, len(self._files) - MOST_KEPT)]:
            del self._files[oldest]
        told = {path: {"stamp": stamp, "sha256": digest} for path, (stamp, digest) in self._files.items()}
        write_whole(self._path, orjson.dumps({"schema": SCHEMA, "files": told}))
        self._seen = stamp_or_missing(self._path)

    def _tell(self, event: str, error: OSError) -> None:
        """Say something once."""
        reason = (error.strerror or type(error).__name__).lower()
        if (event, reason) not in self._told:
            self._told.add((event, reason))
            self._log.warning(event, file=str(self._path), reason=reason)


def _name(file: Path, part: str) -> str:
    """Return what a hash is kept under: no path has a NUL in it."""
    return f"{file.absolute()}\0{part}" if part else str(file.absolute())


def _files_in(path: Path) -> Files:
    """Return what a file of hashes holds; raise `_Damaged` or `OSError`."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise _Damaged(f"more than {LARGEST >> 20} MiB")
    try:
        told = orjson.loads(data)
        if told["schema"] != SCHEMA:
            raise _Damaged(f"schema {told['schema']!a}, not {SCHEMA}")
        found = {name: (tuple(one["stamp"]), one["sha256"]) for name, one in told["files"].items()}
    except ValueError as error:
        raise _Damaged(f"not JSON: {error}") from None
    except (LookupError, TypeError, AttributeError) as error:
        raise _Damaged(f"not the form of kept hashes ({type(error).__name__})") from None
    for stamp, digest in found.values():
        if len(stamp) != 5 or not all(type(one) is int for one in stamp):
            raise _Damaged("a state of a file is not five whole numbers")
        if type(digest) is not str or not _SHA256.fullmatch(digest):
            raise _Damaged("a hash is not 64 hexadecimal digits")
    return found
