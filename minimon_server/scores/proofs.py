"""Proofs as they travel: JSON for programs, C2SP tlog-proof text for tools of transparency logs. Proves nothing new."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from minimon_server.scores.ledger import Proof
from minimon_server.scores.merkle import HASH_BYTES, leaf_hash, proves_inclusion
from minimon_server.scores.notes import Checkpoint, NoteKey, open_note

_TLOG_PROOF: Final = "c2sp.org/tlog-proof@v1"
MOST_HASHES: Final = 64


def as_json(proof: Proof, score_id: str) -> dict[str, Any]:
    """Return the members of an inclusion proof: everything that a verifier needs but the public keys."""
    return {
        "id": score_id,
        "index": proof.index,
        "record": proof.line.decode("utf-8"),
        "leafHash": b64(leaf_hash(proof.line)),
        "hashes": [b64(step) for step in proof.path],
        "treeSize": proof.size,
        "rootHash": b64(proof.root),
        "checkpoint": proof.checkpoint.decode("utf-8"),
    }


def as_text(proof: Proof) -> str:
    """Return a C2SP tlog-proof; its extra data is the record, whose hash is the leaf."""
    head = [_TLOG_PROOF, f"extra {b64(proof.line)}", f"index {proof.index}", *(b64(step) for step in proof.path)]
    return "\n".join(head) + "\n\n" + proof.checkpoint.decode("utf-8")


def b64(data: bytes) -> str:
    """Return base64 as RFC 4648, section 4, has it."""
    return base64.b64encode(data).decode("ascii")


@dataclass(frozen=True, slots=True)
class ReadProof:
    """A proof that came from outside, taken apart and not yet believed."""

    index: int
    line: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Take the JSON form apart; raise `ValueError` naming the member that is wrong."""
        if not isinstance(document, Mapping):
            raise ValueError("a proof is a JSON object")
        index, record, checkpoint = (document.get(name) for name in ("index", "record", "checkpoint"))
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise ValueError("index: a whole number from 0")
        if not isinstance(record, str) or not isinstance(checkpoint, str):
            raise ValueError("record and checkpoint: texts")
        hashes = document.get("hashes")
        if not isinstance(hashes, list):
            raise ValueError("hashes: a list")
        return cls(index, record.encode("utf-8"), decode_hashes(hashes), checkpoint.encode("utf-8"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Take a tlog-proof apart; raise `ValueError` when it is malformed, or has no record as its extra data."""
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines[0] != _TLOG_PROOF or len(lines) < 3 or not lines[1].startswith("extra "):
            raise ValueError(f"not a {_TLOG_PROOF} with a record as its extra data")
        label, _, index = lines[2].partition(" ")
        if label != "index" or not (index.isascii() and index.isdigit()) or str(int(index)) != index:
            raise ValueError("the line `index` is malformed")
        return cls(int(index), decode(lines[1][6:]), decode_hashes(lines[3:]), checkpoint.encode("utf-8"))

    def check(self, logs: Sequence[NoteKey]) -> tuple[Checkpoint, str | None]:
        """Return the checkpoint, and what is wrong or None; raise `BadNote` when none of `logs` has signed it."""
        checkpoint = Checkpoint.from_text(open_note(self.checkpoint, logs))
        leaf = leaf_hash(self.line)
        if not proves_inclusion(self.index, checkpoint.size, leaf, self.hashes, checkpoint.root):
            return checkpoint, "the hashes do not lead from the record to the root that was signed"
        return checkpoint, None


def decode(encoded: object) -> bytes:
    """Return what base64 in its one spelling stands for; raise `ValueError` for everything else."""
    try:
        raw = base64.b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("malformed base64") from error
    if b64(raw) != encoded:
        raise ValueError("base64 that is not in its one spelling")
    return raw


def decode_hashes(encoded: Sequence[object], most: int = MOST_HASHES) -> tuple[bytes, ...]:
    """Return the hashes of a proof; raise `ValueError` when they are too many, or none."""
    if len(encoded) > most:
        raise ValueError(f"hashes: at most {most}")
    found = tuple(decode(one) for one in encoded)
    if any(len(one) != HASH_BYTES for one in found):
        raise ValueError(f"hashes: each of {HASH_BYTES} bytes")
    return found
