"""Lines of a ledger in the very layout that this server writes, read in one step. Whatever differs is left to others.

Strictness is not lost: the parts are put together again by nothing but the grammar of JSON, and a payload passes here
only if there is one way to read it. Everything else, valid or not, goes to `records`, `signed` and `payload`, which
judge it member by member; a test holds both ways against each other.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import a2b_base64
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from minimon_server.scores.claim import MOST_NONCE_BYTES, MOST_SUBJECT_BYTES
from minimon_server.scores.plain_text import wrong_in
from minimon_server.scores.signed import MOST_SIGNED_BYTES, SignatureFormat, Signed

# No quote, no backslash, no control character of ASCII: a string that stands for itself. What is beyond ASCII is looked
# at as everywhere else.
_PLAIN: Final = rb"[ !#-\[\]-~\x80-\xff]"
# Any decimal of at most 15 digits is the shortest form of its double: every reader holds it exactly as it is written.
_NUMBER: Final = rb"(?:0|-?[1-9][0-9]{0,14}|-?(?:0|[1-9][0-9]{0,10})\.[0-9]{0,3}[1-9])"
_LINE: Final = re.compile(
    rb'\{"signed":\{"payload":'
    rb'(?P<payload>\{"id":"(?P<id>mnm_[0-9a-f]{24})",'
    rb'"issuedAt":"(?P<issued>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z)",'
    rb'"nonce":"(?P<nonce>%b{1,%d})","score":%b,"subject":"(?P<subject>%b{1,%d})"\}),'
    rb'"canonicalB64":"(?P<canonical>[A-Za-z0-9+/]+={0,2})","signatureB64":"(?P<signature>[A-Za-z0-9+/]+={0,2})",'
    rb'"algorithm":"(?P<algorithm>[A-Za-z0-9][A-Za-z0-9-]{0,31})","signatureFormat":"(?P<format>DER|raw)",'
    rb'"certificateFingerprintSHA256":(?:null|"(?P<fingerprint>[0-9a-f]{64})")\},'
    rb'"generatedAt":"(?P<generated>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})Z",'
    rb'"keyId":"(?P<key_id>[A-Za-z0-9_-]{43})"'
    rb'(?:,"idempotency":\{"key":"[0-9a-f]{64}","body":"[0-9a-f]{64}"\})?\}'
    % (_PLAIN, MOST_NONCE_BYTES, _NUMBER, _PLAIN, MOST_SUBJECT_BYTES)
)


@dataclass(frozen=True, slots=True)
class OwnLine:
    """What stands in such a line; its payload is, byte for byte, what was signed."""

    id: str
    issued_at: str
    key_id: str
    signed: Signed


def read_own_line(line: bytes) -> OwnLine | None:
    """Return what stands in a line of our own, None for any other line, which may be valid nevertheless."""
    found = _LINE.fullmatch(line)
    if not found or len(line) > MOST_SIGNED_BYTES:
        return None
    payload, score_id, issued, nonce, subject, encoded, spelled, algorithm, kind, print_, generated, key_id = (
        found.groups()
    )
    if b64encode(payload) != encoded:
        return None
    try:
        if not payload.isascii() and (wrong_in(nonce.decode()) or wrong_in(subject.decode())):
            return None
        signature = a2b_base64(spelled, strict_mode=True)
        issued_at = issued.decode("ascii")
        datetime.fromisoformat(issued_at)
        if generated != issued[:19]:
            datetime.fromisoformat(generated.decode("ascii"))
    except ValueError:  # no UTF-8, no base64 or no time: the strict reader says which
        return None
    if b64encode(signature) != spelled:
        return None
    signed = Signed(
        payload,
        signature,
        algorithm.decode("ascii"),
        cast(SignatureFormat, kind.decode("ascii")),
        print_.decode("ascii") if print_ else None,
    )
    return OwnLine(score_id.decode("ascii"), issued_at, key_id.decode("ascii"), signed)
