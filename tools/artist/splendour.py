"""What rarity adds: scuffs and bandages at the low end, scarves, medals, jewels and crowns at the high end."""

from __future__ import annotations

import random
from typing import Final

import skia

from tools.artist.anatomy import Anatomy
from tools.artist.coat import Coat
from tools.artist.palette import GEMS, GOLD, PLASTER, WHITE, Ramp, tint
from tools.artist.shapes import Oval, Point, blob, closed, curve, ellipse, placed, polygon, ribbon, sparkle, star
from tools.artist.sketch import Mark, Part, Piece, settle
from tools.artist.traits import Rarity

DIRT: Final = tint("5b4432")
STITCH: Final = tint("4a2f1c")


def _bandage(place: Point, turn: float) -> list[Piece]:
    """Make a sticking plaster about 36 long."""
    strip = skia.Path()
    strip.addRoundRect(skia.Rect.MakeLTRB(-18, -7, 18, 7), 6, 6)
    pad = Mark(
        placed(skia.Path.Rect(skia.Rect.MakeLTRB(-6, -7, 6, 7)), turn=turn, move=place), PLASTER.shade.fade(0.75)
    )
    return [Part(placed(strip, turn=turn, move=place), PLASTER, (pad,), line=2.6)]


def make_scuffs(rarity: Rarity, anatomy: Anatomy, chest: skia.Path, rng: random.Random) -> list[Piece]:
    """Make the wear of the two lowest rarities: smudges, a stitched patch and plasters for F, one plaster for E."""
    if rarity.level > Rarity.E.level:
        return []
    side = rng.choice((-1, 1))
    head = anatomy.head
    pieces = _bandage(head.rim(side * 38, head.half_height * 0.2), side * 34)
    if rarity is Rarity.E:
        return pieces
    collar = anatomy.collar
    for shift, low, size in ((-0.62, 8, 10), (0.52, 14, 13), (0.1, 24, 9)):
        x, y = collar.x + shift * collar.half_width, collar.bottom + low
        smudge = blob(
            [(x - size, y), (x - size * 0.2, y - size * 0.7), (x + size, y - 2), (x + size * 0.3, y + size * 0.6)]
        )
        pieces.append(Mark(smudge, DIRT.fade(0.5), clip=chest))
    x, y = head.rim(-side * 52, head.half_height * 0.22)
    for shift in (-8, 0, 8):
        scratch = curve((x + shift - 3, y - 8), (x + shift, y - 3), (x + shift, y + 3), (x + shift + 3, y + 8))
        pieces.append(Mark(scratch, STITCH.fade(0.75), stroke=2.8))
    return pieces


def _arc(collar: Oval, spread: float) -> list[Point]:
    """Return points along the lower rim of the collar oval, that many degrees to each side of its lowest point."""
    return [collar.rim(180 + spread * (1 - step / 6)) for step in range(13)]


def _scarf(collar: Oval, chest: skia.Path, coat: Coat) -> list[Piece]:
    """Make a small bow at the throat."""
    tones = Ramp(coat.accent.mix(WHITE, 0.4), coat.accent, coat.accent.turn(value=0.72), coat.ramp.ink, WHITE)
    x, y = collar.x, collar.bottom
    loop = closed((0, 0), (-8, -16), (-24, -18), (-26, -10), (-28, 0), (-28, 8), (-24, 12), (-16, 14), (-6, 8), (0, 0))
    bows = [Part(placed(loop, move=(x, y), scale=0.88, flip=flip), tones, line=3) for flip in (False, True)]
    return [*bows, Part(ellipse(x, y, 7, 7.5), tones, line=3)]


def _medal(collar: Oval, chest: skia.Path, coat: Coat) -> list[Piece]:
    """Make a gold medal with a star on a ribbon."""
    band = ribbon(_arc(collar, 86), [8] * 13, steps=3)
    band = skia.Op(band, chest, skia.PathOp.kIntersect_PathOp)
    tones = Ramp(coat.accent.mix(WHITE, 0.4), coat.accent, coat.accent.turn(value=0.72), coat.ramp.ink, WHITE)
    x, y = collar.x, collar.bottom + 9
    emblem = Mark(star(x, y, 9.5, 4.4, 5), GOLD.shade)
    return [Part(band, tones, line=2.8), Part(ellipse(x, y, 14, 14), GOLD, (emblem,), line=3, gloss=0.8)]


def gem(x: float, y: float, size: float, tones: Ramp) -> Part:
    """Make a cut stone of that half width."""
    corners = ((-0.6, -1.0), (0.6, -1.0), (1.0, -0.2), (0.0, 1.15), (-1.0, -0.2))
    path = polygon([(x + size * dx, y + size * dy) for dx, dy in corners])
    table = polygon([(x - size * 0.45, y - size * 0.2), (x + size * 0.45, y - size * 0.2), (x, y + size * 1.1)])
    crown = polygon([(x - size * 0.6, y - size), (x + size * 0.1, y - size), (x - size * 0.45, y - size * 0.2),
                     (x - size, y - size * 0.2)])  # fmt: skip
    return Part(path, tones, (Mark(table, tones.light.fade(0.7)), Mark(crown, WHITE.fade(0.75))), line=2.6, depth=0.0)


def _jewels(collar: Oval, chest: skia.Path, rich: bool, tones: Ramp) -> list[Piece]:
    """Make a golden collar with a large stone; a rich one has more stones."""
    band = ribbon(_arc(collar, 88), [12 if rich else 9] * 13, steps=3)
    band = skia.Op(band, chest, skia.PathOp.kIntersect_PathOp)
    beads = [Mark(ellipse(*point, 2.4, 2.4), WHITE.fade(0.9)) for point in _arc(collar, 78)[::2]] if rich else []
    pieces: list[Piece] = [Part(band, GOLD, tuple(beads), line=2.8)]
    x, y = collar.x, collar.bottom + 7
    pieces.append(Part(star(x, y, 17, 13, 8), GOLD, line=2.8) if rich else Part(ellipse(x, y, 13, 13), GOLD, line=2.8))
    pieces.append(gem(x, y, 8.5, tones))
    return pieces


def make_neckwear(rarity: Rarity, collar: Oval, chest: skia.Path, coat: Coat, rng: random.Random) -> list[Piece]:
    """Make what is worn below the face: a bow for B, a medal for A, a jewelled collar for S and S+."""
    tones = rng.choice(GEMS)
    if rarity is Rarity.B:
        return _scarf(collar, chest, coat)
    if rarity is Rarity.A:
        return _medal(collar, chest, coat)
    if rarity.level >= Rarity.S.level:
        return _jewels(collar, chest, rarity is Rarity.S_PLUS, tones)
    return []


def _crown(tones: Ramp) -> list[Part]:
    """Make a tall crown with five points around the origin, its base curved like the head below it."""
    path = closed(
        (-37, 6),
        (-39, -8), (-42, -22), (-44, -32), (-36, -24), (-30, -20), (-25, -16),
        (-22, -26), (-19, -34), (-16, -40), (-10, -32), (-7, -26), (-5, -22), (-3, -34), (-1, -42), (0, -52),
        (1, -42), (3, -34), (5, -22), (7, -26), (10, -32), (16, -40), (19, -34), (22, -26), (25, -16),
        (30, -20), (36, -24), (44, -32), (42, -22), (39, -8), (37, 6),
        (18, 14), (-18, 14), (-37, 6),
    )  # fmt: skip
    rim = Mark(curve((-39, -2), (-18, 7), (18, 7), (39, -2)), GOLD.shade, stroke=3.0)
    balls = [Part(ellipse(x, y, 5, 5), GOLD, line=2.6) for x, y in ((-44, -33), (-16, -42), (16, -42), (44, -33))]
    balls.append(Part(ellipse(0, -53, 6, 6), tones, line=2.6))
    stones = [
        gem(0, -4, 7.5, tones),
        Part(ellipse(-22, -6, 4, 4), GEMS[1], line=2.2),
        Part(ellipse(22, -6, 4, 4), GEMS[1], line=2.2),
    ]
    return [Part(path, GOLD, (rim,), gloss=0.0), *balls, *stones]


def _circlet(tones: Ramp) -> list[Part]:
    """Make a slim golden band with one raised stone."""
    band = closed((-38, 4), (-22, -5), (-8, -8), (0, -20), (8, -8), (22, -5), (38, 4), (37, 8), (36, 12), (35, 14),
                  (20, 6), (-20, 6), (-35, 14), (-36, 12), (-37, 8), (-38, 4))  # fmt: skip
    return [Part(band, GOLD, line=3), gem(0, -8, 8, tones)]


def make_crown(rarity: Rarity, head: Oval, rng: random.Random) -> list[Piece]:
    """Make the circlet of an S or the crown of an S+, sitting on top of the head oval."""
    tones = rng.choice(GEMS)
    if rarity is Rarity.S:
        return [settle(part, (head.x, head.top + 6)) for part in _circlet(tones)]
    if rarity is Rarity.S_PLUS:
        return [settle(part, (head.x, head.top + 4), scale=0.84) for part in _crown(tones)]
    return []


GOLD_LIGHT: Final = Ramp(WHITE, tint("ffe681"), tint("ffc02e"), tint("c97a12"), WHITE)
SPARKLES: Final = (0, 0, 0, 0, 2, 3, 4, 6)


def make_sparkle(rarity: Rarity, place: Point, rng: random.Random) -> Part:
    """Make one floating glint, larger and more golden with rarity."""
    radius = (7.5 + rarity.level) * rng.uniform(0.7, 1.1)
    tones = (
        GOLD_LIGHT
        if rarity.level >= Rarity.S.level
        else Ramp(WHITE, tint("fff9d6"), tint("ffe27a"), tint("c98a1e"), WHITE)
    )
    return Part(sparkle(*place, radius), tones, line=1.5, depth=0.0)
