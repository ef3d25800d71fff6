"""What `python -m minimon_server.scores verify` does with each thing it is given: content in, answer out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from minimon_server.errors import InvalidRequest, PayloadTooLarge
from minimon_server.scores.answers import Answer
from minimon_server.scores.audit import audit, describe
from minimon_server.scores.evidence import CannotCheck, gather
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.merkle import leaf_hash, proves_consistency
from minimon_server.scores.notes import BadNote, Checkpoint, NoteKey, open_note
from minimon_server.scores.payload import read_canonical
from minimon_server.scores.proofs import MOST_HASHES, ReadProof, b64, decode_hashes
from minimon_server.scores.records import id_of
from minimon_server.scores.signed import read_signed
from minimon_server.scores.verify import REASONS, judge, verify

_NO_KEYS = "give --keys with a JSON Web Key Set, such as /.well-known/jwks.json of the server"
_NO_LOG = "give --vkey, or --keys with a key of checkpoints in it"


def check_score(body: bytes, ring: KeyRing | None) -> Answer:
    """Judge one signed score: signature, payload, certificate."""
    if ring is None or not ring.scores:
        raise CannotCheck(_NO_KEYS)
    try:
        signed = read_signed(body)
    except (InvalidRequest, PayloadTooLarge) as error:
        return Answer(False, ["this is no signed score", *_fields(error)], {"reason": "NOT_A_SCORE"})
    verdict = verify(signed, ring)
    facts = {"reason": verdict.reason, "keyId": verdict.key_id}
    if verdict.reason:
        return Answer(False, [REASONS[verdict.reason].en, *([verdict.detail] if verdict.detail else [])], facts)
    payload = read_canonical(signed.canonical)
    told = f"score {json.dumps(payload.score)} of {json.dumps(payload.subject)}, {payload.id}"
    return Answer(
        True,
        [f"{told}, certified {payload.issued_at}", f"Signed by the {signed.algorithm} key {verdict.key_id}."],
        {**facts, "id": payload.id},
    )


def check_proof(content: bytes, ring: KeyRing | None, logs: Sequence[NoteKey]) -> Answer:
    """Judge an inclusion proof, and the record in it where there are keys of scores."""
    if not logs:
        raise CannotCheck(_NO_LOG)
    try:
        text = content.decode("utf-8")
        said = json.loads(text) if text.lstrip().startswith("{") else None
        found = ReadProof.from_text(text) if said is None else ReadProof.from_json(said)
        checkpoint, wrong = found.check(logs)
    except BadNote as error:
        return Answer(False, [f"the checkpoint of the proof: {error}"])
    except (ValueError, RecursionError) as error:
        return Answer(False, [f"this is no proof: {error}"])
    facts = {"index": found.index, "treeSize": checkpoint.size, "origin": checkpoint.origin}
    if wrong := wrong or _contradiction(said or {}, found, checkpoint):
        return Answer(False, [wrong], facts)
    if checkpoint.origin not in {key.name for key in logs}:
        return Answer(False, [f"the checkpoint is of another log, {checkpoint.origin}"], facts)
    told = f"record {found.index + 1} of the {checkpoint.size} that the checkpoint of {checkpoint.origin} has signed"
    if ring is None or not ring.scores:
        return Answer(True, [told, f"The signature of its score was not checked: {_NO_KEYS}."], facts)
    judged = judge(found.line, ring)
    if judged.wrong:
        return Answer(False, [f"the record stands in the ledger, but: {judged.wrong.en}"], facts)
    return Answer(True, [told, f"Its score {judged.id} is signed by a published key."], {**facts, "id": judged.id})


def check_consistency(content: bytes, old: bytes, logs: Sequence[NoteKey]) -> Answer:
    """Judge whether the ledger of a new checkpoint extends that of an old one."""
    if not logs:
        raise CannotCheck(_NO_LOG)
    try:
        document = json.loads(content)
        if not isinstance(document, Mapping):
            raise ValueError("not a JSON object")
        before = _checkpoint(old, logs, "the old checkpoint")
        after = _checkpoint(str(document.get("checkpoint")).encode(), logs, "the new checkpoint")
        hashes = _hashes(document.get("hashes"))
    except BadNote as error:
        return Answer(False, [str(error)])
    except (ValueError, RecursionError) as error:
        return Answer(False, [f"this is no proof of consistency: {error}"])
    facts = {"from": before.size, "to": after.size, "origin": after.origin}
    if before.origin != after.origin:
        return Answer(False, [f"these are checkpoints of two logs, {before.origin} and {after.origin}"], facts)
    if (document.get("from"), document.get("to")) != (before.size, after.size):
        asked = f"from={before.size}&to={after.size}"
        raise CannotCheck(f"the proof is not between these two checkpoints: ask for /v1/ledger/consistency?{asked}")
    if not proves_consistency(before.size, after.size, before.root, after.root, hashes):
        told = f"the {after.size} records do not begin with the {before.size} that were signed before"
        return Answer(False, [f"{told}: history was rewritten"], facts)
    told = f"the {after.size} records begin with the very {before.size} of the old checkpoint"
    return Answer(True, [told], facts)


def check_ledger(ledger: Path, ring: KeyRing | None, logs: Sequence[NoteKey], outside: bytes | None) -> Answer:
    """Judge a whole ledger."""
    evidence = gather(ledger, ring=ring, logs=logs, outside=outside)
    if not evidence.ring.scores:
        raise CannotCheck(
            "; ".join([*(fault.en for fault in evidence.faults), f"no public keys of scores: {_NO_KEYS}"])
        )
    report = audit(ledger, evidence)
    facts = {
        "records": report.records,
        "signatures": report.signatures,
        "checkpointSize": report.checkpoint.size if report.checkpoint else None,
        "findings": [
            {"record": one.record, "offset": one.offset, "text": one.text.en, "textFr": one.text.fr}
            for one in report.findings
        ],
        "moreFindings": report.more,
        "notes": [note.en for note in report.notes],
    }
    notes = [f"Note: {note.en}." for note in report.notes]
    if report.valid:
        signed = f", the checkpoint over {report.checkpoint.size} of them" if report.checkpoint else ""
        return Answer(True, [f"{report.records} records, every signature{signed}", *notes], facts)
    count = len(report.findings) + report.more
    more = [f"... and {report.more} more"] if report.more else []
    told = f"{count} finding{'s' if count > 1 else ''} in {report.records} records"
    return Answer(False, [told, *describe(report.findings), *more, *notes], facts)


def _contradiction(said: Mapping[str, object], found: ReadProof, checkpoint: Checkpoint) -> str | None:
    """Return which member repeats what is proven, and repeats it wrongly: somebody may read that member alone."""
    proven = {
        "leafHash": b64(leaf_hash(found.line)),
        "treeSize": checkpoint.size,
        "rootHash": b64(checkpoint.root),
        "id": id_of(found.line) if "id" in said else None,
    }
    wrong = [name for name, value in proven.items() if name in said and said[name] != value]
    return f"{wrong[0]} contradicts the record and the checkpoint of the proof" if wrong else None


def _checkpoint(note: bytes, logs: Sequence[NoteKey], said: str) -> Checkpoint:
    try:
        return Checkpoint.from_text(open_note(note, logs))
    except BadNote as error:
        raise BadNote(f"{said}: {error}") from error


def _hashes(encoded: object) -> tuple[bytes, ...]:
    if not isinstance(encoded, list):
        raise ValueError("hashes: a list")
    return decode_hashes(encoded, 2 * MOST_HASHES)


def _fields(error: InvalidRequest | PayloadTooLarge) -> list[str]:
    return [f"{one.field}: {one.message.en}" for one in error.fields] or [error.detail.en]
