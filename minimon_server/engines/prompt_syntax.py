"""How words are weighted: A1111's brackets and `BREAK`, from a text to pieces with weights. Knows no token and no step.

The rule is that of `parse_prompt_attention` in AUTOMATIC1111/stable-diffusion-webui 1.10, whose documented examples the
tests hold. It differs where that rule fails or loses what was meant:

- `BREAK` inside brackets breaks too; there it becomes a word with a negative weight.
- A weight that is no number, as in `(a:1.2.3)`, is text; there it ends the whole request.
- Weights end at 10,000 and nesting at 64 brackets, so that no text costs more than its length: both are told.

`AND` (composable diffusion) and `#` (comments) are plain words here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ROUND: Final = 1.1
SQUARE: Final = 1 / 1.1
LARGEST_WEIGHT: Final = 10_000.0
DEEPEST: Final = 64  # brackets of a kind

_TOKEN: Final = re.compile(
    r"""
    \\[()\[\]\\]?                                        # an escape; a backslash before anything else is dropped
    | [(\[]
    | :\s*(?P<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)
    | [)\]]
    | [^\\()\[\]:]+
    | :
    """,
    re.VERBOSE,
)
_BREAK: Final = re.compile(r"\bBREAK\b")


@dataclass(slots=True)
class Piece:
    """Words that share a weight."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Weighed:
    """A text as pieces, in sections that `BREAK` parts; there is always one. `ignored` says what had no effect."""

    sections: tuple[tuple[Piece, ...], ...]
    ignored: tuple[str, ...] = ()


class _Brackets:
    """The open brackets of one kind: each knows the first piece after it, or None where it is too deep to count."""

    def __init__(self, usual: float) -> None:
        self.usual = usual
        self.open: list[int | None] = []
        self.too_deep = False

    def begin(self, at: int) -> None:
        deep = len(self.open) >= DEEPEST
        self.too_deep |= deep
        self.open.append(None if deep else at)


def weigh(text: str) -> Weighed:
    """Return the pieces of `text`. Never raises, and takes time in proportion to the length.

    Brackets that are never closed reach to the end; those that were never opened are text, both as in A1111.
    """
    pieces: list[Piece] = []
    breaks: list[int] = []  # before which pieces
    rounds, squares = _Brackets(ROUND), _Brackets(SQUARE)

    for match in _TOKEN.finditer(text):
        mark = match.group()
        weight = match["weight"] if match.lastindex else None  # a look that costs less than the group
        if mark[0] == "\\":
            pieces.append(Piece(mark[1:], 1.0))
        elif mark in ("(", "["):
            (rounds if mark == "(" else squares).begin(len(pieces))
        elif rounds.open and (weight is not None or mark == ")"):
            _multiply(pieces, rounds.open.pop(), rounds.usual if weight is None else float(weight))
        elif squares.open and mark == "]":
            _multiply(pieces, squares.open.pop(), squares.usual)
        else:
            for number, part in enumerate(_parts(mark)):
                if number:
                    breaks.append(len(pieces))
                pieces.append(Piece(part, 1.0))
    for brackets in (rounds, squares):
        for start in brackets.open:
            _multiply(pieces, start, brackets.usual)

    ignored = [f"brackets nested deeper than {DEEPEST}"] if rounds.too_deep or squares.too_deep else []
    if _bound(pieces):
        ignored.append(f"weights beyond {LARGEST_WEIGHT:g}")
    return Weighed(tuple(_sections(pieces, breaks)), tuple(ignored))


def _multiply(pieces: list[Piece], start: int | None, by: float) -> None:
    if start is not None:
        for at in range(start, len(pieces)):
            pieces[at].weight *= by


def _parts(text: str) -> list[str]:
    """Return what `BREAK` parts, without the blanks around it."""
    if "BREAK" not in text:
        return [text]
    parts = _BREAK.split(text)
    for number in range(1, len(parts)):
        parts[number - 1] = parts[number - 1].rstrip()
        parts[number] = parts[number].lstrip()
    return parts


def _bound(pieces: list[Piece]) -> bool:
    """Keep weights to what can be computed with, and return whether one was beyond."""
    beyond = False
    for piece in pieces:
        if not abs(piece.weight) <= LARGEST_WEIGHT:  # so also what is no number, as zero times infinity
            beyond = True
            sign = -1.0 if piece.weight < 0 else 1.0
            piece.weight = sign * LARGEST_WEIGHT if piece.weight == piece.weight else 0.0
    return beyond


def _sections(pieces: list[Piece], breaks: list[int]) -> Iterator[tuple[Piece, ...]]:
    for start, end in zip([0, *breaks], [*breaks, len(pieces)], strict=True):
        yield tuple(_merged(pieces[start:end])) or (Piece("", 1.0),)


def _merged(pieces: list[Piece]) -> Iterator[Piece]:
    """Join neighbours of one weight: their words may be one word, and then one token."""
    texts: list[str] = []
    for number, piece in enumerate(pieces):
        texts.append(piece.text)
        if number + 1 == len(pieces) or pieces[number + 1].weight != piece.weight:
            yield Piece("".join(texts), piece.weight)
            texts = []
