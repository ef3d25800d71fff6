"""What may be wrong with JSON whoever reads it: a name given twice, too many mistakes to tell. Reads none itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from minimon_server.errors import FieldMistake, InvalidRequest, Text

BODY: Final = "body"  # the field of a mistake that is the whole body's
# A body may hold thousands of mistakes; an answer of thousands helps nobody but who wants large answers.
MOST_MISTAKES: Final = 20

REPEATED: Final = Text("donné plusieurs fois", "given more than once")
_MORE: Final = Text(
    f"d'autres erreurs suivent ; seules les {MOST_MISTAKES} premières sont nommées",
    f"more mistakes follow; only the first {MOST_MISTAKES} are named",
)


class Repeated:
    """An object in which a name stands twice, as its pairs: RFC 8259, section 4, leaves open which of them counts."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs

    def names(self) -> list[str]:
        """Return the names that stand more than once, each of them once."""
        return [name for name, times in Counter(name for name, _ in self.pairs).items() if times > 1]


def read_object(pairs: list[tuple[str, object]]) -> dict[str, object] | Repeated:
    """Return the object of these pairs: the `object_pairs_hook` of a `JSONDecoder`."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else Repeated(pairs)


def invalid(mistakes: Sequence[FieldMistake]) -> InvalidRequest:
    """Return the error that tells these mistakes, or the first of them when they are too many."""
    if len(mistakes) > MOST_MISTAKES:
        mistakes = [*mistakes[:MOST_MISTAKES], FieldMistake(BODY, _MORE)]
    return InvalidRequest(fields=mistakes)
