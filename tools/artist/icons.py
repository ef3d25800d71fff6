"""The signs of the elements as small solid parts around the origin; what they adorn is decided elsewhere."""

from __future__ import annotations

import math

import skia

from tools.artist.palette import ELEMENTS, EYE_INK, WHITE, Ramp, ramp
from tools.artist.shapes import Point, closed, curve, drop, ellipse, leaf, placed, polygon
from tools.artist.sketch import Mark, Part
from tools.artist.traits import Element

BOLT: tuple[Point, ...] = ((-2, -21), (-14, 3), (-3, 3), (-8, 22), (14, -6), (3, -6), (11, -21))

SNOW = ramp("ffffff", "d9f5ff", "8fd0fa", "2f74bd", "ffffff")

# The outline of one arm of a snowflake, as offsets to its side and outwards.
SNOW_ARM: tuple[Point, ...] = (
    (-3.2, 5.6), (-3.2, 8), (-9, 11.5), (-6.6, 16), (-3.2, 14), (-3.2, 21),
    (3.2, 21), (3.2, 14), (6.6, 16), (9, 11.5), (3.2, 8), (3.2, 5.6),
)  # fmt: skip


def flame_path() -> skia.Path:
    """Outline a flame with three tongues, 40 wide, its foot at y = 0 and its tip at y = -52."""
    return closed(
        (0, 0),
        (-16, 0), (-23, -11), (-20, -24), (-19, -29), (-17, -33), (-14, -36),
        (-14, -30), (-12, -27), (-9, -25), (-9, -36), (-4, -46), (4, -54),
        (3, -44), (8, -38), (12, -32), (13, -35), (14, -37), (14, -40),
        (21, -32), (23, -22), (21, -14), (18, -4), (10, 0), (0, 0),
    )  # fmt: skip


def flame(scale: float = 1.0, line: float = 2.3, tones: Ramp = ELEMENTS[Element.FIRE]) -> Part:
    """Make a burning flame with a bright heart, its foot at the origin."""
    heart = closed(
        (0, 0),
        (-10, 0), (-14, -8), (-11, -16), (-8, -14), (-6, -14), (-5, -13),
        (-4, -22), (0, -28), (3, -32), (4, -24), (11, -18), (12, -11), (12, -4), (8, 0), (0, 0),
    )  # fmt: skip
    marks = (
        Mark(placed(heart, scale=scale), tones.light),
        Mark(placed(heart, scale=scale * 0.55), tones.belly),
    )
    return Part(placed(flame_path(), scale=scale), tones, marks, line)


def water_drop(scale: float = 1.0, line: float = 2.3) -> Part:
    """Make a drop of water centred on the origin, about 44 high."""
    shine = Mark(ellipse(-5 * scale, 4 * scale, 3.2 * scale, 6 * scale, 18), WHITE.fade(0.9))
    return Part(drop(0, 4 * scale, 14 * scale), ELEMENTS[Element.WATER], (shine,), line)


def leaf_sign(scale: float = 1.0, line: float = 2.3) -> Part:
    """Make a leaf with a midrib centred on the origin, about 42 long."""
    tones = ELEMENTS[Element.GRASS]
    rib = Mark(curve((-14 * scale, 14 * scale), (-5, 5), (5, -5), (14 * scale, -14 * scale)), tones.shade, stroke=2.6)
    return Part(leaf((-16 * scale, 16 * scale), (17 * scale, -17 * scale), 28 * scale), tones, (rib,), line)


def bolt(scale: float = 1.0, line: float = 2.3) -> Part:
    """Make a lightning bolt centred on the origin, 40 high."""
    return Part(placed(polygon(BOLT), scale=scale), ELEMENTS[Element.ELECTRIC], (), line)


def wisp(scale: float = 1.0, line: float = 2.3) -> Part:
    """Make a will-o'-the-wisp with two dark eyes centred on the origin, about 44 high."""
    path = closed((4, -26), (-2, -18), (-16, -14), (-17, 2), (-17, 12), (-9, 18), (0, 18), (10, 18), (17, 11), (17, 1),
                  (17, -10), (4, -14), (4, -26))  # fmt: skip
    eyes = tuple(Mark(ellipse(side * 6 * scale, 3 * scale, 2.8 * scale, 4 * scale), EYE_INK) for side in (-1, 1))
    return Part(placed(path, scale=scale), ELEMENTS[Element.GHOST], eyes, line)


def crystal_path(height: float, width: float) -> skia.Path:
    """Outline an ice crystal standing on the origin."""
    half = width / 2
    return polygon([(-half * 0.7, 4), (-half, -height * 0.62), (0, -height), (half, -height * 0.62), (half * 0.7, 4)])


def crystal(height: float, width: float, turn: float, line: float = 3.2) -> Part:
    """Make an ice crystal with a facet, standing on the origin and leaning by turn degrees."""
    half = width / 2
    tones = ELEMENTS[Element.ICE]
    facet = polygon(
        [(0, -height), (half, -height * 0.62), (half * 0.7, 4), (half * 0.1, 4), (half * 0.1, -height * 0.6)]
    )
    shine = polygon([(-half * 0.62, -height * 0.56), (-half * 0.3, -height * 0.66), (-half * 0.3, 2), (-half * 0.5, 2)])
    marks = (Mark(placed(facet, turn=turn), tones.shade.fade(0.8)), Mark(placed(shine, turn=turn), WHITE))
    return Part(placed(crystal_path(height, width), turn=turn), tones, marks, line, depth=0.0)


def snowflake(scale: float = 1.0, line: float = 2.0) -> Part:
    """Make a six-armed snowflake centred on the origin, 40 across."""
    corners: list[Point] = []
    for index in range(6):
        sine, cosine = math.sin(math.radians(60 * index)), math.cos(math.radians(60 * index))
        corners += [(aside * cosine + out * sine, aside * sine - out * cosine) for aside, out in SNOW_ARM]
    path = polygon(corners)
    return Part(placed(path, scale=scale), SNOW, (), line, depth=0.0)
