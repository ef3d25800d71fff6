"""The catalogue as it is now: read anew when its file changes; after a mistake the last good one stays."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from minimon_server.catalog.entries import EMPTY, Catalogue
from minimon_server.catalog.reading import LARGEST, CatalogMistakes, read_catalogue
from minimon_server.logs import Logger

Stamp = tuple[int, int, int]


class KeptCatalogue:
    """One file, for every thread. Whoever calls `now` may wait for its disk."""

    def __init__(self, path: Path, log: Logger) -> None:
        self._path = path
        self._log = log
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._looked = False
        self._good = EMPTY
        self.problems: tuple[str, ...] = ()  # of the file as it was found last

    def now(self) -> Catalogue:
        """Return what the file says; what it said last where it cannot be read now; nothing where there is no file."""
        with self._lock:
            stamp = stamp_of(self._path)
            if self._looked and stamp == self._stamp:
                return self._good
            # The stamp is older than what is read: a change in between shows as another stamp at the next look.
            is_first, self._looked, self._stamp = not self._looked, True, stamp
            try:
                self._take(read_catalogue(read_bounded(self._path, LARGEST)) if stamp else EMPTY, tell=not is_first)
            except CatalogMistakes as error:
                self._refuse(error.lines)
            except OSError as error:
                self._refuse([(error.strerror or type(error).__name__).lower()])
            return self._good

    def _take(self, good: Catalogue, *, tell: bool) -> None:
        if tell and (self.problems or good != self._good):
            counts = {"models": len(good.model), "loras": len(good.lora), "parts": len(good.part)}
            self._log.info("the changed catalogue is used from now on", file=self._path.name, **counts)
        self._good, self.problems = good, ()

    def _refuse(self, lines: list[str] | tuple[str, ...]) -> None:
        self.problems = tuple(f"{self._path.name}: {line}" for line in lines)
        self._log.warning("catalogue not used; the last good one stays", problems=list(self.problems))


def problems_of(path: Path) -> list[str]:
    """Return what is wrong with a catalogue, a line each; nothing where there is none."""
    try:
        if stamp_of(path):
            read_catalogue(read_bounded(path, LARGEST))
    except CatalogMistakes as error:
        return [f"{path}: {line}" for line in error.lines]
    except OSError as error:
        return [f"{path}: {(error.strerror or type(error).__name__).lower()}"]
    return []


def stamp_of(path: Path) -> Stamp | None:
    """Return what tells one state of a file from another: inode, size and time of change; None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return (0, 0, 0)  # it cannot be looked at: reading it will say why
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_bounded(path: Path, most: int) -> bytes:
    """Return the bytes of a plain file, one more than `most` of a larger one; raise `OSError` for anything else."""
    descriptor = open_plain(path)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most + 1)


def open_plain(path: Path) -> int:
    """Open a file for reading; raise `OSError` for what is none: a pipe would keep its reader waiting for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a file")
    return descriptor
