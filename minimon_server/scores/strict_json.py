"""JSON that can be read in one way only: bytes to a tree, or every mistake with its path. Knows no members by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Final

from minimon_server.errors import FieldMistake, InvalidRequest, PayloadTooLarge, Text
from minimon_server.json_mistakes import BODY, REPEATED, Repeated, invalid, read_object
from minimon_server.scores.exact_numbers import (
    Refused,
    read_canonical_integer,
    read_constant,
    read_double,
    read_integer,
)
from minimon_server.scores.plain_text import shown, wrong_in

MOST_BODY_BYTES: Final = 16 * 1024
MOST_DEPTH: Final = 8
MOST_NAME_CHARACTERS: Final = 64

_BLANKS: Final = " \t\n\r"
_BOM: Final = b"\xef\xbb\xbf"
# A string, to its end or to the end of all, or a bracket: each character is looked at once.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)

_EMPTY: Final = Text("est vide", "is empty")
_HAS_BOM: Final = Text("commence par une marque d'ordre (BOM) ; retirez-la", "begins with a byte order mark; remove it")
_TOO_DEEP: Final = Text(f"plus de {MOST_DEPTH} niveaux d'imbrication", f"nested more than {MOST_DEPTH} levels deep")


def _decoder(integer: Callable[[str], object]) -> JSONDecoder:
    return JSONDecoder(
        object_pairs_hook=read_object,
        parse_constant=read_constant,
        parse_float=read_double,
        parse_int=integer,
        strict=False,  # control characters are refused by the walk, which can name the field
    )


_OF_REQUESTS: Final = _decoder(read_integer)
_OF_CANONICAL: Final = _decoder(read_canonical_integer)


def read_json(body: bytes, *, most_bytes: int = MOST_BODY_BYTES, canonical: bool = False) -> object:
    """Return the tree of these bytes; raise `InvalidRequest` naming every mistake, or `PayloadTooLarge`.

    With `canonical`, integers beyond 2^53 - 1 may stand where RFC 8785 would write a double so.
    """
    tree, mistakes = examine(body, most_bytes=most_bytes, canonical=canonical)
    refuse(mistakes)
    return tree


def examine(
    body: bytes, *, most_bytes: int = MOST_BODY_BYTES, canonical: bool = False
) -> tuple[object, list[FieldMistake]]:
    """Return the tree and the mistakes in it, so that a reader of known members can add its own.

    What is no JSON at all is raised at once. The tree is safe to look at, and worth something where no mistake is.
    """
    text = _text(body, most_bytes)
    _check_depth(text)
    try:
        tree, end = (_OF_CANONICAL if canonical else _OF_REQUESTS).raw_decode(
            text, len(text) - len(text.lstrip(_BLANKS))
        )
    except JSONDecodeError as error:
        raise _refusal(
            Text(
                f"n'est pas du JSON (RFC 8259) : illisible au caractère {error.pos + 1}",
                f"is not JSON (RFC 8259): unreadable at character {error.pos + 1}",
            )
        ) from error
    if end != len(text):
        raise _refusal(
            Text(
                f"autre chose suit la valeur JSON, qui finit au caractère {end}",
                f"something follows the JSON value, which ends at character {end}",
            )
        )
    mistakes: list[FieldMistake] = []
    return _walk(tree, "", mistakes), mistakes


def refuse(mistakes: Sequence[FieldMistake]) -> None:
    """Raise `InvalidRequest` with these mistakes, if there are any."""
    if mistakes:
        raise invalid(mistakes)


def member(path: str, name: object) -> str:
    """Return the path of a member, or of an element by its index, as the mistakes tell it."""
    own = shown(str(name), MOST_NAME_CHARACTERS) or '""'  # a name may be empty, a field of a mistake not
    return f"{path}.{own}" if path else own


def same(one: object, other: object) -> bool:
    """Return whether two trees are the same JSON: 1 is 1.0, but `true` is not 1, which Python would say."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other  # Python compares an int and a float by their exact values


def _refusal(reason: Text) -> InvalidRequest:
    return InvalidRequest(fields=[FieldMistake(BODY, reason)])


def _text(body: bytes, most_bytes: int) -> str:
    if len(body) > most_bytes:
        raise PayloadTooLarge(limit=most_bytes)
    if body.startswith(_BOM):
        raise _refusal(_HAS_BOM)
    try:
        text = body.decode().rstrip(_BLANKS)
    except UnicodeDecodeError as error:
        raise _refusal(
            Text(
                f"n'est pas de l'UTF-8 : octet {error.start + 1}",
                f"is not UTF-8: byte {error.start + 1}",
            )
        ) from error
    if not text:
        raise _refusal(_EMPTY)
    return text


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the decoder, which is recursive, meets it."""
    if text.count("{") + text.count("[") <= MOST_DEPTH:
        return
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > MOST_DEPTH:
                raise _refusal(_TOO_DEEP)
        elif found[0] in "]}":
            depth -= 1


def _walk(value: object, path: str, mistakes: list[FieldMistake]) -> object:
    """Check every string, tell every refused number, and return the value with plain objects."""
    if isinstance(value, str):
        _note(wrong_in(value), path, mistakes)
    elif isinstance(value, Refused):
        _note(value.reason, path, mistakes)
    elif isinstance(value, list):
        return [_walk(item, member(path, index), mistakes) for index, item in enumerate(value)]
    elif isinstance(value, dict):
        return _walk_pairs(list(value.items()), path, mistakes)
    elif isinstance(value, Repeated):
        for name in value.names():
            _note(REPEATED, member(path, name), mistakes)
        return _walk_pairs(value.pairs, path, mistakes)
    return value


def _walk_pairs(pairs: list[tuple[str, object]], path: str, mistakes: list[FieldMistake]) -> dict[str, object]:
    members = {}
    for name, value in pairs:
        inner = member(path, name)
        _note(wrong_in(name), inner, mistakes)
        members[name] = _walk(value, inner, mistakes)
    return members


def _note(reason: Text | None, path: str, mistakes: list[FieldMistake]) -> None:
    if reason:
        mistakes.append(FieldMistake(path or BODY, reason))
