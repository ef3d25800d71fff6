"""One line of the ledger: what stands in it and how it is read back. Owns no file, makes no signature.

A line is a JSON object, `{"signed":{…},"generatedAt":"…","keyId":"…"}`, with `"idempotency":{"key":"…","body":"…"}` at
its end when the client sent a key: hexadecimal SHA-256 digests of that key and of what was asked for with it. What a
client got is the line's beginning, so it can be given again to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from minimon_server.errors import InvalidRequest, PayloadTooLarge
from minimon_server.scores.strict_json import read_json

LONGEST_LINE: Final = 1 << 16
_START: Final = b'{"signed":{"payload":{"id":"'
_ID: Final = re.compile(r"mnm_[0-9a-f]{24}")
_MEMBERS: Final = frozenset({"signed", "generatedAt", "keyId", "idempotency"})
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ID_BYTES: Final = 28
_DIGESTS: Final = re.compile(rb',"idempotency":\{"key":"([0-9a-f]{64})","body":"[0-9a-f]{64}"\}\}')
_DIGESTS_BYTES: Final = len(b',"idempotency":{"key":"","body":""}}') + 2 * 64
_BEFORE_KEY_ID: Final = b',"keyId":"'
_TAIL: Final = re.compile(
    rb'(?P<answer>.*"generatedAt":"[0-9TZ:.-]{20,24}")(?:,"keyId":"(?P<key_id>[A-Za-z0-9_-]{43})")?'
    rb'(?:,"idempotency":\{"key":"(?P<key>[0-9a-f]{64})","body":"(?P<body>[0-9a-f]{64})"\})?\}'
)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Digests of an idempotency key, and of what was asked for under it."""

    key: str
    body: str


@dataclass(frozen=True, slots=True)
class Record:
    """One line, read; a line of before there were key ids has none."""

    answer: bytes
    id: str
    key_id: str | None
    idempotency: Idempotency | None


def answer_bytes(signed: bytes, generated_at: str) -> bytes:
    """Return what the client gets: the rendered certificate, and when it was answered."""
    return b'{"signed":%b,"generatedAt":"%b"}' % (signed, generated_at.encode("ascii"))


def line_bytes(answer: bytes, key_id: str, idempotency: Idempotency | None) -> bytes:
    """Return the line that records an answer, without its line feed."""
    tail = b""
    if idempotency:
        tail = b',"idempotency":{"key":"%b","body":"%b"}' % (idempotency.key.encode(), idempotency.body.encode())
    return b'%b,"keyId":"%b"%b}' % (answer[:-1], key_id.encode("ascii"), tail)


def read_line(line: bytes) -> Record:
    """Read one line without its line feed; raise `ValueError` when it is no record."""
    found = _TAIL.fullmatch(line)
    if not found:
        return _read_slowly(line)
    idempotency = None
    if found["key"]:
        idempotency = Idempotency(found["key"].decode(), found["body"].decode())
    key_id = found["key_id"].decode() if found["key_id"] else None
    return Record(found["answer"] + b"}", id_of(line), key_id, idempotency)


def id_of(line: bytes) -> str:
    """Return the id of the score in a line; raise `ValueError` when it has none."""
    if line.startswith(_START):
        score_id = line[len(_START) : len(_START) + _ID_BYTES].decode("latin-1")
    else:  # a line of another writer may have its members in another order
        score_id = str(_object(_object(_object(_parsed(line)).get("signed")).get("payload")).get("id"))
    if not _ID.fullmatch(score_id):
        raise ValueError("a record without the id of a score")
    return score_id


def keys_of(line: bytes) -> str | None:
    """Return the digest of the idempotency key in a line, or None; raise `ValueError` when the line is no record."""
    if not line.endswith(b'"}}'):
        return None
    own = _DIGESTS.match(line, max(len(line) - _DIGESTS_BYTES, 0))  # a quote within a text has a backslash before it
    if own:
        return own[1].decode()
    idempotency = read_line(line).idempotency
    return idempotency.key if idempotency else None


def key_id_of(line: bytes) -> bytes | None:
    """Return the id of the key in a line as a server writes it; None for any other line."""
    end = len(line) - (_DIGESTS_BYTES if line.endswith(b'"}}') else 1)  # this is asked for every line of a start
    return line[end - 44 : end - 1] if line[end - 54 : end - 44] == _BEFORE_KEY_ID else None


def _read_slowly(line: bytes) -> Record:
    try:  # strictly: of a member that stands twice, two readers may see two values
        whole = _object(read_json(line, most_bytes=LONGEST_LINE, canonical=True))
    except (InvalidRequest, PayloadTooLarge) as error:
        raise ValueError("; ".join(f"{one.field}: {one.message.en}" for one in error.fields) or str(error)) from error
    if unknown := whole.keys() - _MEMBERS:
        raise ValueError(f"a record with the unknown member {min(unknown)!a}")
    key_id, idempotency = whole.get("keyId"), whole.get("idempotency")
    if key_id is not None and not isinstance(key_id, str):
        raise ValueError("a record whose keyId is no text")
    answer = orjson.dumps({"signed": _object(whole.get("signed")), "generatedAt": whole.get("generatedAt")})
    digests = None
    if idempotency is not None:
        both = _object(idempotency)
        digests = Idempotency(str(both.get("key")), str(both.get("body")))
        if len(both) != 2 or not _DIGEST.fullmatch(digests.key) or not _DIGEST.fullmatch(digests.body):
            raise ValueError("a record with malformed digests")
    return Record(answer, id_of(line), key_id, digests)


def _parsed(line: bytes) -> object:
    parsed: object = orjson.loads(line)  # orjson.JSONDecodeError is a ValueError
    return parsed


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a record that is not made of objects")
    return value
