"""The pictures that jobs begin with, as files of one folder, each named by the digest of its bytes. Knows no job.

A file is on the disk before the job that names it is accepted, and may be named by several. It is held while such a
job is on its way into the journal; what nobody holds or names can be removed. Calls that wait for the disk say so.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

from minimon_server.disk import make_folder, write_whole
from minimon_server.engines.messages import NormalPicture
from minimon_server.errors import StartupError

# What we have written ourselves. Anything else in the folder is somebody's, and left alone.
UNFINISHED: Final = ".new"  # as `disk.write_whole` has it
_OURS: Final = re.compile(rf"([0-9a-f]{{64}})\.png(?:{UNFINISHED})?")


class InputsFull(Exception):
    """The pictures of waiting jobs take as much room as they may."""


class InputLost(Exception):
    """A picture that is missing, or no longer holds the bytes that were written."""


class InputFiles:
    """The one writer of its folder, for every thread."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """`folder` is made with the first picture, and need not be there where none ever comes."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._sizes: dict[str, int] = {}  # of what is on the disk, or on its way there
        self._ready: set[str] = set()
        self._held: Counter[str] = Counter()
        self._touched: set[str] = set()  # held since `idle` was asked
        self._going: set[str] = set()
        self._writing = threading.Lock()

    @property
    def size(self) -> int:
        """How many bytes the files have together."""
        with self._changed:
            return sum(self._sizes.values())

    def open(self, named: Collection[str]) -> int:
        """Look at what the last process left, remove what none of `named` names, and return how many that were.

        Raises `StartupError` for a folder that cannot be used. Waits for the disk.
        """
        removed = 0
        try:
            for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
                ours = _OURS.fullmatch(path.name)
                if ours and ours[1] in named and path.name == f"{ours[1]}.png":
                    self._sizes[ours[1]] = path.stat().st_size
                    self._ready.add(ours[1])
                elif ours:
                    path.unlink()
                    removed += 1
        except OSError as error:
            raise StartupError([f"MINIMON_JOBS_PATH: {self._folder} cannot be used: {error.strerror}"]) from error
        return removed

    def hold(self, picture: NormalPicture) -> None:
        """Write a picture down to the disk unless it is there, and keep it until `let_go`.

        Raises `InputsFull`, or `OSError`; then it is not held. Waits for the disk.
        """
        digest = picture.picture.digest
        with self._changed:
            while digest in self._going:
                self._changed.wait()
            if digest not in self._sizes and sum(self._sizes.values()) + len(picture.png) > self._most_bytes:
                raise InputsFull
            self._held[digest] += 1
            self._touched.add(digest)
            self._sizes[digest] = len(picture.png)
            there = digest in self._ready
        try:
            if not there:
                self._write(digest, picture.png)
        except OSError:
            self.let_go([digest])
            raise

    def _write(self, digest: str, png: bytes) -> None:
        path = self._folder / f"{digest}.png"
        with self._writing:  # one at a time: two may bring the same picture
            if digest in self._ready:
                return
            try:
                make_folder(self._folder)
                write_whole(path, png, 0o600)
            except OSError:
                path.with_name(path.name + UNFINISHED).unlink(missing_ok=True)
                raise
            with self._changed:
                self._ready.add(digest)

    def let_go(self, digests: Iterable[str]) -> None:
        """Hold pictures no longer: from here on a job names them, or nobody does."""
        with self._changed:
            for digest in digests:
                self._held[digest] -= 1
                if not self._held[digest]:
                    del self._held[digest]
                    if digest not in self._ready:
                        self._sizes.pop(digest, None)  # it could not be written

    def idle(self) -> frozenset[str]:
        """Return what nobody holds; to be asked before asking which pictures jobs name."""
        with self._changed:
            self._touched.clear()
            return frozenset(self._ready - set(self._held))

    def remove(self, digests: Iterable[str]) -> None:
        """Remove what was idle and is named by no job, unless somebody has held it since. Waits for the disk.

        After an `OSError` the rest is still there, and can be removed the next time.
        """
        with self._changed:
            going = [digest for digest in digests if digest in self._ready and digest not in self._touched]
            self._going.update(going)
        gone: list[str] = []
        try:
            for digest in going:
                (self._folder / f"{digest}.png").unlink(missing_ok=True)
                gone.append(digest)
        finally:
            with self._changed:
                self._going.difference_update(going)
                self._ready.difference_update(gone)
                for digest in gone:
                    del self._sizes[digest]
                self._changed.notify_all()

    def read(self, digest: str) -> bytes:
        """Return the bytes that were written; raise `InputLost` when they cannot be had. Waits for the disk."""
        try:
            png = (self._folder / f"{digest}.png").read_bytes()
        except OSError as error:
            raise InputLost(digest) from error
        if sha256(png).hexdigest() != digest:
            raise InputLost(digest)
        return png
