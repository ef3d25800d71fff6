"""Eyes of every number and mood, laid out in a face oval; mouths and cheeks are drawn elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tools.artist.coat import Coat
from tools.artist.palette import EYE_INK, PALE_INK, WHITE, Tint, tint
from tools.artist.shapes import Oval, blob, curve, ellipse, placed, polygon
from tools.artist.sketch import Mark, Piece
from tools.artist.traits import Colour, Eyes

UNIT: Final = 52.0
IRISES: Final = tuple(map(tint, ("3f7cf5", "8a4df0", "14a38b", "e0474c", "e88a12", "d9489c", "4a9e2f", "7a4a2b")))
SCLERA_SHADE: Final = tint("d9d8f2")


@dataclass(frozen=True)
class Gaze:
    """What both eyes share: where they look (a fraction of the eye's radius) and their iris."""

    x: float
    y: float
    iris: Tint


def line_ink(coat: Coat) -> Tint:
    """Return the tint of lines drawn straight on the coat, pale on a black one."""
    return PALE_INK if coat.colour is Colour.BLACK else EYE_INK


def eyeball(eye: Oval, gaze: Gaze) -> list[Piece]:
    """Make one open eye with iris, pupil and two glints."""
    x, y, width, height = eye
    inner = ellipse(*eye)
    look_x, look_y = x + gaze.x * width * 0.16, y + gaze.y * height * 0.12
    iris = ellipse(look_x, look_y + height * 0.04, width * 0.80, height * 0.84)
    return [
        Mark(ellipse(x, y - height * 0.04, width + 3.2, height + 3.6), EYE_INK),
        Mark(inner, WHITE, lower=SCLERA_SHADE),
        Mark(iris, gaze.iris.turn(saturation=1.15, value=0.55), lower=gaze.iris.mix(WHITE, 0.28), clip=inner),
        Mark(ellipse(look_x, look_y, width * 0.46, height * 0.52), EYE_INK, clip=inner),
        Mark(ellipse(look_x, look_y + height * 0.58, width * 0.36, height * 0.17), WHITE.fade(0.38), clip=inner),
        Mark(ellipse(x - width * 0.30, y - height * 0.36, width * 0.34, height * 0.30), WHITE),
        Mark(ellipse(x + width * 0.34, y + height * 0.34, width * 0.15, height * 0.14), WHITE.fade(0.95)),
    ]


def _pair(face: Oval, spread: float = 0.50, lift: float = 0.14, size: float = 1.0) -> tuple[Oval, Oval]:
    """Lay out the left and right eye of a face."""
    unit = face.half_width / UNIT
    width, height = 17.5 * unit * size, 20.5 * unit * size
    height = min(height, face.half_height * 0.48 * size)
    y = face.y - face.half_height * lift
    shift = face.half_width * spread
    return Oval(face.x - shift, y, width, height), Oval(face.x + shift, y, width, height)


def _big(face: Oval, coat: Coat, gaze: Gaze) -> list[Piece]:
    left, right = _pair(face, size=1.14)
    return eyeball(left, gaze) + eyeball(right, gaze)


def _small(face: Oval, coat: Coat, gaze: Gaze) -> list[Piece]:
    pieces: list[Piece] = []
    for eye in _pair(face, spread=0.52, lift=0.02, size=0.54):
        if coat.colour is Colour.BLACK:
            pieces.append(Mark(ellipse(eye.x, eye.y, eye.half_width + 3.4, eye.half_height + 3.4), PALE_INK))
        pieces.append(Mark(ellipse(*eye), EYE_INK))
        pieces.append(Mark(ellipse(eye.x - 2.6, eye.y - 4, eye.half_width * 0.38, eye.half_height * 0.34), WHITE))
        pieces.append(
            Mark(ellipse(eye.x + 2.6, eye.y + 4, eye.half_width * 0.18, eye.half_height * 0.16), WHITE.fade(0.8))
        )
    return pieces


def _one(face: Oval, coat: Coat, gaze: Gaze) -> list[Piece]:
    unit = face.half_width / UNIT
    radius = min(30 * unit, face.half_height * 0.66)
    return eyeball(Oval(face.x, face.y - face.half_height * 0.20, radius, radius), gaze)


def _three(face: Oval, coat: Coat, gaze: Gaze) -> list[Piece]:
    left, right = _pair(face, spread=0.56, lift=-0.06, size=0.86)
    above = Oval(face.x, face.y - face.half_height * 0.45, left.half_width * 0.84, left.half_height * 0.80)
    return eyeball(above, gaze) + eyeball(left, gaze) + eyeball(right, gaze)


def _lid(eye: Oval, coat: Coat, left: float, right: float) -> list[Piece]:
    """Cover the top of an eye down to a line from left to right, in fractions of the half height below its centre."""
    x, y, width, height = eye
    lid_ellipse = ellipse(x, y - height * 0.04, width + 1.8, height + 2.2)
    left_y, right_y = y + left * height, y + right * height
    out = width + 3
    cover = polygon([(x - out, y - height * 2), (x + out, y - height * 2), (x + out, right_y), (x - out, left_y)])
    edge = curve((x - out, left_y), (x - out / 3, left_y + 2), (x + out / 3, right_y + 2), (x + out, right_y))
    skin = coat.ramp.base.mix(coat.ramp.shade, 0.35)
    return [
        Mark(cover, skin, clip=lid_ellipse),
        Mark(edge, EYE_INK, stroke=4.2, clip=ellipse(x, y, width + 4, height + 4)),
    ]


def _sleepy(face: Oval, coat: Coat, gaze: Gaze) -> list[Piece]:
    low = Gaze(0.0, 1.2, gaze.iris)
    pieces: list[Piece] = []
    for eye in _pair(face, size=1.02):
        pieces += eyeball(eye, low) + _lid(eye, coat, 0.06, 0.06)
    return pieces


def _angry(face: Oval, coat: Coat, gaze: Gaze) -> list[Piece]:
    pieces: list[Piece] = []
    for side, eye in zip((-1, 1), _pair(face, lift=0.06, size=1.02), strict=True):
        slope = -0.62 if side < 0 else -0.06
        pieces += eyeball(eye, Gaze(-side * 0.6, 0.5, gaze.iris)) + _lid(eye, coat, slope, -0.68 - slope)
        brow = blob([(-17, -4), (0, -4.5), (16, -3), (17, 3.5), (0, 3.5), (-17, 1)], 0.8)
        lifted = placed(brow, turn=-22 * side, move=(eye.x - side * 2, eye.y - eye.half_height * 0.86), flip=side > 0)
        pieces.append(Mark(lifted, line_ink(coat)))
    return pieces


def _happy(face: Oval, coat: Coat, gaze: Gaze) -> list[Piece]:
    pieces: list[Piece] = []
    for eye in _pair(face, spread=0.50, lift=0.06, size=0.92):
        x, y, width, height = eye
        arc = curve((x - width, y + height * 0.3), (x - width * 0.7, y - height * 0.72),
                    (x + width * 0.7, y - height * 0.72), (x + width, y + height * 0.3))  # fmt: skip
        pieces.append(Mark(arc, line_ink(coat), stroke=6.2))
    return pieces


EyeMaker = Callable[[Oval, Coat, Gaze], list[Piece]]

MAKERS: Final[Mapping[Eyes, EyeMaker]] = MappingProxyType(
    {
        Eyes.BIG: _big,
        Eyes.SMALL: _small,
        Eyes.ONE: _one,
        Eyes.SLEEPY: _sleepy,
        Eyes.ANGRY: _angry,
        Eyes.THREE: _three,
        Eyes.HAPPY: _happy,
    }
)


def make_eyes(kind: Eyes, face: Oval, coat: Coat, rng: random.Random) -> list[Piece]:
    """Make the eyes of a face oval, looking somewhere by chance."""
    gaze = Gaze(rng.uniform(-1, 1), rng.uniform(-0.6, 0.8), rng.choice(IRISES))
    return MAKERS[kind](face, coat, gaze)
