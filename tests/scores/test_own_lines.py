"""The quick reader of lines and the strict ones: where the quick one reads a line, they read the same, or it errs."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimon_server.errors import InvalidRequest, PayloadTooLarge
from minimon_server.scores.own_lines import read_own_line
from minimon_server.scores.payload import read_canonical
from minimon_server.scores.records import id_of, keys_of, read_line
from minimon_server.scores.signed import payload_matches, read_signed
from minimon_server.scores.verify import judge
from tests.scores.ledgers import line, ring, some_lines

LINE = line(1)
SCORES = [0, 1, -1, 12.5, 0.1, -0.0001, 99999999999.9999, 123456789012345, 1e20, 5e-324, 0.30000000000000004, 2**53 - 1]


def agree(data: bytes) -> bool:
    """Compare both ways of reading one line; return whether the quick one read it."""
    own = read_own_line(data)
    if own is None:
        return False
    record = read_line(data)
    signed = read_signed(record.answer)
    payload = read_canonical(signed.canonical)
    assert payload_matches(signed)
    assert own.signed == replace(signed, payload=None)
    assert (own.id, own.issued_at, own.key_id) == (payload.id, payload.issued_at, record.key_id)
    assert own.id == record.id == id_of(data)
    assert keys_of(data) == (record.idempotency.key if record.idempotency else None)
    return True


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("subject", ["p", "Éloïse", "日本", 'a"b', "a\\b", "x" * 512, "e\u0301", "\u202e", "<&>"])
def test_both_readers_agree_about_scores_and_subjects(score: float, subject: str) -> None:
    data = line(1, score=score, subject=subject)
    read = agree(data)
    assert read or re.search(r'["\\\u0301\u202e]', subject) or score in (1e20, 5e-324, 0.30000000000000004, 2**53 - 1)


def test_what_a_server_writes_is_read_quickly() -> None:
    assert [agree(one) for one in some_lines(9)] == [b'"jws"' not in one for one in some_lines(9)]


def test_no_altered_byte_is_read_otherwise() -> None:
    for at in range(len(LINE)):
        for mask in (1, 2, 4, 0x10, 0x20, 0x80):
            altered = LINE[:at] + bytes([LINE[at] ^ mask]) + LINE[at + 1 :]
            agree(altered)
            assert judge(altered, ring()).wrong or b'"idempotency":' in LINE[: at + 20] or b'"generatedAt"' in LINE[:at]


@settings(max_examples=300)
@given(st.integers(0, len(LINE)), st.integers(0, 6), st.binary(max_size=6))
def test_no_replaced_bytes_are_read_otherwise(at: int, gone: int, put: bytes) -> None:
    agree(LINE[:at] + put + LINE[at + gone :])


@settings(max_examples=300)
@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,6})?", fullmatch=True).map(str.encode),
    st.text(max_size=20).map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")[1:-1]),
)
def test_whatever_the_numbers_and_texts(number: bytes, text: bytes) -> None:
    from base64 import b64encode

    payload = LINE[LINE.index(b'{"id"') : LINE.index(b',"canonicalB64"')]
    other = payload.replace(b":12.5,", b":%b," % number).replace(b'"player1"', b'"%b"' % text)
    agree(LINE.replace(payload, other).replace(b64encode(payload), b64encode(other)))


def test_a_member_that_stands_twice_is_no_record() -> None:
    foreign = json.dumps({"keyId": "x", **json.loads(LINE)}).encode()
    assert read_line(foreign).id == id_of(LINE)
    for doubled in (
        LINE[:-1] + b',"signed":{}}',
        foreign[:-1] + b',"signed":{}}',
        LINE[:-1] + b',"extra":1}',
        LINE.replace(b'"payload":', b'"payload":{},"payload":', 1),
    ):
        with pytest.raises((ValueError, InvalidRequest, PayloadTooLarge)):
            read_signed(read_line(doubled).answer)
        wrong = judge(doubled, ring()).wrong
        assert wrong
        assert wrong.en.startswith("not a record")


def test_older_lines_without_key_id_are_judged_by_every_published_key() -> None:
    bare = LINE[: LINE.index(b',"keyId"')] + b"}"
    assert judge(bare, ring()).wrong is None
    assert read_line(bare).answer == bare
    reordered = json.dumps({"generatedAt": json.loads(bare)["generatedAt"], "signed": json.loads(bare)["signed"]})
    assert judge(reordered.encode(), ring()).wrong is None
    assert judge(LINE.replace(b'"keyId":"', b'"keyId":"x')[:-1] + b"}", ring()).wrong is not None
