"""A ledger read from its first byte to its last and compared with what was signed over it. Changes nothing.

The start of a server and the offline verifier both look through these eyes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from minimon_server.errors import Text
from minimon_server.scores.merkle import HASH_BYTES, Tree, leaf_hash
from minimon_server.scores.records import LONGEST_LINE

_BLOCK: Final = 1 << 20
_AT_ONCE: Final = 4096


class Tampered(Exception):
    """The ledger is not what was signed: which record (counted from 1), where it begins, and what is wrong."""

    def __init__(self, text: Text, *, record: int | None = None, offset: int | None = None) -> None:
        self.text = text
        self.record = record
        self.offset = offset
        super().__init__(text.en)


class Line(NamedTuple):
    """One line: its number from 0, where it begins, its bytes without the line feed."""

    number: int
    offset: int
    data: bytes


@dataclass(slots=True)
class Remainder:
    """What stands after the last line feed."""

    offset: int = 0
    data: bytes = b""


def lines(file: BinaryIO, remainder: Remainder) -> Iterator[Line]:
    """Yield every terminated line; at the end `remainder` holds what is left over."""
    number = offset = 0
    left = b""
    while block := file.read(_BLOCK):
        parts = (left + block).split(b"\n")
        left = parts.pop()
        for data in parts:
            yield Line(number, offset, data)
            number, offset = number + 1, offset + len(data) + 1
        if len(left) > LONGEST_LINE:
            break  # a line that long was never written; what follows is for whoever looks at the remainder
    remainder.offset, remainder.data = offset, left


def compare(
    found: Iterator[Line],
    size: int,
    root: bytes,
    leaves: Callable[[int, int], bytes] | None,
    tree: Tree,
    each: Callable[[Line, bytes], None],
) -> None:
    """Compare the first `size` lines with the root that was signed; hand each with its hash to `each`.

    `leaves` are the stored leaf hashes, and `tree` is made of them (`tree_of`); where there are none that lead to the
    root, `leaves` is None, and `tree` is empty and will hold what was found. With stored ones, whatever was done to
    the ledger is located. Raises `Tampered`.
    """
    for first in range(0, size, _AT_ONCE):
        count = min(_AT_ONCE, size - first)
        block = leaves(first, first + count) if leaves else b""
        hashes = []
        for number in range(first, first + count):
            line = next(found, None)
            if line is None:
                raise _cut(number, size)
            leaf = leaf_hash(line.data)
            at = (number - first) * HASH_BYTES
            if leaves and leaf != block[at : at + HASH_BYTES]:
                raise _located(line, found, leaves(0, size))
            each(line, leaf)
            hashes.append(leaf)
        if not leaves:
            tree.extend(b"".join(hashes))
    if tree.root() != root:
        raise Tampered(
            Text(
                f"les {size} premiers enregistrements ne donnent pas la racine signée, et sans les empreintes des "
                "feuilles on ne peut dire lequel a changé",
                f"the first {size} records do not lead to the root that was signed, and without the stored leaf "
                "hashes it cannot be said which one has changed",
            )
        )


def tree_of(leaves: Callable[[int, int], bytes], size: int) -> Tree:
    """Return the tree over stored leaf hashes."""
    tree = Tree(leaves)
    for start in range(0, size, _AT_ONCE):
        tree.extend(leaves(start, min(start + _AT_ONCE, size)))
    return tree


def _cut(number: int, size: int) -> Tampered:
    return Tampered(
        Text(
            f"le registre s'arrête après {number} enregistrements sur {size} signés : le {number + 1} manque",
            f"the ledger ends after {number} of {size} signed records: record {number + 1} is missing",
        ),
        record=number + 1,
    )


def _located(line: Line, following: Iterator[Line], stored: bytes) -> Tampered:
    """Say what was done at the first line that differs, by looking for its hash among the others."""
    number = line.number
    found, after = leaf_hash(line.data), next(following, None)
    next_found = leaf_hash(after.data) if after else None
    place = _place(stored, found)
    if next_found == _at(stored, number) and place is None:
        told = Text("une ligne étrangère a été insérée ici", "a foreign line was inserted here")
    elif next_found == _at(stored, number) and place == number + 1:
        told = Text(f"échangé avec le {number + 2}", f"swapped with record {number + 2}")
    elif next_found == _at(stored, number):
        told = Text(
            f"l'enregistrement {(place or 0) + 1} est répété ici", f"record {(place or 0) + 1} is repeated here"
        )
    elif place is None:
        told = Text("son contenu a été modifié", "its content was changed")
    elif place > number and next_found == _at(stored, place + 1):
        last = "" if place == number + 1 else f" - {place}"
        told = Text(f"supprimé ({number + 1}{last})", f"deleted ({number + 1}{last})")
    else:
        told = Text(f"l'enregistrement {place + 1} est à sa place", f"record {place + 1} stands in its place")
    text = Text(f"enregistrement {number + 1} : {told.fr}", f"record {number + 1}: {told.en}")
    return Tampered(text, record=number + 1, offset=line.offset)


def _at(stored: bytes, number: int) -> bytes | None:
    return stored[number * HASH_BYTES : (number + 1) * HASH_BYTES] or None


def _place(stored: bytes, wanted: bytes) -> int | None:
    at = stored.find(wanted)
    while at >= 0 and at % HASH_BYTES:
        at = stored.find(wanted, at + 1)
    return at // HASH_BYTES if at >= 0 else None
