"""Which strings may be signed: those that every reader shows alike. Alters none, and reads no JSON."""

from __future__ import annotations

import re
from typing import Final
from unicodedata import is_normalized

from minimon_server.errors import Text

_SURROGATE: Final = Text("demi-codet isolé (U+D800 à U+DFFF)", "lone surrogate (U+D800 to U+DFFF)")
_CONTROL: Final = Text(
    "caractère de contrôle (U+0000 à U+001F, U+007F à U+009F)",
    "control character (U+0000 to U+001F, U+007F to U+009F)",
)
_BIDIRECTIONAL: Final = Text(
    "caractère de contrôle du sens d'écriture (U+061C, U+200E, U+200F, U+202A à U+202E, U+2066 à U+2069)",
    "bidirectional control character (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069)",
)
_NONCHARACTER: Final = Text(
    "non-caractère d'Unicode (U+FDD0 à U+FDEF, U+xxFFFE, U+xxFFFF)",
    "noncharacter of Unicode (U+FDD0 to U+FDEF, U+xxFFFE, U+xxFFFF)",
)
_NOT_NFC: Final = Text("doit être en forme Unicode NFC", "must be in Unicode form NFC")

_LAST_TWO: Final = "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
_REFUSED: Final = re.compile(
    r"([\ud800-\udfff])"
    r"|([\x00-\x1f\x7f-\x9f])"
    r"|([\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])"  # the property Bidi_Control, whole
    rf"|([\ufdd0-\ufdef{_LAST_TWO}])"
)
_REASONS: Final = (_SURROGATE, _CONTROL, _BIDIRECTIONAL, _NONCHARACTER)


def wrong_in(text: str) -> Text | None:
    """Return why this string may not be signed, or None."""
    if text.isascii() and text.isprintable():
        return None
    found = _REFUSED.search(text)
    if found:
        assert found.lastindex
        return _REASONS[found.lastindex - 1]
    return None if is_normalized("NFC", text) else _NOT_NFC


def shown(name: str, most: int) -> str:
    """Return a name fit for an answer: cut, and with escapes for what may not stand in a string."""
    if len(name) <= most and name.isascii() and name.isprintable():
        return name
    return _REFUSED.sub(lambda found: f"\\u{ord(found[0]):04x}", name[:most])
