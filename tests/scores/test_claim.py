"""What a game may claim, and what is refused of it: every wrong field, with its reason, in both languages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.errors import InvalidRequest
from minimon_server.scores.claim import Claim, claim_digest, read_claim
from minimon_server.scores.payload import Payload, canonical, read_canonical
from minimon_server.scores.plain_text import wrong_in
from minimon_server.scores.strict_json import read_json, same
from tests.scores.reading import mistakes_in, well_told

NUMBER = "must be a JSON number, without quotes, and neither true nor false"
SUBJECT = "must be a string of 1 to 512 bytes of UTF-8"
NONCE = "must be a string of 1 to 128 bytes of UTF-8"
NULL = "may not be null; leave this field out, and the server will make a nonce"
VALID = '{"score": 123.4, "subject": "joueuse Éloïse", "nonce": "n-1"}'.encode()


def sized(subject: str, nonce: str) -> str:
    """Return the body of a claim with this subject and this nonce."""
    return f'{{"score":0,"subject":"{subject}","nonce":"{nonce}"}}'


@pytest.mark.parametrize(
    ("body", "claim"),
    [
        ('{"score":1,"subject":"a"}', Claim(1, "a", None)),
        ('{"subject":"a","nonce":"b","score":1}', Claim(1, "a", "b")),
        (' {"score" : -0.5e1 , "subject" : "\\u00e9" }\r\n', Claim(-5, "é", None)),
        ('{"score":1e2,"subject":"ほしねこ 😀","nonce":"\\"\\\\"}', Claim(100, "ほしねこ 😀", '"\\')),
        (sized("é" * 256, "é" * 64), Claim(0, "é" * 256, "é" * 64)),
        (sized("a" * 512, "a" * 128), Claim(0, "a" * 512, "a" * 128)),
    ],
)
def test_a_claim_is_read(body: str, claim: Claim) -> None:
    assert read_claim(body.encode()) == claim


@pytest.mark.parametrize(
    ("body", "mistakes"),
    [
        ("[]", {"body": "must be a JSON object"}),
        ("null", {"body": "must be a JSON object"}),
        ("[-0]", {"0": "negative zero; write 0", "body": "must be a JSON object"}),
        ("NaN", {"body": "NaN and Infinity are not numbers of JSON"}),
        ("{}", {"score": "is missing", "subject": "is missing"}),
        ('{"score":true,"subject":"a"}', {"score": NUMBER}),
        ('{"score":false,"subject":"a"}', {"score": NUMBER}),
        ('{"score":null,"subject":"a"}', {"score": NUMBER}),
        ('{"score":"1","subject":"a"}', {"score": NUMBER}),
        ('{"score":[1],"subject":"a"}', {"score": NUMBER}),
        ('{"score":{},"subject":"a"}', {"score": NUMBER}),
        ('{"score":[NaN],"subject":"a"}', {"score.0": "NaN and Infinity are not numbers of JSON", "score": NUMBER}),
        ('{"score":1,"subject":""}', {"subject": SUBJECT}),
        ('{"score":1,"subject":1}', {"subject": SUBJECT}),
        ('{"score":1,"subject":null}', {"subject": SUBJECT}),
        ('{"score":1,"subject":["a"]}', {"subject": SUBJECT}),
        ('{"score":1,"subject":"%s"}' % ("a" * 513), {"subject": SUBJECT}),
        ('{"score":1,"subject":"%s"}' % ("é" * 257), {"subject": SUBJECT}),
        ('{"score":1,"subject":"a","nonce":null}', {"nonce": NULL}),
        ('{"score":1,"subject":"a","nonce":""}', {"nonce": NONCE}),
        ('{"score":1,"subject":"a","nonce":7}', {"nonce": NONCE}),
        ('{"score":1,"subject":"a","nonce":"%s"}' % ("a" * 129), {"nonce": NONCE}),
        ('{"score":1,"subject":"a","nonce":"%s"}' % ("é" * 65), {"nonce": NONCE}),
        ('{"score":1,"subject":"a","id":"x"}', {"id": "unknown field"}),
        ('{"Score":1,"subject":"a"}', {"Score": "unknown field", "score": "is missing"}),
        ('{"score":1,"score":1,"subject":"a"}', {"score": "given more than once"}),
        (
            '{"score":-0,"subject":"\\ud800","nonce":null,"extra":1}',
            {
                "score": "negative zero; write 0",
                "subject": "lone surrogate (U+D800 to U+DFFF)",
                "nonce": NULL,
                "extra": "unknown field",
            },
        ),
    ],
)
def test_every_wrong_field_of_a_claim_is_named(body: str, mistakes: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_claim(body.encode())
    assert {mistake.field: mistake.message.en for mistake in refused.value.fields} == mistakes
    assert len(refused.value.fields) == len(mistakes)
    assert all(mistake.message.fr != mistake.message.en for mistake in refused.value.fields)


def test_the_digest_is_of_what_is_said_and_not_of_how() -> None:
    digest = claim_digest(read_claim(b'{"score":100,"subject":"\\u00e9"}'), "DER")
    assert digest == claim_digest(read_claim('{ "subject":"é", "score":1e2 }'.encode()), "DER")
    # printf '{"form":"DER","score":100,"subject":"é"}' | sha256sum
    assert digest == "679e77cbeceadb2facda46d2f61e229fa4d82310f1db9de9cca44a71391cc8e2"
    others = {
        claim_digest(Claim(100, "é", None), "raw"),
        claim_digest(Claim(100, "é", "n"), "DER"),
        claim_digest(Claim(100.5, "é", None), "DER"),
        claim_digest(Claim(100, "e", None), "DER"),
    }
    assert len(others - {digest}) == 4


NUMBERS = (st.integers(1 - 2**53, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)).filter(
    lambda number: number != 0 or str(number)[0] != "-"
)
TEXTS = st.text(min_size=1, max_size=32).filter(lambda text: wrong_in(text) is None)


@given(NUMBERS, TEXTS, st.none() | TEXTS, st.booleans())
def test_any_claim_comes_back_from_its_canonical_bytes(
    score: float, subject: str, nonce: str | None, ascii_only: bool
) -> None:
    members = {"score": score, "subject": subject, **({"nonce": nonce} if nonce else {})}
    claim = read_claim(json.dumps(members, ensure_ascii=ascii_only).encode())
    assert claim == Claim(score, subject, nonce)
    payload = Payload("mnm_0123456789abcdef01234567", "2026-11-21T12:00:00.123Z", nonce or "n", score, subject)
    data = canonical(payload)
    assert read_canonical(data) == payload
    tree = {"id": payload.id, "issuedAt": payload.issued_at, "nonce": payload.nonce, "score": score, "subject": subject}
    assert same(read_json(data, canonical=True), tree)
    assert canonical(read_canonical(data)) == data


@given(st.binary(max_size=300))
def test_any_bytes_are_a_claim_or_refused(body: bytes) -> None:
    assert well_told(mistakes_in(read_claim, body))


@given(st.integers(0, len(VALID)), st.integers(0, 12), st.binary(max_size=12))
def test_a_damaged_claim_is_a_claim_or_refused(place: int, gone: int, put: bytes) -> None:
    assert well_told(mistakes_in(read_claim, VALID[:place] + put + VALID[place + gone :]))


PIECES = [*VALID.decode(), "NaN", "1e400", "-0", "\\ud800", "\x7f", "[", "]", "null"]


@given(st.lists(st.sampled_from(PIECES)))
def test_shuffled_pieces_are_a_claim_or_refused(pieces: list[str]) -> None:
    assert well_told(mistakes_in(read_claim, "".join(pieces).encode()))
