"""The ledger file while it is open for writing: appended to, synced, read back, proven. Decides nothing about scores.

One `Ledger` has one writer thread; every other method may be called from any thread.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minimon_server.disk import check_size, write_all, write_whole
from minimon_server.errors import Text
from minimon_server.scores import records
from minimon_server.scores.leaves import LeafStore
from minimon_server.scores.merkle import Tree, leaf_hash, proves_consistency, proves_inclusion
from minimon_server.scores.notes import Checkpoint, NoteSigner
from minimon_server.scores.places import Places
from minimon_server.scores.records import Record

# What a full disk, a quota or a limit says: the bytes were refused, nothing that was written before is in doubt.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_ROOM: Final = 1 << 14  # a few records

_LEAVES_CHANGED: Final = Text(
    "les empreintes des feuilles ont été modifiées", "the stored leaf hashes have been changed"
)


class LedgerFull(Exception):
    """Nothing was written for want of room; the next try may succeed."""


class LedgerBroken(Exception):
    """What is on disk can no longer be trusted; only a new start, which reads it all, may write again."""

    def __init__(self, text: Text) -> None:
        self.text = text
        super().__init__(text.en)


@dataclass(frozen=True, slots=True)
class Paths:
    """The ledger and what lies beside it, named after it."""

    ledger: Path

    def beside(self, suffix: str) -> Path:
        """Return the path of one companion: lock, checkpoint, leaves, keys, tail."""
        return self.ledger.with_name(f"{self.ledger.name}.{suffix}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record that is to be appended: its line without line feed, and what it will be found by."""

    line: bytes
    id: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Proof:
    """That a record stands in the ledger: its number from 0, its line, its path under a signed checkpoint."""

    index: int
    line: bytes
    path: list[bytes]
    size: int
    root: bytes
    checkpoint: bytes


class Ledger:
    """What `opening.open_ledger` returns once it has read and compared everything."""

    def __init__(
        self, paths: Paths, descriptor: int, places: Places, leaves: LeafStore, tree: Tree, signer: NoteSigner
    ) -> None:
        self._paths = paths
        self._descriptor = descriptor
        self._places, self._leaves, self._tree = places, leaves, tree
        self._signer = signer
        self._memory = threading.Lock()  # held while places, leaves and tree change or are looked at, never over a sync
        self._signed: tuple[int, bytes] | None = None
        self.checkpointed = tree.size

    @property
    def size(self) -> int:
        """How many records are on disk for certain."""
        return self._tree.size

    def append(self, entries: Sequence[Entry]) -> None:
        """Write records and sync them; they are durable when this returns.

        Raises `LedgerFull` when there is no room, with the file as it was before, and `LedgerBroken` when the disk
        failed: the kernel may have dropped what it could not write and report success at the next sync, so a failed
        sync is never tried again ("fsyncgate", PostgreSQL 2018; Rebello et al., ATC 2020).
        """
        self._write(b"".join([b"%b\n" % entry.line for entry in entries]))
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise LedgerBroken(_failed("sync", error)) from error
        self._remember(entries)

    def try_room(self) -> None:
        """Raise `LedgerFull` while a record would find no room; nothing is left in the file."""
        self._write(b" " * _ROOM)  # without a line feed: killed here, a start sets it aside as half a line
        self._take_back()

    def _write(self, data: bytes) -> None:
        self._check_ours()
        try:
            write_all(self._descriptor, data)
            check_size(self._descriptor, self._places.end + len(data))
        except OSError as error:
            self._take_back()
            if error.errno in _FULL:
                raise LedgerFull(error.strerror) from error
            raise LedgerBroken(_failed("write", error)) from error

    def _check_ours(self) -> None:
        """Refuse to write into a file that somebody else has changed, moved or replaced since."""
        try:
            there, ours = self._paths.ledger.stat(), os.fstat(self._descriptor)
        except OSError as error:
            raise LedgerBroken(_failed("stat", error)) from error
        if (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev) or ours.st_size != self._places.end:
            raise LedgerBroken(
                Text(
                    "le registre a été modifié, déplacé ou remplacé pendant que le serveur tournait",
                    "the ledger was changed, moved or replaced while the server was running",
                )
            )

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._places.end)
        except OSError as error:
            raise LedgerBroken(_failed("truncate", error)) from error

    def _remember(self, entries: Sequence[Entry]) -> None:
        first = self._tree.size
        hashes = [leaf_hash(entry.line) for entry in entries]
        with self._memory:
            self._places.add(len(entry.line) + 1 for entry in entries)
            self._places.name(
                [(entry.id, number) for number, entry in enumerate(entries, first)],
                [(entry.key, number) for number, entry in enumerate(entries, first) if entry.key],
            )
            for leaf in hashes:
                self._leaves.append(leaf)
                self._tree.append(leaf)

    def with_id(self, score_id: str) -> tuple[int, Record] | None:
        """Return the number and the record of a score, or None; raise `LedgerBroken` when its line has changed."""
        with self._memory:
            numbers = self._places.with_id(score_id)
        for number, record in self._read(numbers):
            if record.id == score_id:
                return number, record
        return None

    def with_key(self, digest: str) -> Record | None:
        """Return the record that was made under an idempotency key, or None."""
        with self._memory:
            numbers = self._places.with_key(digest)
        for _, record in self._read(numbers):
            if record.idempotency and record.idempotency.key == digest:
                return record
        return None

    def _read(self, numbers: Iterable[int]) -> Iterable[tuple[int, Record]]:
        for number in numbers:
            try:
                record = records.read_line(self.line(number))
            except ValueError:  # unchanged, so that an operator has adopted it: nothing is wrong, and nothing is shown
                continue
            yield number, record

    def line(self, number: int) -> bytes:
        """Return a record's bytes as they were when they were hashed; raise `LedgerBroken` when they are not."""
        with self._memory:
            start, end = self._places.span(number)
            wanted = self._leaves.read(number, number + 1)
        found = os.pread(self._descriptor, end - start, start)[:-1]
        if leaf_hash(found) != wanted:
            text = Text(f"l'enregistrement {number + 1} a été modifié", f"record {number + 1} has been changed")
            raise LedgerBroken(text)
        return found

    def checkpoint(self) -> bytes:
        """Return a signed checkpoint over everything that is on disk: never over less than an earlier one."""
        with self._memory:
            return self._sign(self._tree.size, self._tree.root())

    def _sign(self, size: int, root: bytes) -> bytes:
        if not self._signed or self._signed[0] != size:
            note = self._signer.sign(Checkpoint(self._signer.key.name, size, root).text())
            self._signed = size, note
        return self._signed[1]

    def prove(self, number: int) -> Proof:
        """Prove that record `number` stands in the ledger as it is now."""
        line = self.line(number)
        with self._memory:
            size, root = self._tree.size, self._tree.root()
            path = self._tree.inclusion(number, size)
            note = self._sign(size, root)
        if not proves_inclusion(number, size, leaf_hash(line), path, root):
            raise LedgerBroken(_LEAVES_CHANGED)
        return Proof(number, line, path, size, root, note)

    def prove_growth(self, old: int, new: int) -> tuple[bytes, bytes, list[bytes]]:
        """Return both roots, and the proof that the tree of `new` records extends that of `old`."""
        with self._memory:
            tree, size, whole = self._tree, self._tree.size, self._tree.root()
            before, after, path = tree.root(old), tree.root(new), tree.consistency(old, new)
            steps = [(old, before, path)]
            if new != size:
                steps = [(old, before, tree.consistency(old, size)), (new, after, tree.consistency(new, size))]
        # The present root is kept in memory: what leads to it was not made of leaf hashes that somebody changed.
        if not all(proves_consistency(count, size, root, whole, found) for count, root, found in steps):
            raise LedgerBroken(_LEAVES_CHANGED)
        return before, after, path

    def save_checkpoint(self) -> None:
        """Put the leaf hashes, then the checkpoint over them, on disk; raise `OSError` when that fails: try again."""
        with self._memory:
            size, note = self._tree.size, self._sign(self._tree.size, self._tree.root())
        written = self._leaves.write_out()
        with self._memory:
            self._leaves.settle(written)
        write_whole(self._paths.beside("checkpoint"), note)
        self.checkpointed = size

    def close(self) -> None:
        """Close the files."""
        os.close(self._descriptor)
        self._leaves.close()


def _failed(what: str, error: OSError) -> Text:
    return Text(
        f"le disque a refusé une opération ({what} : {error.strerror})",
        f"the disk failed ({what}: {error.strerror})",
    )
