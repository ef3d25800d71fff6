"""An operator vouches for a ledger as it is: checked, shown, and only then signed anew. Never edits a record.

What this proves is said in docs/scores.md: nothing about what was done before. The log gets a new name, because a log
that signs two histories under one name would be lying about one of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from minimon_server.disk import sync_folder, write_all, write_whole
from minimon_server.scores import key_files, records
from minimon_server.scores.answers import Answer
from minimon_server.scores.audit import Report, audit, describe
from minimon_server.scores.evidence import CannotCheck, gather
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.ledger import Paths
from minimon_server.scores.lock import LedgerLock
from minimon_server.scores.merkle import Tree, leaf_hash
from minimon_server.scores.notes import Checkpoint, NoteKey, NoteSigner
from minimon_server.scores.public_keys import PublicKey, UnusableKey, public_key_of
from minimon_server.scores.scan import Remainder, lines

_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is to be adopted, by which key, and what else is known; `name` is the new log's, `stamp` the time's."""

    ledger: Path
    checkpoint_key: Path
    key_sets: Sequence[Path]
    certificates: Sequence[Path]
    name: str
    stamp: str


def adopt(asked: Adoption, *, sure: bool) -> Answer:
    """Check everything, and with `sure` sign it; raise `CannotCheck`, `StartupError` or `OSError` if that cannot be."""
    if not asked.ledger.is_file():
        raise CannotCheck(f"{asked.ledger} is no file")
    paths = Paths(asked.ledger)
    lock = LedgerLock(paths)
    try:
        if paths.beside("tail").exists():
            tail = paths.beside("tail").name
            raise CannotCheck(f"{tail} holds records that a start has yet to write: start the server once, then adopt")
        return _adopt(paths, asked, sure=sure)
    finally:
        lock.release()


def _adopt(paths: Paths, asked: Adoption, *, sure: bool) -> Answer:
    private = key_files.read_checkpoint_key(asked.checkpoint_key)
    signer = NoteSigner(asked.name, private)
    given = _given(asked)
    evidence = gather(paths.ledger, ring=given if given.scores else None, logs=given.logs)
    evidence.ring = ring = _joined([evidence.ring, given, *([evidence.kept] if evidence.kept else [])])
    if ring.get(private.public.key_id):
        raise CannotCheck(f"{asked.checkpoint_key} holds a key that signs scores: one key has one purpose")
    report = audit(paths.ledger, evidence)
    count, root = _whole(paths)
    told = [
        *_shown(report, ring),
        f"{count} records would be vouched for by the log {signer.key.vkey}.",
    ]
    facts = {"records": count, "findings": len(report.findings) + report.more, "vkey": signer.key.vkey}
    if not sure:
        return Answer(None, [*told, "Nothing was changed. With --yes you vouch for it as it is."], facts, "NOT ADOPTED")
    _sign(paths, signer, ring.with_log_key(signer.key), Checkpoint(signer.key.name, count, root), asked.stamp)
    kept = f"What lay beside the ledger before is kept under names that end in .old-{asked.stamp}."
    return Answer(True, [*told[:-1], f"{count} records, log {signer.key.vkey}.", kept], facts, "ADOPTED")


def _given(asked: Adoption) -> KeyRing:
    """Return the public keys that the operator names."""
    rings = []
    for path in asked.key_sets:
        try:
            rings.append(KeyRing.from_json(path.read_bytes()))
        except ValueError as error:
            raise CannotCheck(f"{path} holds no public keys that can be used: {error}") from error
    certified: list[PublicKey] = []
    for path in asked.certificates:
        try:
            chain = x509.load_pem_x509_certificates(path.read_bytes())
            certified.append(public_key_of(chain[0].public_key(), chain))
        except UnusableKey as error:
            raise CannotCheck(f"the key of {path} {error}") from error
        except ValueError as error:
            raise CannotCheck(f"{path} is no certificate in PEM: {error}") from error
    return _joined([KeyRing(certified, []), *rings])


def _joined(rings: Iterable[KeyRing]) -> KeyRing:
    """Return one ring with all keys, each once, the first named first."""
    scores: dict[str, PublicKey] = {}
    logs: dict[NoteKey, None] = {}
    prints: dict[str, list[str]] = {}
    for ring in rings:
        for key in ring.scores:
            scores.setdefault(key.key_id, key)
            prints.setdefault(key.key_id, []).extend(ring.fingerprints(key))
        logs.update(dict.fromkeys(ring.logs))
    return KeyRing(list(scores.values()), list(logs), prints)


def _shown(report: Report, ring: KeyRing) -> list[str]:
    count = len(report.findings) + report.more
    keys = f"{len(ring.scores)} public keys of scores are known and will stay published"
    found = f"{report.records} records were read; {keys}; {count or 'no'} findings."
    more = [f"... and {report.more} more"] if report.more else []
    return [found, *describe(report.findings), *more, *(f"Note: {note.en}." for note in report.notes)]


def _whole(paths: Paths) -> tuple[int, bytes]:
    """Return number and root of the records; raise `CannotCheck` at a line that a server could not open."""
    tree, remainder, block = Tree(_unread), Remainder(), bytearray()
    with paths.ledger.open("rb") as file:
        for line in lines(file, remainder):
            try:
                records.id_of(line.data)
                records.keys_of(line.data)
            except ValueError as error:
                where = f"record {line.number + 1}, byte {line.offset}"
                raise CannotCheck(
                    f"{where} is no record ({error}): adopting edits nothing, so mend it first"
                ) from error
            block += leaf_hash(line.data)
            if len(block) >= _BLOCK:
                tree.extend(bytes(block))
                block.clear()
    tree.extend(bytes(block))
    return tree.size, tree.root()


def _sign(paths: Paths, signer: NoteSigner, ring: KeyRing, checkpoint: Checkpoint, stamp: str) -> None:
    """Put it on disk: the ledger's own bytes, leaves, keys, and last the checkpoint that speaks for them.

    Until that last step the former checkpoint or none is there, so that a start refuses what is half done.
    """
    status = paths.ledger.stat()
    for suffix in ("checkpoint", "keys", "leaves"):
        if (path := paths.beside(suffix)).exists():
            os.link(path, path.with_name(f"{path.name}.old-{stamp}"))
    tree = _write_anew(paths)
    if (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):
        raise CannotCheck("the ledger changed while it was read: nothing was signed")
    write_whole(paths.beside("keys"), ring.note(signer))
    write_whole(paths.beside("checkpoint"), signer.sign(checkpoint.text()))
    if os.geteuid() == 0:  # root adopts for the user whose server it is
        for suffix in ("checkpoint", "keys", "leaves", "lock"):
            os.chown(paths.beside(suffix), status.st_uid, status.st_gid)
        os.chown(paths.ledger, status.st_uid, status.st_gid)
    sync_folder(paths.ledger.parent)


def _write_anew(paths: Paths) -> Tree:
    """Copy the ledger to a synced file in its place, with its leaf hashes.

    After a failed sync the page cache may show lines that the disk never got; what is vouched for must be there.
    """
    tree, remainder = Tree(_unread), Remainder()
    copy, leaves = paths.beside("new"), paths.beside("leaves.new")
    with paths.ledger.open("rb") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target, _BLOCK)
        target.flush()
        os.fsync(target.fileno())
    shutil.copymode(paths.ledger, copy)
    with copy.open("rb") as source, leaves.open("wb") as target:
        block = bytearray()
        for line in lines(source, remainder):
            block += leaf_hash(line.data)
            if len(block) >= _BLOCK:
                write_all(target.fileno(), bytes(block))
                tree.extend(bytes(block))
                block.clear()
        write_all(target.fileno(), bytes(block))
        tree.extend(bytes(block))
        os.fsync(target.fileno())
    copy.replace(paths.ledger)
    leaves.replace(paths.beside("leaves"))
    sync_folder(paths.ledger.parent)
    return tree


def _unread(start: int, end: int) -> bytes:
    raise AssertionError(f"only the root is asked for, not leaves {start} to {end}")
