"""Number literals of JSON: the number they are, exactly, or why they are none that can be signed. Reads no JSON."""

from __future__ import annotations

from decimal import Decimal
from math import isinf
from typing import Final

from minimon_server.errors import Text

# The integers that every reader of JSON holds exactly (RFC 8259, section 6; RFC 7493, section 2.2).
LARGEST_INTEGER: Final = 2**53 - 1
# No double needs more; a limit keeps the work per literal small, whatever is sent.
MOST_NUMBER_CHARACTERS: Final = 100

_NEGATIVE_ZERO: Final = Text(
    "zéro négatif ; écrivez 0",
    "negative zero; write 0",
)
_TOO_LARGE: Final = Text(
    f"entier au-delà de {LARGEST_INTEGER} (2^53 - 1)",
    f"integer beyond {LARGEST_INTEGER} (2^53 - 1)",
)
_NOT_HELD: Final = Text(
    "un double (IEEE 754, 64 bits) ne peut pas porter exactement ce nombre tel qu'il est écrit",
    "a double (IEEE 754, 64 bits) cannot hold this number exactly as written",
)
_TOO_LONG: Final = Text(
    f"nombre de plus de {MOST_NUMBER_CHARACTERS} caractères",
    f"number of more than {MOST_NUMBER_CHARACTERS} characters",
)
_NO_NUMBER: Final = Text(
    "NaN et Infinity ne sont pas des nombres de JSON",
    "NaN and Infinity are not numbers of JSON",
)


class Refused:
    """Stands in a tree where a number literal was refused, until the walk that knows the path tells it."""

    __slots__ = ("reason",)

    def __init__(self, reason: Text) -> None:
        self.reason = reason


def read_constant(_: str) -> Refused:
    """Refuse `NaN`, `Infinity` and `-Infinity`, which the standard library would take."""
    return Refused(_NO_NUMBER)


def read_integer(literal: str) -> int | Refused:
    """Return the integer of a literal without fraction and exponent, where every reader holds it exactly."""
    if len(literal) > MOST_NUMBER_CHARACTERS:
        return Refused(_TOO_LONG)
    value = int(literal)
    if not value and literal[0] == "-":
        return Refused(_NEGATIVE_ZERO)
    if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        return Refused(_TOO_LARGE)
    return value


def read_canonical_integer(literal: str) -> int | float | Refused:
    """Like `read_integer`, but beyond 2^53 - 1 take what is a double: RFC 8785 writes 1e20 as 100000000000000000000."""
    value = read_integer(literal)
    if isinstance(value, Refused) and value.reason is _TOO_LARGE:
        return read_double(literal)
    return value


def read_double(literal: str) -> float | Refused:
    """Return the double of a literal whose decimal value is that of the double's shortest form."""
    if len(literal) > MOST_NUMBER_CHARACTERS:
        return Refused(_TOO_LONG)
    value = float(literal)
    if not value:
        return _zero(literal, value)
    shortest = repr(value)
    if shortest == literal:
        return value
    # The exact value of a double is not its shortest form: what counts is the text that the signed bytes will show.
    if isinf(value) or Decimal(literal) != Decimal(shortest):
        return Refused(_NOT_HELD)
    return value


def _zero(literal: str, value: float) -> float | Refused:
    digits = literal.lower().partition("e")[0]
    if digits.strip("-0."):
        return Refused(_NOT_HELD)  # 1e-400: something that became nothing
    return Refused(_NEGATIVE_ZERO) if literal[0] == "-" else value
