"""A signed score on the wire: its very bytes, read back from both of its forms, and what is refused of it."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.errors import InvalidRequest, PayloadTooLarge
from minimon_server.scores.payload import Payload, canonical, read_canonical
from minimon_server.scores.signed import MOST_SIGNED_BYTES, Signed, payload_matches, read_signed
from tests.scores.reading import mistakes_in, well_told

PAYLOAD = Payload("mnm_0123456789abcdef01234567", "2026-11-21T12:00:00.123Z", "n", 1, "Éloïse")
SIGNED = Signed(canonical(PAYLOAD), b"\x30\x06\x02\x01\x01\x02\x01\x02", "ES256", "DER", "ab" * 32)
JWS = replace(SIGNED, signature=b"eyJhbGciOiJFUzI1NiJ9.e30.AQI", signature_format="jws", fingerprint=None)
B64 = "must be base64 (RFC 4648, section 4), with its padding"
CANONICAL = "must be base64 (RFC 4648, section 4), with its padding, of 1 to 16384 bytes"
COMPACT = "must be a compact JWS: three parts in base64url without padding, with dots between them"
FINGERPRINT = "must be null or 64 lowercase hexadecimal digits"
FORMAT = "must be one of: DER, raw, jws"
ALGORITHM = "must be the name of an algorithm of JOSE, like ES256 or Ed25519"
OBJECT = "must be a JSON object"
SECOND = "must be an RFC 3339 time in UTC to the second, like 2026-01-31T23:59:59Z"


def changed(signed: Signed = SIGNED, /, **members: object) -> bytes:
    """Return the rendered score with these members put in place of its own."""
    return json.dumps({**json.loads(signed.render()), **members}).encode()


def told(body: bytes) -> dict[str, str]:
    """Return the reason of each field for which this body is refused."""
    return {one.field: one.message.en for one in mistakes_in(read_signed, body) or []}


def test_a_signed_score_has_these_bytes() -> None:
    assert SIGNED.render() == (
        b'{"payload":' + canonical(PAYLOAD) + b',"canonicalB64":"' + b64encode(canonical(PAYLOAD)) + b'",'
        b'"signatureB64":"MAYCAQECAQI=","algorithm":"ES256","signatureFormat":"DER",'
        b'"certificateFingerprintSHA256":"' + b"ab" * 32 + b'"}'
    )
    assert JWS.render().endswith(
        b'"signatureB64":"eyJhbGciOiJFUzI1NiJ9.e30.AQI","algorithm":"ES256","signatureFormat":"jws",'
        b'"certificateFingerprintSHA256":null}'
    )


@pytest.mark.parametrize("signed", [SIGNED, JWS, replace(SIGNED, signature=b"\xff" * 64, signature_format="raw")])
def test_a_signed_score_is_read_back(signed: Signed) -> None:
    read = read_signed(signed.render())
    assert replace(read, payload=None) == signed
    assert read.payload == json.loads(canonical(PAYLOAD))
    assert payload_matches(read)
    assert read_canonical(read.canonical) == PAYLOAD
    assert read.render() == signed.render()
    assert read_signed(b'{"generatedAt":"2026-11-21T12:00:00Z","signed":%s}' % signed.render()) == read
    assert read_signed(changed(signed)) == read


@pytest.mark.parametrize("score", [1e20, 2.0**53, -999999999999999900000.0, 1e21, 1e-7])
def test_large_doubles_match_their_own_bytes(score: float) -> None:
    signed = replace(SIGNED, canonical=canonical(replace(PAYLOAD, score=score)))
    assert payload_matches(read_signed(signed.render()))


@pytest.mark.parametrize(
    ("member", "value", "matches"),
    [
        ("score", 1.0, True),
        ("score", True, False),
        ("score", "1", False),
        ("score", 2, False),
        ("score", None, False),
        ("subject", "Eloise", False),
        ("extra", None, False),
    ],
)
def test_the_payload_shown_must_be_the_one_signed(member: str, value: object, matches: bool) -> None:
    shown = {**json.loads(canonical(PAYLOAD)), member: value}
    assert payload_matches(read_signed(changed(payload=shown))) is matches


def test_a_payload_that_lacks_a_member_does_not_match_nor_do_bytes_that_are_no_json() -> None:
    assert payload_matches(SIGNED)
    assert not payload_matches(read_signed(changed(payload={"score": 1})))
    assert not payload_matches(read_signed(changed(canonicalB64="e30x")))


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("payload", [], OBJECT),
        ("payload", None, OBJECT),
        ("canonicalB64", "", CANONICAL),
        ("canonicalB64", None, CANONICAL),
        ("canonicalB64", "e30", CANONICAL),
        ("canonicalB64", "e31=", CANONICAL),
        ("canonicalB64", "e30=\u00e9", CANONICAL),
        ("canonicalB64", b64encode(b" " * 16_385).decode(), CANONICAL),
        ("signatureB64", "", B64),
        ("signatureB64", 1, B64),
        ("signatureB64", "AQI", B64),
        ("signatureB64", "AQJ=", B64),
        ("signatureB64", "AQ===", B64),
        ("signatureB64", "AQ==AQ==", B64),
        ("signatureB64", "AQ I=", B64),
        ("signatureB64", "AQ==.", B64),
        ("signatureB64", "_-8=", B64),
        ("signatureB64", "\u00ff\u00ff\u00ff\u00ff", B64),
        ("signatureB64", "e30.e30.AQI", B64),
        ("algorithm", "", ALGORITHM),
        ("algorithm", "ES 256", ALGORITHM),
        ("algorithm", "A" * 33, ALGORITHM),
        ("algorithm", None, ALGORITHM),
        ("signatureFormat", "der", FORMAT),
        ("signatureFormat", "", FORMAT),
        ("signatureFormat", ["DER"], FORMAT),
        ("certificateFingerprintSHA256", "", FINGERPRINT),
        ("certificateFingerprintSHA256", "AB" * 32, FINGERPRINT),
        ("certificateFingerprintSHA256", "ab" * 31, FINGERPRINT),
        ("certificateFingerprintSHA256", False, FINGERPRINT),
        ("generatedAt", "2026-11-21T12:00:00Z", "unknown field"),
    ],
)
def test_every_wrong_member_is_named(member: str, value: object, reason: str) -> None:
    body = changed(**{member: value})
    assert told(body) == {member: reason}
    assert told(b'{"signed":%s,"generatedAt":"2026-11-21T12:00:00Z"}' % body) == {f"signed.{member}": reason}


@pytest.mark.parametrize(
    "jws",
    ["", "e30.e30", "e30.e30.AQI.AQI", "e30..AQI", "e30.e30.AQI=", "e31.e30.AQI", "e30.e30.A+I", "e30.e30.A", "AQI="],
)
def test_a_jws_is_compact(jws: str) -> None:
    assert told(changed(JWS, signatureB64=jws)) == {"signatureB64": COMPACT}


def test_all_mistakes_are_told_at_once() -> None:
    members = [
        "payload",
        "canonicalB64",
        "algorithm",
        "signatureFormat",
        "certificateFingerprintSHA256",
        "signatureB64",
    ]
    assert told(b"{}") == dict.fromkeys(members, "is missing")
    assert told(b'"x"') == {"body": OBJECT}
    whole = {f"signed.{name}": "is missing" for name in members}
    assert told(b'{"signed":{},"more":1}') == {"generatedAt": "is missing", "more": "unknown field", **whole}
    assert told(b'{"signed":1,"generatedAt":"2026-11-21T12:00:00.123Z"}') == {"generatedAt": SECOND, "signed": OBJECT}
    assert told(b'{"signed":%s,"generatedAt":"2026-02-30T12:00:00Z"}' % SIGNED.render()) == {"generatedAt": SECOND}
    assert told(SIGNED.render().replace(b'"score":1', b'"score":1,"score":2')) == {
        "payload.score": "given more than once"
    }


def test_a_long_signature_is_read_and_the_size_is_the_readers_choice() -> None:
    long = replace(JWS, signature=b"e30." + urlsafe_b64encode(b"x" * 30_000) + b".AQIA")
    assert read_signed(long.render()).signature == long.signature
    with pytest.raises(PayloadTooLarge, match="16384 bytes"):
        read_signed(long.render(), most_bytes=16_384)
    with pytest.raises(PayloadTooLarge, match="65536 bytes"):
        read_signed(b" " * MOST_SIGNED_BYTES + long.render())


@given(st.binary(max_size=200), st.sampled_from(["DER", "raw"]), st.text('ab\U0001f600\\"', min_size=1, max_size=9))
def test_any_signed_score_comes_back(signature: bytes, form: str, subject: str) -> None:
    data = canonical(replace(PAYLOAD, subject=subject))
    signed = Signed(data, signature, "RS256", "DER" if form == "DER" else "raw", None)
    if not signature:
        assert told(signed.render()) == {"signatureB64": B64}
        return
    read = read_signed(signed.render())
    assert replace(read, payload=None) == signed
    assert payload_matches(read)


def read_and_compare(body: bytes) -> None:
    """Read a signed score, and look at all of it as a verifier would."""
    payload_matches(read_signed(body))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_signed_score_or_refused(body: bytes) -> None:
    assert well_told(mistakes_in(read_and_compare, body))


@given(st.sampled_from([SIGNED.render(), JWS.render()]), st.integers(0, 600), st.integers(0, 9), st.binary(max_size=9))
def test_a_damaged_signed_score_is_one_or_refused(body: bytes, place: int, gone: int, put: bytes) -> None:
    assert well_told(mistakes_in(read_and_compare, body[:place] + put + body[place + gone :]))


def test_a_refusal_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest):
        read_signed(b"")
