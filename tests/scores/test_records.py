"""Lines of the ledger: written, read back, found again by what is in them."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from minimon_server.scores.places import Places
from minimon_server.scores.records import Idempotency, answer_bytes, id_of, keys_of, line_bytes, read_line
from tests.scores.ledgers import line

LINE = line(1)
PLAIN = line(2)


def test_a_line_begins_with_the_answer_and_is_read_back() -> None:
    record = read_line(LINE)
    assert LINE.startswith(record.answer[:-1])
    assert record.idempotency
    assert record.key_id
    assert line_bytes(record.answer, record.key_id, record.idempotency) == LINE
    assert (record.id, record.idempotency.key) == (id_of(LINE), keys_of(LINE))
    assert read_line(PLAIN).idempotency is None
    assert keys_of(PLAIN) is None
    assert json.loads(record.answer).keys() == {"signed", "generatedAt"}
    assert answer_bytes(b"{}", "2026-11-21T12:00:00Z") == b'{"signed":{},"generatedAt":"2026-11-21T12:00:00Z"}'


def test_members_in_another_order_are_read_too() -> None:
    other = json.dumps(dict(reversed(json.loads(LINE).items()))).encode()
    read, ours = read_line(other), read_line(LINE)
    assert (read.id, read.key_id, read.idempotency) == (ours.id, ours.key_id, ours.idempotency)
    assert json.loads(read.answer) == json.loads(ours.answer)
    last = json.loads(LINE)
    last["idempotency"] = dict(reversed(last["idempotency"].items()))
    assert keys_of(json.dumps(last, separators=(",", ":")).encode()) == keys_of(LINE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"signed":{"payload":{"id":"mnm_x"}}}',
        b'{"signed":{"payload":{"id":"mnm_0123456789ABCDEF01234567"}}}',
        b'{"signed":[]}',
        b'{"signed":{"payload":{"id":"mnm_0123456789abcdef01234567"}},"keyId":1}',
        b'{"signed":{"payload":{"id":"mnm_0123456789abcdef01234567"}},"idempotency":{"key":"a","body":"b"}}',
        b'{"signed":{"payload":{"id":"mnm_0123456789abcdef01234567"}},"idempotency":[]}',
        b'{"signed":{"payload":{"id":"mnm_0123456789abcdef01234567"}},"more":1}',
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_line(data)


def test_places_find_every_record_and_no_other() -> None:
    places = Places()
    ids = [f"mnm_{sha256(b'%d' % number).hexdigest()[:24]}" for number in range(5000)]
    keys = [sha256(b"key %d" % number).hexdigest() for number in range(5000)]
    places.add([10] * 5000)
    places.name(((one, number) for number, one in enumerate(ids)), ((one, number) for number, one in enumerate(keys)))
    assert all(number in places.with_id(one) for number, one in enumerate(ids))
    assert all(number in places.with_key(one) for number, one in enumerate(keys))
    assert places.with_id("mnm_" + "f" * 24) == []
    assert (len(places), places.end, places.span(3)) == (5000, 50_000, (30, 40))
    places.name([(ids[7], 9)], [])
    assert places.with_id(ids[7]) == [7, 9]


def test_entries_that_overlap_are_not_mistaken() -> None:
    places = Places()
    places.name([("mnm_" + "0" * 24, 0), ("mnm_" + "000" + "0" * 20 + "1", 0)], [])
    places.name([("mnm_0000000000000001" + "0" * 8, 3)], [])
    assert places.with_id("mnm_" + "0" * 24) == [0, 0]
    assert places.with_id("mnm_0000000000000001" + "0" * 8) == [3]


def test_a_record_without_digests_is_no_idempotent_one() -> None:
    digests = Idempotency("a" * 64, "b" * 64)
    assert keys_of(line_bytes(read_line(PLAIN).answer, "k" * 43, digests)) == "a" * 64
