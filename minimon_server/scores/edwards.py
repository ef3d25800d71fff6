"""Whether bytes are a point that Ed25519 or Ed448 may verify with: the library takes any. Computes nothing secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class EdwardsCurve:
    """The curve a x^2 + y^2 = 1 + d x^2 y^2 over the integers modulo p (RFC 8032, section 5)."""

    p: int
    a: int
    d: int
    size: int


_P25519: Final = 2**255 - 19
ED25519: Final = EdwardsCurve(_P25519, -1, -121665 * pow(121666, -1, _P25519) % _P25519, 32)
ED448: Final = EdwardsCurve(2**448 - 2**224 - 1, 1, -39081, 57)


def check_point(curve: EdwardsCurve, data: bytes) -> None:
    """Raise `ValueError` unless `data` is a point of the curve, in its one spelling, and none of small order.

    With a key of small order one signature fits many messages, so that it would prove nothing about any of them.
    """
    p, number = curve.p, int.from_bytes(data, "little")
    y = number & ~(1 << (8 * curve.size - 1))  # the highest bit is the sign of x
    if len(data) != curve.size or y >= p:
        raise ValueError("its point has the wrong length or a coordinate beyond the field")
    above, below = (y * y - 1) % p, (curve.d * y * y - curve.a) % p
    squared = above * pow(below, -1, p) % p  # x^2; below is never 0, because a/d is no square
    if pow(squared, (p - 1) // 2, p) not in (0, 1):
        raise ValueError("its point does not lie on the curve")
    # Order 1 or 2: x = 0. Order 4: y = 0. Order 8 (Ed25519 alone has such): doubling gives y = 0, so y^2 = a x^2.
    if 0 in (squared, y, (y * y - curve.a * squared) % p):
        raise ValueError("its point has a small order")
