"""Bytes that are refused, each with its field and its reason, and bytes that are read: exactly what they say."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minimon_server.errors import InvalidRequest, PayloadTooLarge
from minimon_server.json_mistakes import MOST_MISTAKES
from minimon_server.scores.strict_json import MOST_BODY_BYTES, read_json, same
from tests.scores.reading import mistakes_in, well_told

HELD = "a double (IEEE 754, 64 bits) cannot hold this number exactly as written"
LARGE = "integer beyond 9007199254740991 (2^53 - 1)"
ZERO = "negative zero; write 0"
LONG = "number of more than 100 characters"
NAN = "NaN and Infinity are not numbers of JSON"
TWICE = "given more than once"
SURROGATE = "lone surrogate (U+D800 to U+DFFF)"
CONTROL = "control character (U+0000 to U+001F, U+007F to U+009F)"
BIDI = "bidirectional control character (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069)"
NONCHARACTER = "noncharacter of Unicode (U+FDD0 to U+FDEF, U+xxFFFE, U+xxFFFF)"
NFC = "must be in Unicode form NFC"
DEEP = "nested more than 8 levels deep"


def told(body: bytes) -> dict[str, str]:
    """Read what must be refused; return the reason of each field."""
    with pytest.raises(InvalidRequest) as refused:
        read_json(body)
    for mistake in refused.value.fields:
        assert mistake.message.fr != mistake.message.en
    return {mistake.field: mistake.message.en for mistake in refused.value.fields}


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        # what a double cannot hold as written
        ("1e400", HELD),
        ("-1e400", HELD),
        ("1e99999999999999999999", HELD),
        ("1e-99999999999999999999", HELD),
        ("1e-400", HELD),
        ("-1e-400", HELD),
        ("4e-324", HELD),
        ("0.1000000000000000055511", HELD),
        ("9007199254740993.0", HELD),
        ("9007199254740993e0", HELD),
        ("123456789012345678.5", HELD),
        ("0.30000000000000001", HELD),
        # integers that not every reader holds
        ("9007199254740992", LARGE),
        ("9007199254740993", LARGE),
        ("-9007199254740992", LARGE),
        ("18446744073709551616", LARGE),
        # a zero that two readers show differently
        ("-0", ZERO),
        ("-0.0", ZERO),
        ("-0e5", ZERO),
        ("-0.000E-9", ZERO),
        # no numbers
        ("NaN", NAN),
        ("Infinity", NAN),
        ("-Infinity", NAN),
        # long ones
        ("1" * 101, LONG),
        ("0." + "0" * 99, LONG),
        ("1" * 16_000, LONG),
        ("0." + "1" * 16_000, LONG),
        ("1e" + "9" * 16_000, LONG),
    ],
)
def test_a_number_is_refused(literal: str, reason: str) -> None:
    assert told(b'{"score":%s}' % literal.encode()) == {"score": reason}


@pytest.mark.parametrize(
    ("literal", "number"),
    [
        ("0", 0),
        ("0.0", 0),
        ("0e5", 0),
        ("0e99999999999999999999", 0),
        ("100", 100),
        ("100.0", 100),
        ("1e2", 100),
        ("1E+2", 100),
        ("123.40", 123.4),
        ("0.1", 0.1),
        ("-2.5e-3", -0.0025),
        ("9007199254740991", 2**53 - 1),
        ("-9007199254740991", 1 - 2**53),
        ("9007199254740992.0", 2.0**53),
        ("1e300", 1e300),
        ("5e-324", 5e-324),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("0." + "0" * 98, 0),
        ("1" + "0" * 50 + "e-50", 1),
    ],
)
def test_a_number_is_read(literal: str, number: float) -> None:
    read = read_json(literal.encode())
    assert read == number
    assert not isinstance(read, bool)
    assert math.copysign(1, float(str(read))) == math.copysign(1, number)


@pytest.mark.parametrize("canonical", ["9007199254740992", "100000000000000000000", "-999999999999999900000"])
def test_what_rfc_8785_writes_of_a_large_double_is_read_as_one_where_it_may_stand(canonical: str) -> None:
    assert told(canonical.encode()) == {"body": LARGE}
    assert read_json(canonical.encode(), canonical=True) == float(canonical)


@pytest.mark.parametrize("literal", ["9007199254740993", "18446744073709551616", "1" * 101, "-0"])
def test_a_large_integer_that_is_no_double_may_stand_nowhere(literal: str) -> None:
    with pytest.raises(InvalidRequest):
        read_json(literal.encode(), canonical=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (r"\ud800", SURROGATE),
        (r"\udc00\ud800", SURROGATE),
        (r"\ud800\u0041", SURROGATE),
        ("\x00", CONTROL),
        (r"\u0000", CONTROL),
        ("\n", CONTROL),
        (r"\t", CONTROL),
        (r"\u001f", CONTROL),
        ("\x7f", CONTROL),
        (r"\u007F", CONTROL),
        ("\x80", CONTROL),
        ("\x9f", CONTROL),
        *[
            (character, BIDI)
            for character in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        ],
        (r"\u202e", BIDI),
        ("\ufdd0", NONCHARACTER),
        ("\ufdef", NONCHARACTER),
        (r"\ufffe", NONCHARACTER),
        ("\uffff", NONCHARACTER),
        ("\U0001fffe", NONCHARACTER),
        (r"\udbff\udfff", NONCHARACTER),
        ("e\u0301", NFC),
        (r"e\u0301", NFC),
        ("\u212b", NFC),
    ],
    ids=ascii,
)
def test_a_string_is_refused_wherever_it_stands(text: str, reason: str) -> None:
    assert told(f'{{"subject":"a{text}b"}}'.encode()) == {"subject": reason}
    assert told(f'["","a{text}b"]'.encode()) == {"1": reason}
    assert told(f'"{text}"'.encode()) == {"body": reason}
    assert list(told(f'{{"a{text}b":1}}'.encode()).values()) == [reason]


@pytest.mark.parametrize(
    "text",
    ["", "~ }", "Éloïse", "ほしねこ", "\U0001f600", "\U0010fffd", "שלום", "a\u200db", "\ufdcf", "\ufdf0", "\ufffd"],
)
def test_a_string_is_read_as_it_stands(text: str) -> None:
    assert read_json(json.dumps(text).encode()) == text
    assert read_json(json.dumps(text, ensure_ascii=False).encode()) == text


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"", "body", "is empty"),
        (b" \r\n\t", "body", "is empty"),
        (b"\xef\xbb\xbf{}", "body", "begins with a byte order mark; remove it"),
        (b"\xef\xbb\xbf", "body", "begins with a byte order mark; remove it"),
        ("{}".encode("utf-16"), "body", "is not UTF-8: byte 1"),
        (b'{"a":"\xff"}', "body", "is not UTF-8: byte 7"),
        (b'{"a":"\xc0\xaf"}', "body", "is not UTF-8: byte 7"),
        (b'{"a":"\xed\xa0\x80"}', "body", "is not UTF-8: byte 7"),
        (b'{"a":"\xf4\x90\x80\x80"}', "body", "is not UTF-8: byte 7"),
        (b'{"a":"\xc3', "body", "is not UTF-8: byte 7"),
        (b"{} {}", "body", "something follows the JSON value, which ends at character 2"),
        (b"{}\x00", "body", "something follows the JSON value, which ends at character 2"),
        (b"{}\xc2\xa0", "body", "something follows the JSON value, which ends at character 2"),
        (b"01", "body", "something follows the JSON value, which ends at character 1"),
        (b"1.", "body", "something follows the JSON value, which ends at character 1"),
        (b"\xc2\xa01", "body", "is not JSON (RFC 8259): unreadable at character 1"),
        (b"{'a':1}", "body", "is not JSON (RFC 8259): unreadable at character 2"),
        (b'{"a":1,}', "body", "is not JSON (RFC 8259): unreadable at character 8"),
        (b'{"a":+1}', "body", "is not JSON (RFC 8259): unreadable at character 6"),
        (b'{"a":.5}', "body", "is not JSON (RFC 8259): unreadable at character 6"),
        (b'{"a":True}', "body", "is not JSON (RFC 8259): unreadable at character 6"),
        (b"[" * 9 + b"]" * 9, "body", DEEP),
        (b"[" * 16_384, "body", DEEP),
        (b'{"a":' * 3000, "body", DEEP),
        (b'{"score":1,"score":1}', "score", TWICE),
        (b'{"score":1,"\\u0073core":2,"score":3}', "score", TWICE),
        (b'{"payload":[0,{"a":1,"a":2}]}', "payload.1.a", TWICE),
        (b'{"a":{"b":[NaN]}}', "a.b.0", NAN),
    ],
)
def test_bytes_are_refused(body: bytes, field: str, reason: str) -> None:
    assert told(body) == {field: reason}


def test_eight_levels_are_read_and_brackets_in_strings_are_none() -> None:
    assert read_json(b"[" * 8 + b"]" * 8) == [[[[[[[[]]]]]]]]
    assert read_json(b'["[[[[[[[[[[","\\"[[[[[[[[["]') == ["[[[[[[[[[[", '"[[[[[[[[[']
    assert read_json(b"[" + b"[]," * 100 + b"[]]") == [[]] * 101


def test_every_mistake_is_told_at_once() -> None:
    assert told(b'{"a":-0,"b":"\\u0000","a":"\x7f","c":[1e400,{"d":NaN}],"e":true}') == {
        "a": CONTROL,  # and TWICE and ZERO before it
        "b": CONTROL,
        "c.0": HELD,
        "c.1.d": NAN,
    }


def test_thousands_of_mistakes_are_not_told_one_by_one() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_json(b"[" + b"NaN," * 4000 + b"1]")
    assert len(refused.value.fields) == MOST_MISTAKES + 1
    assert refused.value.fields[-1].field == "body"
    assert refused.value.fields[-1].message.en == "more mistakes follow; only the first 20 are named"


def test_a_name_that_may_not_be_shown_is_shown_escaped_and_cut() -> None:
    assert told(b'{"\\ud800\\u202e":NaN}') == {"\\ud800\\u202e": NAN}
    assert told(b'{"%s":NaN}' % (b"a" * 10_000)) == {"a" * 64: NAN}


def test_an_empty_name_is_shown_as_one() -> None:
    assert told(b'{"":NaN}') == {'""': NAN}
    assert told(b'{"":{"score":NaN},"a":{"":-0}}') == {'"".score': NAN, 'a.""': ZERO}


def test_a_body_has_a_size() -> None:
    assert read_json(b" " * (MOST_BODY_BYTES - 2) + b"{}") == {}
    with pytest.raises(PayloadTooLarge, match="16384 bytes"):
        read_json(b" " * (MOST_BODY_BYTES - 1) + b"{}")
    assert read_json(b" " * MOST_BODY_BYTES + b"{}", most_bytes=MOST_BODY_BYTES + 2) == {}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1", "1.0", True),
        ("true", "1", False),
        ("[false]", "[0]", False),
        ("null", "false", False),
        ('"1"', "1", False),
        ('{"a":1,"b":[2]}', '{"b":[2.0],"a":1e0}', True),
        ('{"a":1}', '{"a":1,"b":1}', False),
        ("[1,2]", "[1]", False),
        ("[1,2]", "[2,1]", False),
        ("{}", "[]", False),
        ("9007199254740991", "9007199254740992.0", False),
    ],
)
def test_the_same_json_is_told_from_other_json(one: str, other: str, equal: bool) -> None:
    assert same(read_json(one.encode()), read_json(other.encode())) is equal
    assert same(read_json(other.encode()), read_json(one.encode())) is equal


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(1e16)
def test_any_double_in_its_shortest_form_is_read_as_itself(number: float) -> None:
    if number == 0 and math.copysign(1, number) < 0:
        return
    assert read_json(repr(number).encode()) == number


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text('abÉ{["\\ほ', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('abÉ"', max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_json_writes_is_read_back(tree: object) -> None:
    body = json.dumps(tree).encode()
    mistakes = mistakes_in(read_json, body)
    if mistakes:
        assert [mistake.message.en for mistake in mistakes] == [DEEP]
    else:
        assert same(read_json(body), tree)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert well_told(mistakes_in(read_json, body))
