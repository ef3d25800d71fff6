"""A whole ledger checked from outside: every line, every signature, the whole against its checkpoint. Changes nothing.

Needs no server and takes no lock. What lies beside the ledger is read before the ledger itself, so a server may go on
appending: what it adds meanwhile comes after everything that the checkpoint read here has signed.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from minimon_server.errors import Text
from minimon_server.scores import records
from minimon_server.scores.differences import differences
from minimon_server.scores.evidence import Evidence
from minimon_server.scores.merkle import HASH_BYTES, Tree, leaf_hash
from minimon_server.scores.notes import Checkpoint
from minimon_server.scores.places import Places
from minimon_server.scores.scan import Line, Remainder, lines, tree_of
from minimon_server.scores.verify import judge

# A ledger in which everything is wrong is told by its first faults, and by how many there are.
MOST_FINDINGS: Final = 1000
_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the record's number from 1 and the offset of its line, where it has them."""

    record: int | None
    offset: int | None
    text: Text


@dataclass(slots=True)
class Report:
    """What an audit found; `notes` are what it could not check or had to take on trust."""

    records: int = 0
    bytes: int = 0
    signatures: int = 0
    checkpoint: Checkpoint | None = None
    unterminated: int = 0  # bytes after the last line feed
    findings: list[Finding] = field(default_factory=list)
    more: int = 0  # findings beyond MOST_FINDINGS
    notes: list[Text] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


class Audit:
    """One reading of one ledger."""

    def __init__(self, ledger: Path, evidence: Evidence, *, live: bool = False, trust_checkpoint: bool = False) -> None:
        """`live`: a server may be writing, so an unterminated last line is none of its faults.

        `trust_checkpoint`: signatures are verified past the checkpoint alone, as a server does that starts; the
        checkpoint's own signature vouches for what comes before.
        """
        self._ledger, self._evidence, self._live = ledger, evidence, live
        self._report = Report(checkpoint=evidence.checkpoint, notes=list(evidence.notes))
        self._judged_from = evidence.checkpoint.size if trust_checkpoint and evidence.checkpoint else 0
        self._places = Places()
        self._hashes = array("Q")  # the first 8 bytes of each line's hash: enough to tell what was done, not whether
        self._roots: dict[int, bytes] = {}
        self._latest = ""  # issuedAt
        self._faulty: set[int] = set()

    def run(self) -> Report:
        """Read everything; raise `OSError` when that is impossible."""
        report, remainder = self._report, Remainder()
        for text in self._evidence.faults:
            self._find(None, None, text)
        with self._ledger.open("rb") as file:
            self._walk(file, lines(file, remainder))
            report.bytes = os.fstat(file.fileno()).st_size
            report.unterminated = max(report.bytes - remainder.offset, 0)
            if report.unterminated and not self._live:
                self._find(report.records + 1, remainder.offset, _unterminated(report.unterminated))
        for checkpoint, said in self._evidence.checkpoints():
            self._compare(checkpoint, said)
        # In the order of the file; what has no place in it comes first.
        report.findings.sort(key=lambda one: -1 if one.offset is None else one.offset)
        return report

    def _find(self, record: int | None, offset: int | None, text: Text) -> None:
        if len(self._report.findings) < MOST_FINDINGS:
            self._report.findings.append(Finding(record, offset, text))
        else:
            self._report.more += 1

    def _walk(self, file: BinaryIO, found: Iterator[Line]) -> None:
        """Judge every line, and note the root at each size that a checkpoint speaks of."""
        sizes = sorted({checkpoint.size for checkpoint, _ in self._evidence.checkpoints()}, reverse=True)
        tree, block = Tree(_unread), bytearray()
        for line in found:
            if sizes and sizes[-1] == line.number:
                tree.extend(bytes(block))
                block.clear()
                self._roots[sizes.pop()] = tree.root()
            leaf = leaf_hash(line.data)
            block += leaf
            self._hashes.append(int.from_bytes(leaf[:8], "big"))
            self._judge(file, line)
            self._report.records = line.number + 1
            if len(block) == _AT_ONCE * HASH_BYTES:
                tree.extend(bytes(block))
                block.clear()
        tree.extend(bytes(block))
        self._roots[tree.size] = tree.root()

    def _judge(self, file: BinaryIO, line: Line) -> None:
        places, number = self._places, line.number
        places.add((len(line.data) + 1,))
        if number < self._judged_from:
            return self._name(file, line)
        judged = judge(line.data, self._evidence.ring)
        self._report.signatures += 1
        if judged.wrong:
            self._faulty.add(number)
            return self._find(number + 1, line.offset, judged.wrong)
        assert judged.id
        assert judged.issued_at
        if judged.issued_at < self._latest:
            self._find(number + 1, line.offset, _backwards(judged.issued_at, self._latest))
        self._latest = max(judged.issued_at, self._latest)
        return self._name(file, line, judged.id)

    def _name(self, file: BinaryIO, line: Line, score_id: str | None = None) -> None:
        """Note a record's id, and find fault with one that an earlier record has."""
        try:
            score_id = score_id or records.id_of(line.data)
        except ValueError as error:
            return self._find(line.number + 1, line.offset, _no_record(error))
        for earlier in self._places.with_id(score_id):
            start, end = self._places.span(earlier)
            if records.id_of(os.pread(file.fileno(), end - start - 1, start)) == score_id:
                self._find(line.number + 1, line.offset, _same_id(earlier + 1))
                break
        return self._places.name(((score_id, line.number),), ())

    def _compare(self, checkpoint: Checkpoint, said: Text) -> None:
        """Compare the ledger with one checkpoint, and say what was done to it if they differ."""
        size, count = checkpoint.size, self._report.records
        if self._roots.get(size) == checkpoint.root:
            return
        if count < size:
            self._find(count + 1, self._places.end, _short(count, size, said))
        stored = self._evidence.stored_leaves
        if not stored or size > stored.size or tree_of(stored.read, size).root() != checkpoint.root:
            if count >= size:
                self._find(None, None, _other_root(size, said))
            return
        signed = array("Q")
        for start in range(0, size, _AT_ONCE):
            block = stored.read(start, min(start + _AT_ONCE, size))
            signed.extend(int.from_bytes(block[at : at + 8], "big") for at in range(0, len(block), HASH_BYTES))
        told = False
        for one in differences(signed, self._hashes):
            if one.at_end and one.line not in self._faulty:
                continue  # written since the checkpoint, and signed
            offset = self._places.end if one.line >= count else self._places.span(one.line)[0]
            self._find(one.record, offset, one.text)
            told = True
        if not told and count >= size:
            self._find(None, None, _other_root(size, said))


def audit(ledger: Path, evidence: Evidence, *, live: bool = False, trust_checkpoint: bool = False) -> Report:
    """Check a ledger by what is known of it; see `Audit`."""
    return Audit(ledger, evidence, live=live, trust_checkpoint=trust_checkpoint).run()


def describe(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield one English line for each finding: where, and what."""
    for one in findings:
        place = f"record {one.record}, byte {one.offset}: " if one.record else ""
        yield f"{place}{one.text.en}"


def _unread(start: int, end: int) -> bytes:
    raise AssertionError(f"only the root is asked for, not leaves {start} to {end}")


def _unterminated(length: int) -> Text:
    return Text(
        f"dernière ligne inachevée, de {length} octets : elle n'est pas un enregistrement",
        f"unterminated last line, of {length} bytes: it is no record",
    )


def _no_record(error: ValueError) -> Text:
    return Text(f"ce n'est pas un enregistrement ({error})", f"not a record ({error})")


def _same_id(record: int) -> Text:
    return Text(f"son id est celui de l'enregistrement {record}", f"its id is that of record {record}")


def _backwards(issued: str, latest: str) -> Text:
    return Text(
        f"issuedAt ({issued}) est avant celui d'un enregistrement précédent ({latest})",
        f"issuedAt ({issued}) is before that of an earlier record ({latest})",
    )


def _short(count: int, size: int, said: Text) -> Text:
    return Text(
        f"le registre s'arrête après {count} enregistrements ; {said.fr} en a signé {size}",
        f"the ledger ends after {count} records; {said.en} signed {size}",
    )


def _other_root(size: int, said: Text) -> Text:
    return Text(
        f"les {size} premiers enregistrements ne donnent pas la racine que {said.fr} a signée, et rien ne dit lequel a "
        "changé",
        f"the first {size} records do not lead to the root that {said.en} signed, and nothing tells which one has "
        "changed",
    )
