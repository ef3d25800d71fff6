"""The leaf hashes beside the ledger: 32 bytes a record, by which an edit is located. Owns that file, judges nothing."""

from __future__ import annotations

import os
from pathlib import Path

from minimon_server.disk import check_size, write_all
from minimon_server.scores.merkle import HASH_BYTES


class LeafStore:
    """All leaf hashes of one ledger: on disk up to the last `settle`, in memory from there."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; half a hash at its end is no hash.

        Not through a link: what is no list of hashes is set aside and cut, and a key must meet with neither.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._flushed = os.fstat(self._descriptor).st_size // HASH_BYTES
        self._tail = bytearray()

    @property
    def flushed(self) -> int:
        """How many hashes are read from the file."""
        return self._flushed

    def __len__(self) -> int:
        return self._flushed + len(self._tail) // HASH_BYTES

    def append(self, leaf: bytes) -> None:
        """Add one hash, in memory."""
        self._tail += leaf

    def read(self, start: int, end: int) -> bytes:
        """Return the hashes of leaves [start, end), joined; raise `OSError` when the file no longer has them."""
        found = b""
        if start < self._flushed:
            wanted = (min(end, self._flushed) - start) * HASH_BYTES
            found = os.pread(self._descriptor, wanted, start * HASH_BYTES)
            if len(found) != wanted:
                raise OSError("the file of leaf hashes has become shorter")
        first = max(start - self._flushed, 0) * HASH_BYTES
        return found + bytes(self._tail[first : (end - self._flushed) * HASH_BYTES]) if end > self._flushed else found

    def keep(self, count: int) -> None:
        """Forget all but the first `count` hashes."""
        if count < self._flushed:
            os.ftruncate(self._descriptor, count * HASH_BYTES)
            self._flushed = count
            self._tail.clear()
        else:
            del self._tail[(count - self._flushed) * HASH_BYTES :]

    def write_out(self) -> int:
        """Put on disk what is in memory and return how many hashes that were; `settle` then takes them for written.

        After an error nothing is taken for written, and the next call writes all of it anew.
        """
        if not self._tail:
            return 0
        os.ftruncate(self._descriptor, self._flushed * HASH_BYTES)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        data = bytes(self._tail)
        write_all(self._descriptor, data)
        check_size(self._descriptor, self._flushed * HASH_BYTES + len(data))
        os.fdatasync(self._descriptor)
        return len(data) // HASH_BYTES

    def settle(self, count: int) -> None:
        """Read the first `count` hashes in memory from the file from now on."""
        self._flushed += count
        del self._tail[: count * HASH_BYTES]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
