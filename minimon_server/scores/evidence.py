"""What a ledger is checked by: public keys, checkpoints, stored leaf hashes, from beside it or from outside.

Everything is read, nothing is written, and what had to be taken on trust is said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minimon_server.errors import Text
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.ledger import Paths
from minimon_server.scores.merkle import HASH_BYTES
from minimon_server.scores.notes import BadNote, Checkpoint, NoteKey, open_note


class CannotCheck(Exception):
    """Why nothing can be said at all: the text of a message to whoever asked."""


class StoredLeaves:
    """The file of leaf hashes, read as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size // HASH_BYTES

    def read(self, start: int, end: int) -> bytes:
        """Return the hashes of leaves [start, end), joined; raise `OSError` when they are gone."""
        with self._path.open("rb") as file:
            found = os.pread(file.fileno(), (end - start) * HASH_BYTES, start * HASH_BYTES)
        if len(found) != (end - start) * HASH_BYTES:
            raise OSError(f"{self._path} has become shorter")
        return found


@dataclass(slots=True)
class Evidence:
    """What there is to check by; `faults` are wrong already, `notes` are taken on trust or cannot be checked."""

    ring: KeyRing
    kept: KeyRing | None = None  # the keys beside the ledger, if they are signed as they must be
    checkpoint: Checkpoint | None = None
    outside: Checkpoint | None = None  # a copy that somebody kept elsewhere
    stored_leaves: StoredLeaves | None = None
    faults: list[Text] = field(default_factory=list)
    notes: list[Text] = field(default_factory=list)

    def checkpoints(self) -> Iterator[tuple[Checkpoint, Text]]:
        """Yield the checkpoints that are signed, and what each is called."""
        if self.checkpoint:
            yield self.checkpoint, Text("le point de contrôle", "the checkpoint")
        if self.outside:
            yield self.outside, Text("le point de contrôle gardé ailleurs", "the checkpoint that was kept elsewhere")


def gather(
    ledger: Path, *, ring: KeyRing | None = None, logs: Sequence[NoteKey] = (), outside: bytes | None = None
) -> Evidence:
    """Read what lies beside a ledger and judge it by the keys given, or by its own where none are.

    There may be no key at all, and then no signature is a known one. Raises `OSError` when a file cannot be read.
    """
    paths = Paths(ledger)
    note, keys = _read(paths.beside("checkpoint")), _read(paths.beside("keys"))
    leaves = paths.beside("leaves")
    faults, notes = list[Text](), list[Text]()
    known = list(logs) or list(ring.logs if ring else ())
    kept, fault = _kept_ring(keys, known)
    if fault:
        faults.append(fault)
    if not known and kept:
        known = list(kept.logs)
        notes.append(_own_word(kept))
    evidence = Evidence(ring or kept or KeyRing([], []), kept, faults=faults, notes=notes)
    if leaves.exists():
        evidence.stored_leaves = StoredLeaves(leaves)
    if note is None:
        notes.append(_NO_CHECKPOINT)
    else:
        evidence.checkpoint = _checkpoint(note, known, faults, notes)
    if outside is not None:
        evidence.outside = _checkpoint(outside, known, faults, notes)
    ours, theirs = evidence.checkpoint, evidence.outside
    if ours and theirs and ours.origin != theirs.origin:
        faults.append(_other_log(ours.origin, theirs.origin))
    return evidence


def self_vouched(note: bytes) -> KeyRing:
    """Return the keys in a note that one of them has signed; raise `BadNote` when none has."""
    document = note.partition(b"\n")[2].partition(b"\n")[0]
    try:
        claimed = KeyRing.from_json(document)
    except ValueError as error:
        raise BadNote(f"it keeps malformed keys: {error}") from error
    return KeyRing.from_note(note, claimed.logs)


def _kept_ring(note: bytes | None, known: Sequence[NoteKey]) -> tuple[KeyRing | None, Text | None]:
    """Return the keys that lie beside the ledger, or what is wrong with them."""
    if note is None:
        return None, None
    try:
        return (KeyRing.from_note(note, known) if known else self_vouched(note)), None
    except BadNote as error:
        return None, Text(f"les clés à côté du registre : {error}", f"the keys beside the ledger: {error}")


def _checkpoint(note: bytes, known: Sequence[NoteKey], faults: list[Text], notes: list[Text]) -> Checkpoint | None:
    if not known:
        notes.append(_NO_LOG_KEY)
        return None
    try:
        found = Checkpoint.from_text(open_note(note, known))
    except BadNote as error:
        faults.append(Text(f"le point de contrôle : {error}", f"the checkpoint: {error}"))
        return None
    if found.origin not in {key.name for key in known}:
        faults.append(_other_log(found.origin, known[0].name))
        return None
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _own_word(ring: KeyRing) -> Text:
    names = ", ".join(key.vkey for key in ring.logs)
    return Text(
        f"les clés viennent d'à côté du registre ({names}) : comparez-les à celles que vous connaissez",
        f"the keys are those beside the ledger ({names}): compare them with those that you know",
    )


def _other_log(one: str, other: str) -> Text:
    return Text(
        f"le point de contrôle est celui d'un autre registre ({one} et {other})",
        f"the checkpoint is another ledger's ({one} and {other})",
    )


_NO_CHECKPOINT = Text(
    "il n'y a pas de point de contrôle à côté du registre : une suppression ou un échange ne se verraient pas",
    "there is no checkpoint beside the ledger: a deletion or an exchange would not be seen",
)
_NO_LOG_KEY = Text(
    "le point de contrôle n'est pas vérifié : sa clé n'est pas connue (--vkey)",
    "the checkpoint is not verified: its key is not known (--vkey)",
)
