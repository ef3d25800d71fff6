"""What is signed of a score: five members, and the bytes that RFC 8785 gives them. Knows no key and no signature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import orjson
import rfc8785

from minimon_server.errors import Text
from minimon_server.scores.claim import MOST_NONCE_BYTES, MOST_SUBJECT_BYTES
from minimon_server.scores.members import Check, check_members, number, passing, text_of
from minimon_server.scores.strict_json import examine, refuse

_ID: Final = re.compile(r"mnm_[0-9a-f]{24}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:  # the form of a time, but no date or no hour: 2026-02-30, 25:00
        return False
    return True


_CHECKS: Final[dict[str, Check]] = {
    "id": passing(
        _ID.fullmatch,
        Text(
            "doit être « mnm_ » et 24 chiffres hexadécimaux minuscules",
            "must be 'mnm_' and 24 lowercase hexadecimal digits",
        ),
    ),
    "issuedAt": passing(
        _is_time,
        Text(
            "doit être un instant RFC 3339 en UTC à la milliseconde, comme 2026-01-31T23:59:59.999Z",
            "must be an RFC 3339 time in UTC to the millisecond, like 2026-01-31T23:59:59.999Z",
        ),
    ),
    "nonce": text_of(1, MOST_NONCE_BYTES),
    "score": number,
    "subject": text_of(1, MOST_SUBJECT_BYTES),
}


@dataclass(frozen=True, slots=True)
class Payload:
    """A certified score, before its signature."""

    id: str
    issued_at: str
    nonce: str
    score: int | float
    subject: str


def canonical(payload: Payload) -> bytes:
    """Return the bytes to sign (RFC 8785): `100`, `100.0` and `1e2` are one number, and are written `100`.

    The five names stand here in their order, and orjson writes a string as section 3.2.2.2 has it: a fifth of the time
    that a canonicalizer takes for a tree it does not know. Numbers are the hard part, and are left to one.
    """
    return b'{"id":%b,"issuedAt":%b,"nonce":%b,"score":%b,"subject":%b}' % (
        orjson.dumps(payload.id),
        orjson.dumps(payload.issued_at),
        orjson.dumps(payload.nonce),
        rfc8785.dumps(payload.score),
        orjson.dumps(payload.subject),
    )


def read_canonical(data: bytes) -> Payload:
    """Return the payload in bytes that were signed; raise `InvalidRequest` naming every wrong member.

    They need not be what `canonical` writes: a record stays verifiable, whatever wrote it. `is_canonical` tells.
    """
    tree, mistakes = examine(data, canonical=True)
    refuse(check_members(tree, _CHECKS, mistakes))
    signed = cast(dict[str, object], tree)
    return Payload(
        id=cast(str, signed["id"]),
        issued_at=cast(str, signed["issuedAt"]),
        nonce=cast(str, signed["nonce"]),
        score=cast(int | float, signed["score"]),
        subject=cast(str, signed["subject"]),
    )


def is_canonical(data: bytes) -> bool:
    """Return whether these bytes of a payload are the very ones that RFC 8785 gives; raise as `read_canonical`."""
    return canonical(read_canonical(data)) == data
