"""The face below the eyes: cheeks, beak, nose and mouth, and how the whole face is put together."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import skia

from tools.artist.anatomy import Anatomy
from tools.artist.coat import Coat
from tools.artist.eyes import line_ink, make_eyes
from tools.artist.palette import BEAK, BLUSH, EYE_INK, MOUTH_DARK, TONGUE, WHITE, Tint
from tools.artist.shapes import Oval, Point, closed, curve, ellipse, polygon
from tools.artist.sketch import Mark, Part, Piece
from tools.artist.traits import Colour, Eyes, Mouth, Traits

LIP: Final = 4.4

# Coats on which a sheer blush would look muddy.
COLD: Final = (Colour.GREEN, Colour.TEAL, Colour.BLUE, Colour.BLACK)


def _smile(x: float, y: float, size: float, ink: Tint) -> list[Piece]:
    width = 17 * size
    line = curve((x - width, y - 4 * size), (x - width * 0.6, y + 10 * size), (x + width * 0.6, y + 10 * size),
                 (x + width, y - 4 * size))  # fmt: skip
    dimples = [curve((x + side * width - 3, y - 6 * size + side * 1.5), (x + side * width - 1, y - 3 * size),
                     (x + side * width + 1, y - 3 * size), (x + side * width + 3, y - 6 * size - side * 1.5))
               for side in (-1, 1)]  # fmt: skip
    return [Mark(line, ink, stroke=LIP), *(Mark(dimple, ink, stroke=LIP * 0.8) for dimple in dimples)]


def _cavity(x: float, y: float, width: float, height: float) -> skia.Path:
    """Outline an open mouth: flat above, round below."""
    return closed((x - width, y - height * 0.36), (x - width * 0.5, y - height * 0.2),
                  (x + width * 0.5, y - height * 0.2), (x + width, y - height * 0.36),
                  (x + width * 1.02, y + height * 0.5), (x + width * 0.55, y + height), (x, y + height),
                  (x - width * 0.55, y + height), (x - width * 1.02, y + height * 0.5),
                  (x - width, y - height * 0.36))  # fmt: skip


def _open(x: float, y: float, size: float, ink: Tint) -> list[Piece]:
    hole = _cavity(x, y, 17 * size, 18 * size)
    return [
        Mark(hole, MOUTH_DARK),
        Mark(ellipse(x, y + 16 * size, 12 * size, 9 * size), TONGUE, clip=hole),
        Mark(polygon([(x - 11 * size, y - 9 * size), (x + 11 * size, y - 9 * size), (x + 9 * size, y + 1),
                      (x - 9 * size, y + 1)]), WHITE, clip=hole),
        Mark(hole, EYE_INK, stroke=LIP * 0.8),
    ]  # fmt: skip


def _fangs(x: float, y: float, size: float, ink: Tint) -> list[Piece]:
    hole = _cavity(x, y, 22 * size, 12 * size)
    pieces: list[Piece] = [
        Mark(hole, MOUTH_DARK),
        Mark(ellipse(x, y + 13 * size, 12 * size, 5 * size), TONGUE, clip=hole),
    ]
    for side in (-1, 1):
        base = x + side * 12 * size
        fang = polygon([(base - 6 * size, y - 4 * size), (base + 6 * size, y - 4 * size), (base + side, y + 13 * size)])
        pieces += [Mark(fang, EYE_INK, stroke=3.4), Mark(fang, WHITE)]
    pieces.append(
        Mark(
            curve(
                (x - 22 * size, y - 4.4 * size),
                (x - 11 * size, y - 2.2 * size),
                (x + 11 * size, y - 2.2 * size),
                (x + 22 * size, y - 4.4 * size),
            ),
            EYE_INK,
            stroke=LIP,
        )
    )
    pieces.append(Mark(hole, EYE_INK, stroke=LIP * 0.7))
    return pieces  # fmt: skip


def _cat(x: float, y: float, size: float, ink: Tint) -> list[Piece]:
    wave = curve((x - 17 * size, y - 2), (x - 17 * size, y + 10 * size), (x - 1, y + 10 * size), (x, y - 3 * size),
                 (x + 1, y + 10 * size), (x + 17 * size, y + 10 * size), (x + 17 * size, y - 2))  # fmt: skip
    nose = closed((x - 7 * size, y - 9 * size), (x - 3, y - 11 * size), (x + 3, y - 11 * size),
                  (x + 7 * size, y - 9 * size), (x + 5 * size, y - 4 * size), (x + 2, y - 2), (x, y - 2),
                  (x - 2, y - 2), (x - 5 * size, y - 4 * size), (x - 7 * size, y - 9 * size))  # fmt: skip
    return [Mark(wave, ink, stroke=LIP), Mark(nose, TONGUE), Mark(nose, ink, stroke=2.4)]


def _frown(x: float, y: float, size: float, ink: Tint) -> list[Piece]:
    width = 16 * size
    line = curve((x - width, y + 8 * size), (x - width * 0.6, y - 8 * size), (x + width * 0.6, y - 8 * size),
                 (x + width, y + 8 * size))  # fmt: skip
    chin = curve((x - 5, y + 9 * size), (x - 2, y + 6.5 * size), (x + 2, y + 6.5 * size), (x + 5, y + 9 * size))
    return [Mark(line, ink, stroke=LIP + 0.4), Mark(chin, ink, stroke=LIP * 0.7)]


MouthMaker = Callable[[float, float, float, Tint], list[Piece]]

MAKERS: Final[Mapping[Mouth, MouthMaker]] = MappingProxyType(
    {Mouth.SMILE: _smile, Mouth.OPEN: _open, Mouth.FANGS: _fangs, Mouth.CAT: _cat, Mouth.FROWN: _frown}
)


def _beak(x: float, y: float, size: float) -> Part:
    """Make the upper bill, its point downwards."""
    path = closed((x - 15 * size, y), (x - 9 * size, y - 10 * size), (x + 9 * size, y - 10 * size), (x + 15 * size, y),
                  (x + 9 * size, y + 4 * size), (x + 4 * size, y + 12 * size), (x, y + 13 * size),
                  (x - 4 * size, y + 12 * size), (x - 9 * size, y + 4 * size), (x - 15 * size, y))  # fmt: skip
    return Part(path, BEAK, line=3.0)


def _cheeks(face: Oval, coat: Coat) -> list[Piece]:
    """Make the blush at both ends of the mouth."""
    y = face.y + face.half_height * 0.46
    width, height = face.half_width * 0.17, face.half_height * 0.13
    blush = BLUSH.mix(coat.ramp.light, 0.2).fade(0.75) if coat.colour in COLD else BLUSH.fade(0.5)
    centres: tuple[Point, ...] = ((face.x - face.half_width * 0.80, y), (face.x + face.half_width * 0.80, y))
    return [Mark(ellipse(*centre, width, height), blush, blur=1.4) for centre in centres]


def make_face(traits: Traits, anatomy: Anatomy, coat: Coat, rng: random.Random) -> list[Piece]:
    """Make eyes, cheeks and mouth for the face oval of an anatomy, in its 256x256 drawing space."""
    face = anatomy.face
    size = face.half_width / 52
    mouth_y = face.y + face.half_height * 0.62
    pieces = _cheeks(face, coat)
    if coat.colour is Colour.BLACK:
        pieces.append(coat.belly(Oval(face.x, mouth_y + 3, 27 * size, 17 * size)))
        ink = EYE_INK
    else:
        ink = line_ink(coat)
    eyes = make_eyes(traits.eyes, face, coat, rng)
    if anatomy.beak:
        mouth = MAKERS[traits.mouth](face.x, mouth_y + 12 * size, size * 0.94, ink)
        small = traits.eyes in (Eyes.ONE, Eyes.THREE)
        return [*pieces, *mouth, *eyes, _beak(face.x, mouth_y - (0 if small else 4) * size, size * 0.9)]
    return [*pieces, *eyes, *MAKERS[traits.mouth](face.x, mouth_y, size, ink)]
