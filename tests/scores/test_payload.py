"""The bytes that are signed: RFC 8785's own vectors, an independent conversion of doubles, Node; and reading them."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
import subprocess
from dataclasses import replace
from decimal import Decimal

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.errors import InvalidRequest, PayloadTooLarge
from minimon_server.scores.payload import Payload, canonical, is_canonical, read_canonical
from minimon_server.scores.strict_json import read_json
from tests.scores.reading import mistakes_in, well_told

PAYLOAD = Payload("mnm_0123456789abcdef01234567", "2026-11-21T12:00:00.123Z", 'n"1', 123.4, "Éloïse 😀")
BYTES = (
    '{"id":"mnm_0123456789abcdef01234567","issuedAt":"2026-11-21T12:00:00.123Z","nonce":"n\\"1",'
    '"score":123.4,"subject":"Éloïse 😀"}'
).encode()

# RFC 8785, appendix B.
APPENDIX_B = """
0000000000000000 0
8000000000000000 0
0000000000000001 5e-324
8000000000000001 -5e-324
7fefffffffffffff 1.7976931348623157e+308
ffefffffffffffff -1.7976931348623157e+308
4340000000000000 9007199254740992
c340000000000000 -9007199254740992
4430000000000000 295147905179352830000
44b52d02c7e14af5 9.999999999999997e+22
44b52d02c7e14af6 1e+23
44b52d02c7e14af7 1.0000000000000001e+23
444b1ae4d6e2ef4e 999999999999999700000
444b1ae4d6e2ef4f 999999999999999900000
444b1ae4d6e2ef50 1e+21
3eb0c6f7a0b5ed8c 9.999999999999997e-7
3eb0c6f7a0b5ed8d 0.000001
41b3de4355555553 333333333.3333332
41b3de4355555554 333333333.33333325
41b3de4355555555 333333333.3333333
41b3de4355555556 333333333.3333334
41b3de4355555557 333333333.33333343
becbf647612f3696 -0.0000033333333333333333
43143ff3c1cb0959 1424953923781206.2
"""


def double(bits: int) -> float:
    """Return the double of these 64 bits."""
    return float(struct.unpack(">d", bits.to_bytes(8, "big"))[0])


def score_text(score: float) -> str:
    """Return how the signed bytes write this score."""
    text = canonical(replace(PAYLOAD, score=score)).decode()
    return text.partition('"score":')[2].partition(',"subject"')[0]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1 - 2**53, 2**53 - 1) | st.floats(width=64))
def test_the_bytes_are_those_of_a_general_canonicalizer(text: str, score: float) -> None:
    if not math.isfinite(score):
        return
    payload = Payload(text, text[::-1], text + '\x00\x1f\x7f\u2028"\\/<', score, text.swapcase())
    tree = {
        "subject": payload.subject,
        "score": payload.score,
        "nonce": payload.nonce,
        "issuedAt": payload.issued_at,
        "id": payload.id,
    }
    assert canonical(payload) == rfc8785.dumps(tree)


@pytest.mark.parametrize("score", [math.nan, math.inf, 2**53])
def test_what_has_no_canonical_bytes_gets_none(score: float) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical(replace(PAYLOAD, score=score))
    with pytest.raises(TypeError, match="UTF-8"):
        canonical(replace(PAYLOAD, subject="\ud800"))


def as_ecmascript(number: float) -> str:
    """Write a double as ECMA-262's Number::toString says it, from the digits and the exponent alone."""
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    assert isinstance(exponent, int)
    if not number:
        return "0"
    figures = "".join(map(str, digits))
    s = figures.rstrip("0")
    k, n = len(s), exponent + len(figures)
    if k <= n <= 21:
        text = s + "0" * (n - k)
    elif 0 < n <= 21:
        text = f"{s[:n]}.{s[n:]}"
    elif -6 < n <= 0:
        text = "0." + "0" * -n + s
    else:
        text = f"{s[0]}{'.' if k > 1 else ''}{s[1:]}e{n - 1:+d}"
    return "-" * sign + text


def doubles(count: int) -> list[float]:
    """Return doubles of every kind: any bits, numbers as games have them, and the neighbours of powers."""
    dice = random.Random(8785)
    found = [double(dice.getrandbits(64)) for _ in range(count)]
    found += [round(dice.uniform(-1e6, 1e6), dice.randrange(7)) for _ in range(count)]
    found += [dice.randrange(1, 10**17) * 10.0 ** dice.randrange(-30, 30) for _ in range(count)]
    for power in [10.0**n for n in range(-323, 309)] + [2.0**n for n in range(-1074, 1024)]:
        found += [power, math.nextafter(power, math.inf), math.nextafter(power, 0)]
    return [one for one in found if math.isfinite(one)]


@pytest.mark.parametrize("row", APPENDIX_B.split("\n")[1:-1])
def test_numbers_are_written_as_rfc_8785_says(row: str) -> None:
    bits, text = row.split()
    assert score_text(double(int(bits, 16))) == text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2**53, -(2**53)])
def test_what_is_no_number_of_json_is_never_signed(number: float) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical(replace(PAYLOAD, score=number))


def test_members_are_sorted_as_rfc_8785_says() -> None:
    # Section 3.2.3: by UTF-16 code units, in which the emoji comes before U+FB33.
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    values = ["Euro Sign", "Carriage Return", "Hebrew Letter Dalet With Dagesh", "One"]
    values += ["Emoji: Grinning Face", "Control", "Latin Small Letter O With Diaeresis"]
    written = json.loads(rfc8785.dumps(dict(zip(names, values, strict=True))))
    assert list(written.values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


def test_doubles_are_written_as_ecmascript_says() -> None:
    for number in doubles(20_000):
        assert score_text(number) == as_ecmascript(number), number.hex()


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here to be compared with")
def test_doubles_are_written_as_node_writes_them() -> None:
    numbers = doubles(20_000)
    program = """
        const bytes = require("fs").readFileSync(0), texts = [];
        for (let at = 0; at < bytes.length; at += 8) texts.push(JSON.stringify(bytes.readDoubleBE(at)));
        process.stdout.write(texts.join("\\n"));
    """
    spoken = subprocess.run(
        ["node", "-e", program], input=struct.pack(f">{len(numbers)}d", *numbers), capture_output=True, check=True
    )
    assert spoken.stdout.decode().split("\n") == [score_text(number) for number in numbers]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_any_double_is_read_as_that_double(number: float) -> None:
    text = score_text(number)
    assert float(text) == number
    assert read_json(text.encode(), canonical=True) == number
    assert text == as_ecmascript(number)


def test_a_payload_has_its_bytes_and_back() -> None:
    assert canonical(PAYLOAD) == BYTES
    assert read_canonical(BYTES) == PAYLOAD
    assert is_canonical(BYTES)


@pytest.mark.parametrize("score", [100, 100.0])
def test_one_number_has_one_spelling(score: float) -> None:
    assert score_text(score) == "100"


@pytest.mark.parametrize(
    "data",
    [
        b" " + BYTES,
        BYTES.replace(b",", b", "),
        BYTES.replace(b"123.4", b"123.40"),
        BYTES.replace("É".encode(), b"\\u00c9"),
        json.dumps(dict(reversed(json.loads(BYTES).items()))).encode(),
    ],
)
def test_bytes_of_another_writer_are_read_but_told_apart(data: bytes) -> None:
    assert read_canonical(data) == PAYLOAD
    assert not is_canonical(data)


ID = "must be 'mnm_' and 24 lowercase hexadecimal digits"
TIME = "must be an RFC 3339 time in UTC to the millisecond, like 2026-01-31T23:59:59.999Z"


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("id", "mnm_0123456789abcdef0123456", ID),
        ("id", "mnm_0123456789ABCDEF01234567", ID),
        ("id", "mon_0123456789abcdef01234567", ID),
        ("id", "mnm_0123456789abcdef012345678", ID),
        ("id", 1, ID),
        ("issuedAt", "2026-02-29T12:00:00.000Z", TIME),
        ("issuedAt", "2026-00-10T12:00:00.000Z", TIME),
        ("issuedAt", "2026-11-21T24:00:00.000Z", TIME),
        ("issuedAt", "2026-11-21T12:60:00.000Z", TIME),
        ("issuedAt", "2026-11-21T12:00:00Z", TIME),
        ("issuedAt", "2026-11-21T12:00:00.12Z", TIME),
        ("issuedAt", "2026-11-21T12:00:00.1234Z", TIME),
        ("issuedAt", "2026-11-21T12:00:00.123+00:00", TIME),
        ("issuedAt", "2026-11-21t12:00:00.123z", TIME),
        ("issuedAt", "2026-11-21 12:00:00.123Z", TIME),
        ("issuedAt", "٢٠٢٦-11-21T12:00:00.123Z", TIME),
        ("issuedAt", "0000-01-01T00:00:00.000Z", TIME),
        ("issuedAt", None, TIME),
        ("nonce", "", "must be a string of 1 to 128 bytes of UTF-8"),
        ("nonce", None, "must be a string of 1 to 128 bytes of UTF-8"),
        ("score", True, "must be a JSON number, without quotes, and neither true nor false"),
        ("subject", "é" * 257, "must be a string of 1 to 512 bytes of UTF-8"),
        ("subject", "e\u0301", "must be in Unicode form NFC"),
        ("extra", 1, "unknown field"),
    ],
)
def test_bytes_that_are_no_payload_are_refused(member: str, value: object, reason: str) -> None:
    tree = {**json.loads(BYTES), member: value}
    with pytest.raises(InvalidRequest) as refused:
        read_canonical(json.dumps(tree).encode())
    assert [(one.field, one.message.en) for one in refused.value.fields] == [(member, reason)]


def test_each_member_must_be_there() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_canonical(b"{}")
    assert [one.field for one in refused.value.fields] == ["id", "issuedAt", "nonce", "score", "subject"]


def test_a_leap_day_is_a_date() -> None:
    leap = replace(PAYLOAD, issued_at="2028-02-29T23:59:59.999Z")
    assert read_canonical(canonical(leap)) == leap


@given(st.integers(0, len(BYTES)), st.integers(0, 9), st.binary(max_size=9))
def test_damaged_bytes_are_a_payload_or_refused(place: int, gone: int, put: bytes) -> None:
    assert well_told(mistakes_in(is_canonical, BYTES[:place] + put + BYTES[place + gone :]))


def test_bytes_of_any_size_are_not_read() -> None:
    with pytest.raises(PayloadTooLarge):
        read_canonical(b" " * 16_384 + BYTES)
