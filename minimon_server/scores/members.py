"""Objects of known members: each one checked, every mistake at once. Reads no bytes, and says what no member means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from minimon_server.errors import FieldMistake, Text
from minimon_server.json_mistakes import BODY
from minimon_server.scores.strict_json import member

Check = Callable[[object], Text | None]  # why this value may not stand here, or None

_NO_OBJECT: Final = Text("doit être un objet JSON", "must be a JSON object")
_MISSING: Final = Text("manque", "is missing")
_UNKNOWN: Final = Text("champ inconnu", "unknown field")
_NO_NUMBER: Final = Text(
    "doit être un nombre JSON, sans guillemets, et ni true ni false",
    "must be a JSON number, without quotes, and neither true nor false",
)


def check_members(
    tree: object,
    checks: Mapping[str, Check],
    known: Iterable[FieldMistake] = (),
    *,
    optional: Collection[str] = (),
    path: str = "",
) -> list[FieldMistake]:
    """Return the mistakes `known` of before and those found now; a field that has one is not checked again."""
    mistakes = list(known)
    named = {mistake.field for mistake in mistakes}
    if not isinstance(tree, dict):
        field = path or BODY
        return mistakes if field in named else [*mistakes, FieldMistake(field, _NO_OBJECT)]
    for name, check in checks.items():
        field = f"{path}.{name}" if path else name
        reason = None if field in named or name in optional else _MISSING
        if name in tree and field not in named:
            reason = check(tree[name])
        if reason:
            mistakes.append(FieldMistake(field, reason))
    if not tree.keys() <= checks.keys():
        mistakes += [FieldMistake(member(path, name), _UNKNOWN) for name in tree if name not in checks]
    return mistakes


def number(value: object) -> Text | None:
    """Check for a number, which a boolean is not."""
    return None if isinstance(value, int | float) and not isinstance(value, bool) else _NO_NUMBER


def text_of(least: int, most: int) -> Check:
    """Return the check for a string of so many bytes of UTF-8."""
    reason = Text(
        f"doit être une chaîne de {least} à {most} octets UTF-8",
        f"must be a string of {least} to {most} bytes of UTF-8",
    )

    def check(value: object) -> Text | None:
        return None if isinstance(value, str) and least <= len(value.encode()) <= most else reason

    return check


def passing(accept: Callable[[str], object], reason: Text) -> Check:
    """Return the check for a string that `accept` says yes to."""

    def check(value: object) -> Text | None:
        return None if isinstance(value, str) and accept(value) else reason

    return check


def anything(_: object) -> Text | None:
    """Let every value pass."""
    return None


def an_object(value: object) -> Text | None:
    """Check for an object, whatever its members."""
    return None if isinstance(value, dict) else _NO_OBJECT
