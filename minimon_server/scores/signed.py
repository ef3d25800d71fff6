"""A signed score as it travels: to bytes, and strictly back. Verifies no signature, and knows no key."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal, cast

from minimon_server.errors import FieldMistake, InvalidRequest, PayloadTooLarge, Text
from minimon_server.scores.members import Check, an_object, anything, check_members, passing
from minimon_server.scores.strict_json import MOST_BODY_BYTES, examine, read_json, refuse, same

SignatureFormat = Literal["DER", "raw", "jws"]

MOST_SIGNED_BYTES: Final = 64 * 1024

_FORMATS: Final = ("DER", "raw", "jws")
_ALGORITHM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_SECOND: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True, slots=True)
class Signed:
    """The certificate of a score: the bytes that were signed, and all that it takes to check them."""

    canonical: bytes
    signature: bytes  # of the formats DER and raw, the signature; of jws, the whole compact JWS
    algorithm: str  # JOSE's name
    signature_format: SignatureFormat
    fingerprint: str | None  # SHA-256 of the certificate, in hexadecimal
    payload: object = None  # as it was read beside the bytes; None where it was made here, from the bytes

    def render(self) -> bytes:
        """Return the compact JSON, in which the payload is the very bytes that were signed."""
        signature = self.signature if self.signature_format == "jws" else b64encode(self.signature)
        return render(self.canonical, signature, self.algorithm, self.signature_format, self.fingerprint)


def render(
    canonical: bytes, signature_b64: bytes, algorithm: str, signature_format: str, fingerprint: str | None
) -> bytes:
    """Return the compact JSON of a signed score, in which the payload is the very bytes that were signed."""
    return b"".join(
        (
            b'{"payload":',
            canonical,
            b',"canonicalB64":"',
            b64encode(canonical),
            b'","signatureB64":"',
            signature_b64,
            _rest(algorithm, signature_format, fingerprint),
        )
    )


def payload_matches(signed: Signed) -> bool:
    """Return whether the payload shown is what was signed, value by value: 1 is 1.0, `true` is not 1."""
    if signed.payload is None:
        return True
    try:
        return same(signed.payload, read_json(signed.canonical, canonical=True))
    except (InvalidRequest, PayloadTooLarge):  # bytes that are no strict JSON equal no payload
        return False


def read_signed(body: bytes, *, most_bytes: int = MOST_SIGNED_BYTES) -> Signed:
    """Return the signed score in a body: the object `signed` itself, or a whole answer that holds it.

    Raise `InvalidRequest` naming every wrong field, or `PayloadTooLarge`. Whether the payload is what was signed,
    and whether a JWS is over those bytes, is for the verifier to say.
    """
    tree, mistakes = examine(body, most_bytes=most_bytes, canonical=True)
    path = ""
    if isinstance(tree, dict) and "signed" in tree:
        mistakes = check_members(tree, _OF_ANSWER, mistakes)
        tree, path = tree["signed"], "signed"
    mistakes = _check_signed(tree, mistakes, path)
    refuse(mistakes)
    read = cast(dict[str, str], tree)
    encoded = read["signatureB64"]
    jws = read["signatureFormat"] == "jws"
    return Signed(
        canonical=b64decode(read["canonicalB64"]),
        signature=encoded.encode() if jws else b64decode(encoded),
        algorithm=read["algorithm"],
        signature_format=cast(SignatureFormat, read["signatureFormat"]),
        fingerprint=read["certificateFingerprintSHA256"],
        payload=read["payload"],
    )


@lru_cache(maxsize=64)  # a server has few keys
def _rest(algorithm: str, signature_format: str, fingerprint: str | None) -> bytes:
    rest = {
        "algorithm": algorithm,
        "signatureFormat": signature_format,
        "certificateFingerprintSHA256": fingerprint,
    }
    return b'",' + json.dumps(rest, separators=(",", ":")).encode()[1:]


def _decoded(
    text: str, decode: Callable[[bytes], bytes] = b64decode, encode: Callable[[bytes], bytes] = b64encode
) -> bytes:
    """Return what this base64 holds; nothing where it is not spelled as its bytes would be (RFC 4648, section 3.5)."""
    try:
        spelled = text.encode("ascii")
        plain = decode(spelled)
    except ValueError:  # not ASCII, or not in fours
        return b""
    return plain if encode(plain) == spelled else b""


def _is_canonical_b64(text: str) -> bool:
    return 0 < len(_decoded(text)) <= MOST_BODY_BYTES


def _is_jws(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 3 and all(
        "=" not in part and _decoded(part + "=" * (-len(part) % 4), urlsafe_b64decode, urlsafe_b64encode)
        for part in parts
    )


def _is_second(text: str) -> bool:
    if not _SECOND.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:  # the form of a time, but no date or no hour
        return False
    return True


def _check_fingerprint(value: object) -> Text | None:
    if value is None or (isinstance(value, str) and _FINGERPRINT.fullmatch(value)):
        return None
    return Text(
        "doit être null ou 64 chiffres hexadécimaux minuscules",
        "must be null or 64 lowercase hexadecimal digits",
    )


_BASE64: Final = "base64 (RFC 4648, section 4)"
_B64_SIGNATURE: Final = passing(
    _decoded,
    Text(f"doit être du {_BASE64}, avec ses « = »", f"must be {_BASE64}, with its padding"),
)
_JWS_SIGNATURE: Final = passing(
    _is_jws,
    Text(
        "doit être un JWS compact : trois parties en base64url sans « = », séparées par des points",
        "must be a compact JWS: three parts in base64url without padding, with dots between them",
    ),
)
_OF_ANSWER: Final[dict[str, Check]] = {
    "signed": anything,
    "generatedAt": passing(
        _is_second,
        Text(
            "doit être un instant RFC 3339 en UTC à la seconde, comme 2026-01-31T23:59:59Z",
            "must be an RFC 3339 time in UTC to the second, like 2026-01-31T23:59:59Z",
        ),
    ),
}
_OF_SIGNED: Final[dict[str, Check]] = {
    "payload": an_object,
    "canonicalB64": passing(
        _is_canonical_b64,
        Text(
            f"doit être du {_BASE64}, avec ses « = », de 1 à {MOST_BODY_BYTES} octets",
            f"must be {_BASE64}, with its padding, of 1 to {MOST_BODY_BYTES} bytes",
        ),
    ),
    "algorithm": passing(
        _ALGORITHM.fullmatch,
        Text(
            "doit être un nom d'algorithme de JOSE, comme ES256 ou Ed25519",
            "must be the name of an algorithm of JOSE, like ES256 or Ed25519",
        ),
    ),
    "signatureFormat": passing(
        _FORMATS.__contains__,
        Text("doit être l'un de : DER, raw, jws", "must be one of: DER, raw, jws"),
    ),
    "certificateFingerprintSHA256": _check_fingerprint,
}


def _check_signed(tree: object, mistakes: list[FieldMistake], path: str) -> list[FieldMistake]:
    jws = isinstance(tree, dict) and tree.get("signatureFormat") == "jws"
    checks = {**_OF_SIGNED, "signatureB64": _JWS_SIGNATURE if jws else _B64_SIGNATURE}
    return check_members(tree, checks, mistakes, path=path)
