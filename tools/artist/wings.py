"""Wings: bat, feathered and butterfly, as a mirrored pair or on a turned back; a bird's arms are elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tools.artist.anatomy import Anatomy
from tools.artist.coat import Coat
from tools.artist.palette import FEATHER, WHITE, Ramp
from tools.artist.shapes import Point, blob, closed, curve, ellipse, leaf, ribbon, union
from tools.artist.sketch import Mark, Part, settle
from tools.artist.traits import Wings

# Every wing is drawn to the left of its root, which is the origin, and turned upwards by this many degrees.
LIFT: Final = 15.0


def _bat(coat: Coat) -> list[Part]:
    path = closed(
        (6, 14),
        (-8, -20), (-34, -58), (-60, -72), (-66, -76), (-72, -74), (-74, -68),
        (-86, -42), (-96, -14), (-94, 16), (-84, 6), (-72, 6), (-64, 18),
        (-56, 12), (-44, 16), (-38, 32), (-28, 24), (-10, 26), (6, 36),
    )  # fmt: skip
    bones = [
        Mark(curve((-66, -70), (-70, -40), (-68, -10), (-64, 18)), coat.ramp.ink.fade(0.75), stroke=3.2),
        Mark(curve((-66, -70), (-56, -36), (-46, -4), (-38, 32)), coat.ramp.ink.fade(0.75), stroke=3.2),
    ]
    arm = ribbon(((6, 20), (-26, -32), (-66, -70)), (16, 12, 8))
    claw = leaf((-66, -66), (-70, -92), 12)
    return [Part(path, coat.ramp.deep(), tuple(bones)), coat.part(union(arm, claw))]


def _feathers(tips: tuple[Point, ...], root: Point, width: float, ramp: Ramp) -> list[Part]:
    """Make a row of feathers from one root to several tips."""
    parts = []
    for tip in tips:
        middle = ((root[0] * 0.45 + tip[0] * 0.55), (root[1] * 0.45 + tip[1] * 0.55))
        path = ribbon((root, middle, tip), (width * 0.8, width, width * 0.62))
        quill = Mark(curve(middle, middle, tip, tip), ramp.shade.fade(0.8), stroke=2.2)
        parts.append(Part(path, ramp, (quill,), line=3.0))
    return parts


def _feathered(coat: Coat) -> list[Part]:
    tinted = Ramp(FEATHER.base, FEATHER.base.mix(coat.ramp.light, 0.35), coat.ramp.light, FEATHER.ink, WHITE)
    long_row = _feathers(((-44, 44), (-68, 28), (-84, 4), (-90, -26), (-86, -58), (-70, -82)), (-18, -14), 30, tinted)
    short_row = _feathers(((-34, 20), (-52, 4), (-62, -18), (-62, -44)), (-14, -12), 30, FEATHER)
    shoulder = blob([(10, 14), (-20, 8), (-44, -20), (-62, -62), (-46, -70), (-12, -34), (8, -14)])
    return [*long_row, *short_row, Part(shoulder, FEATHER)]


def _butterfly(coat: Coat) -> list[Part]:
    accent = coat.accent
    ramp = Ramp(accent.mix(WHITE, 0.45), accent, accent.turn(hue=0.05, value=0.78), coat.ramp.ink, WHITE)
    upper = blob([(4, 4), (-24, -44), (-62, -78), (-92, -66), (-90, -28), (-58, 0), (-14, 12)], 0.95)
    lower = blob([(4, 0), (-44, 2), (-74, 20), (-70, 52), (-42, 58), (-14, 30)], 0.95)
    rim = accent.turn(hue=0.04, value=0.62)
    marks = (
        Mark(upper, rim.fade(0.7), stroke=16),
        Mark(ellipse(-64, -44, 15, 13, 30), WHITE.fade(0.9)),
        Mark(ellipse(-64, -44, 8, 7, 30), coat.ramp.base),
        Mark(ellipse(-34, -22, 8, 7, 30), WHITE.fade(0.75)),
    )
    low_marks = (Mark(lower, rim.fade(0.7), stroke=13), Mark(ellipse(-50, 31, 9, 9), WHITE.fade(0.85)))
    return [Part(lower, ramp, low_marks), Part(upper, ramp, marks)]


MAKERS: Final[Mapping[Wings, Callable[[Coat], list[Part]]]] = MappingProxyType(
    {Wings.BAT: _bat, Wings.FEATHERED: _feathered, Wings.BUTTERFLY: _butterfly}
)


def make_wings(kind: Wings, anatomy: Anatomy, coat: Coat) -> tuple[list[Part], list[Part]]:
    """Make the wings: those behind the torso and, on a turned body, the near one over its back."""
    maker = MAKERS.get(kind)
    if maker is None:
        return [], []
    parts = maker(coat)
    left, right = anatomy.wing_roots
    if anatomy.turned:
        far = [settle(part, left, scale=0.85, turn=-44, flip=True) for part in parts]
        near = [settle(part, right, scale=0.95, turn=-22, flip=True) for part in parts]
        return far, near
    behind = [settle(part, left, turn=LIFT) for part in parts]
    behind += [settle(part, right, turn=-LIFT, flip=True) for part in parts]
    return behind, []
