"""The SHA-256 of a file, also while it still grows: a thread reads back what was written. Writes and judges nothing."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20
_OFTEN: Final = 4 << 20  # bytes after which the reader is woken: rarely enough to cost the writer nothing
_SYNCED: Final = 64 << 20  # bytes after which they are brought to the disk, so that little is left for the end


class NotKept(OSError):
    """What was written cannot be read back, or did not reach the disk: the system says so once, at the next sync."""


class GrowingHash:
    """Reads one file from its first byte to its last, each once. One thread asks; `following` has another one read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self._untold = 0
        self._more = threading.Event()
        self._ended = threading.Event()
        self._problem: NotKept | None = None

    @contextmanager
    def following(self) -> Iterator[None]:
        """Read and sync meanwhile, beside whoever appends and calls `grown`. The file is there already.

        Raise `NotKept` at the end when that failed, in the place of whatever else ended it; an interrupt stays one, and
        has it for its cause.
        """
        self._ended.clear()
        with self._path.open("rb", buffering=0) as file:
            thread = threading.Thread(target=self._follow, args=(file,), name="hash", daemon=True)
            thread.start()
            interrupt: KeyboardInterrupt | None = None
            try:
                yield
            except KeyboardInterrupt as error:
                interrupt = error
                raise
            finally:
                self._ended.set()
                self._more.set()
                thread.join()
                if self._problem is not None:
                    if interrupt is None:
                        raise self._problem
                    raise interrupt from self._problem

    def grown(self, count: int) -> None:
        """Say that `count` bytes more were written."""
        self._untold += count
        if self._untold >= _OFTEN:
            self._untold = 0
            self._more.set()

    def whole(self) -> tuple[int, str]:
        """Return how long the file is and its SHA-256, after reading what nobody has read yet; raise `OSError`."""
        with self._path.open("rb", buffering=0) as file:
            block = bytearray(_BLOCK)
            while self._take(file, block):
                pass
        return self._size, self._digest.hexdigest()

    def _follow(self, file: FileIO) -> None:
        block, synced = bytearray(_BLOCK), self._size
        try:
            while not self._ended.is_set():
                self._more.clear()
                while not self._ended.is_set() and self._take(file, block):
                    if self._size - synced >= _SYNCED:
                        os.fsync(file.fileno())
                        synced = self._size
                if not self._ended.is_set():
                    self._more.wait()
        except OSError as error:
            self._problem = NotKept(error.errno, error.strerror)

    def _take(self, file: FileIO, block: bytearray) -> bool:
        """Read a block more into `block`; return whether there was any."""
        file.seek(self._size)
        count = file.readinto(block)
        self._digest.update(memoryview(block)[:count])
        self._size += count
        return count > 0
