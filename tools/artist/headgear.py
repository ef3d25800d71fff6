"""Ears and horns and where they fit side by side on a head; crowns and element crests are drawn elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import skia

from tools.artist.coat import Coat
from tools.artist.palette import BONE, PEARL, WOOD, tint
from tools.artist.shapes import Oval, blob, curve, ellipse, leaf, ribbon, union
from tools.artist.sketch import Mark, Part, Piece, settle
from tools.artist.traits import Ears, Horns, Rarity, Traits

EAR_PINK: Final = tint("ff9fb2")
# How far ears lean outwards, as a share of their seat's angle; lop ears turn by this many degrees.
EAR_LEANS: Final[Mapping[Ears, float]] = MappingProxyType({Ears.CAT: 0.62, Ears.BUNNY: 0.5, Ears.ROUND: 0.9})
LOP_LEAN: Final = 138.0


@dataclass(frozen=True)
class Seats:
    """Where things sit on the head, in degrees from its top; lop ears hang down at the sides."""

    horns: float
    ears: float
    lop: bool


def find_seats(traits: Traits) -> Seats:
    """Choose places so that ears and horns never collide and the middle stays free for a crest or crown."""
    crowd = {Rarity.S: 9.0, Rarity.S_PLUS: 13.0}.get(traits.rarity, 0.0)
    horns = {Horns.HORNS: 35.0, Horns.ANTLERS: 30.0}.get(traits.horns, 0.0)
    if horns:
        ears = {Ears.CAT: 71.0, Ears.ROUND: 76.0}.get(traits.ears, 80.0)
        return Seats(horns + crowd * 0.7, ears + crowd * 0.5, True)
    ears = {Ears.CAT: 44.0, Ears.ROUND: 50.0}.get(traits.ears, 31.0)
    return Seats(0.0, ears + crowd, False)


def _pair(part: Part, head: Oval, degrees: float, lean: float, inset: float) -> list[Piece]:
    """Seat a part drawn upwards from the origin on both sides of the head's rim.

    The part is drawn for the left side; lean is how far it turns outwards and inset how deep it sits, in degrees
    and drawing space units.
    """
    return [settle(part, head.rim(side * degrees, inset), turn=side * lean, flip=side > 0) for side in (-1, 1)]


def _cat_ear() -> tuple[skia.Path, skia.Path]:
    outer = blob([(-25, 12), (-20, -16), (-3, -45), (4, -46), (21, -18), (25, 12)], 0.75)
    inner = blob([(-13, 12), (-11, -12), (-1, -31), (3, -31), (12, -12), (13, 12)], 0.75)
    return outer, inner


def _bunny_ear() -> tuple[skia.Path, skia.Path]:
    outer = blob([(-12, 12), (-17, -28), (-13, -64), (0, -78), (13, -64), (17, -28), (12, 12)])
    inner = blob([(-6, 6), (-9, -28), (-6, -56), (0, -64), (6, -56), (9, -28), (6, 6)])
    return outer, inner


def _round_ear() -> tuple[skia.Path, skia.Path]:
    return ellipse(0, -12, 26, 26), ellipse(0, -10, 15, 15)


EARS: Final[Mapping[Ears, Callable[[], tuple[skia.Path, skia.Path]]]] = MappingProxyType(
    {Ears.CAT: _cat_ear, Ears.BUNNY: _bunny_ear, Ears.ROUND: _round_ear}
)


def make_ears(traits: Traits, head: Oval, coat: Coat) -> list[Piece]:
    """Make the pair of ears, to be painted behind the head."""
    if traits.ears is Ears.NONE:
        return []
    seats = find_seats(traits)
    outer, inner = EARS[traits.ears]()
    part = coat.part(outer, Mark(inner, EAR_PINK.mix(coat.ramp.belly, 0.3)))
    lean = LOP_LEAN if seats.lop and traits.ears is Ears.BUNNY else seats.ears * EAR_LEANS[traits.ears]
    return _pair(part, head, seats.ears, lean, 8)


def _curved_horns(head: Oval, seats: Seats) -> list[Piece]:
    path = ribbon(((0, 10), (-6, -12), (-5, -30), (6, -50)), (26, 22, 14, 3))
    rings = []
    for height in (6, 18, 29):
        ring = curve((-18, -height), (-7, 5 - height), (7, 5 - height), (29, -height - 2))
        rings.append(Mark(ring, BONE.shade, stroke=3.0))
    return _pair(Part(path, BONE, tuple(rings)), head, seats.horns, seats.horns * 0.55, 5)


def _antlers(head: Oval, seats: Seats) -> list[Piece]:
    stem = ribbon(((0, 10), (-4, -14), (-16, -34), (-16, -58)), (13, 12, 10, 7))
    for spine in (((-6, -18), (8, -30), (9, -44)), ((-14, -32), (-30, -38), (-36, -52))):
        stem = union(stem, ribbon(spine, (10, 9, 6)))
    return _pair(Part(stem, WOOD), head, seats.horns, seats.horns * 0.4, 4)


def _unicorn(head: Oval, seats: Seats) -> list[Piece]:
    path = leaf((0, 26), (0, -62), 27)
    tip = skia.Op(path, skia.Path.Rect(skia.Rect.MakeLTRB(-40, -80, 40, 8)), skia.PathOp.kIntersect_PathOp)
    turns = []
    for height in (2, 15, 28, 41):
        line = curve((-18, 6 - height), (-8, 6 - height), (6, -height), (18, -height - 8))
        turns.append(Mark(line, PEARL.shade, stroke=3.2))
    return [settle(Part(tip, PEARL, tuple(turns)), (head.x, head.top + 6))]


def make_horns(traits: Traits, head: Oval) -> list[Piece]:
    """Make horns or antlers to be painted behind the head, or a unicorn's horn to be painted over it."""
    makers = {Horns.HORNS: _curved_horns, Horns.ANTLERS: _antlers, Horns.UNICORN: _unicorn}
    maker = makers.get(traits.horns)
    return [] if maker is None else maker(head, find_seats(traits))
