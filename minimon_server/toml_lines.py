"""Where in a TOML file something stands: `tomllib` keeps no lines. Judges nothing that it finds."""

from __future__ import annotations

import re
from typing import Final

_HEADER: Final = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_.+\"' -]+?)\s*\]{1,2}\s*(#.*)?")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.+\"'-]+)\s*=")

Place = tuple[str | int, ...]


def of_syntax(told: str) -> str:
    """Return what `tomllib` says of a file that is no TOML, its line first, as all our lines have it."""
    found = re.search(r" \(at line (\d+), column \d+\)$", told)
    return f"line {found[1]}: {told[: found.start()]}" if found else told[:200]


def shown(text: str) -> str:
    """Return a text of a stranger's such that it is one line, and short."""
    return text[:64] if text.isprintable() else ascii(text[:64])[1:-1]


def line_of(text: str, place: Place) -> int | None:
    """Return the line, from 1, where a member stands, else where its table begins, else None.

    `tomllib` keeps no lines. Only headers and the keys under them are looked at; inside an inline table the line is
    that of the table's key.
    """
    members = [str(step) for step in place if not isinstance(step, int)]
    number = next((step for step in place if isinstance(step, int)), None)
    best: tuple[int, int] | None = None  # how many members were found, and the line
    table: list[str] = []
    seen = -1
    for line, row in enumerate(text.split("\n"), 1):
        if header := _HEADER.fullmatch(row):
            table = [part.strip(" \"'") for part in header[1].split(".")]
            if members and row.strip().startswith("[[") and table == members[:1]:
                seen += 1
            path = table
        elif key := _KEY.match(row):
            path = [*table, *(part.strip("\"'") for part in key[1].split("."))]
        else:
            continue
        if number is not None and (seen != number or not table) and (table or path != members[:1]):
            continue
        depth = len(path)
        if path == members[:depth] and (best is None or depth > best[0]):
            best = (depth, line)
    return best[1] if best else None
