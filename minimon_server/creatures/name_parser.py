"""From whatever a language model wrote to a name, or none. Pure: asks nobody, never raises, reads each text once.

Names are letters, with single blanks, hyphens or apostrophes inside, 32 characters at most, in Unicode's form NFC.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

import orjson

LONGEST_NAME: Final = 32
SHORTEST_NAME: Final = 2
READ_CHARACTERS: Final = 4096
# Prose beyond this is an essay: what looks like a name in there is as likely a hero of the story.
PROSE_CHARACTERS: Final = 400
PROSE_WORDS: Final = 3

# Letters by category that show as nothing at all (Unicode's Default_Ignorable_Code_Point).
_INVISIBLE: Final = frozenset("\u115f\u1160\u3164\uffa0")
_SPELT_ALIKE: Final = str.maketrans({"\u2019": "'", "\u2010": "-", "\u2011": "-"})
# What models write where a name should stand: the key of the JSON, a placeholder, or the opening of a sentence.
_NO_NAMES: Final = frozenset(
    """
    name names nom noms prénom string text value null none undefined unknown inconnu minimon creature créature json
    sure ok okay yes no oui non sorry désolé désolée bonjour hello hi here voici certainly certainement bien
    """.split()
)
_KEYS: Final = ("name", "nom")
_KEY_AND_TEXT: Final = re.compile(r'"(?:name|nom)"\s*:\s*"((?:[^"\\]|\\.)*)', re.IGNORECASE)
_LOOSE_KEY_AND_TEXT: Final = re.compile(r"""['"]?\b(?:name|nom)\b['"]?\s*[:=]\s*["'“«]?([^"“”«»{}<>,;.\n]+)""", re.I)
_SAID: Final = re.compile(
    r"\b(?:named|called|s['’]appelle|nommée?|appelée?"
    r"|(?:name|nom)(?:\s\S{1,20}){0,6}?\s(?:is|est|sera|serait|could be|would be|will be|pourrait être))\b",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(r'["“«*`]\s*([^"“”«»*`\n]{1,40})["”»*`]')
_AROUND: Final = ' \t\r\n:.,;!?"“”«»*`_'


def name_in(text: str) -> str | None:
    """Return the name that a model meant, or None when there is none that may be shown.

    Takes JSON whole, cut or malformed, with or without a fence around it, and short prose that names a name.
    """
    text = text.rpartition("</think>")[2][:READ_CHARACTERS]
    is_json, value = _from_json(text)
    if is_json:
        return allowed(value) if isinstance(value, str) else None
    if match := _KEY_AND_TEXT.search(text):
        return allowed(_unescaped(match[1]))
    if "<" in text or len(text) > PROSE_CHARACTERS:
        return None
    return next((name for name in map(allowed, _from_prose(text)) if name), None)


def allowed(name: str) -> str | None:
    """Return `name` as it may be shown, or None: the one gate that every remote name passes."""
    if len(name) > 4 * LONGEST_NAME:
        return None
    name = unicodedata.normalize("NFC", name.strip(" \t\r\n").translate(_SPELT_ALIKE))
    if not SHORTEST_NAME <= len(name) <= LONGEST_NAME or name.casefold() in _NO_NAMES:
        return None
    if not all(word.isalpha() for word in re.split("[ '-]", name)) or not _INVISIBLE.isdisjoint(name):
        return None
    return name


def _from_json(text: str) -> tuple[bool, object]:
    """Return whether the text holds a whole JSON object that has a name, and what is written there."""
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0 or end < begin:
        return False, None
    try:
        found = orjson.loads(text[begin : end + 1])
    except orjson.JSONDecodeError:
        return False, None
    for key, value in found.items():
        if key.casefold() in _KEYS:
            return True, value
    return False, None


def _unescaped(inside: str) -> str:
    """Return what stands between two quotes of JSON; as it is when its escapes make no sense."""
    try:
        return str(orjson.loads(f'"{inside}"'))
    except orjson.JSONDecodeError:
        return inside


def _from_prose(text: str) -> Iterator[str]:
    """Yield what may be the name in a short text, the surest first."""
    if match := _LOOSE_KEY_AND_TEXT.search(text):
        yield match[1].strip(_AROUND + "'")
    if match := _SAID.search(text):
        yield _capitalised(text[match.end() :].lstrip(_AROUND))
    for quoted in _QUOTED.finditer(text):
        if quoted[1][0].isupper():
            yield quoted[1].strip(_AROUND)
    bare = text.strip(_AROUND)
    if _capitalised(bare) == bare:
        yield bare


def _capitalised(text: str) -> str:
    """Return the capitalised words that `text` begins with, up to the first one that ends in punctuation."""
    words: list[str] = []
    for word in text[: 2 * LONGEST_NAME].split()[:PROSE_WORDS]:
        bare = word.rstrip(_AROUND)
        if not any(part[:1].isupper() for part in re.split("['’]", bare)):  # the Or of "Étoile d'Or"
            break
        words.append(bare)
        if bare != word:
            break
    return " ".join(words)
