"""The place behind a creature: picks the painter of each background and calms the middle where the creature stands."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import skia

from tools.artist.lands import paint_desert, paint_forest, paint_meadow, paint_plain, paint_snow
from tools.artist.palette import SHADOW, tint
from tools.artist.realms import paint_cave, paint_night_sky, paint_sunset, paint_underwater, paint_volcano
from tools.artist.sketch import brush, radial
from tools.artist.traits import Background

Painter = Callable[[skia.Canvas, random.Random], None]

# Each place with the colour of the haze between it and the creature.
PLACES: Final[Mapping[Background, tuple[Painter, str]]] = MappingProxyType(
    {
        Background.NIGHT_SKY: (paint_night_sky, "b9a5ff"),
        Background.MEADOW: (paint_meadow, "ffffff"),
        Background.UNDERWATER: (paint_underwater, "c9f6ff"),
        Background.VOLCANO: (paint_volcano, "ffc98a"),
        Background.FOREST: (paint_forest, "f6ffd9"),
        Background.SNOW: (paint_snow, "ffffff"),
        Background.CAVE: (paint_cave, "f3d9c4"),
        Background.DESERT: (paint_desert, "fff6dc"),
        Background.PLAIN: (paint_plain, "ffffff"),
        Background.SUNSET: (paint_sunset, "ffe3c4"),
    }
)


def paint_backdrop(canvas: skia.Canvas, background: Background, rng: random.Random) -> None:
    """Paint the whole 256x256 frame, softer in the middle and a little deeper towards the corners."""
    painter, haze_code = PLACES[background]
    painter(canvas, rng)
    haze = tint(haze_code)
    canvas.drawPaint(radial((128, 128), 120, (haze.fade(0.42), haze.fade(0.28), haze.fade(0.0)), [0.0, 0.5, 1.0]))
    canvas.drawPaint(radial((128, 118), 196, (SHADOW.fade(0.0), SHADOW.fade(0.0), SHADOW.fade(0.26)), [0.0, 0.68, 1.0]))


def paint_shadow(canvas: skia.Canvas, centre_x: float, ground: float, half_width: float) -> None:
    """Paint the soft shadow on the ground under the creature's feet."""
    for share, strength in ((1.0, 0.2), (0.74, 0.24)):
        oval = skia.Rect.MakeXYWH(centre_x - half_width * share, ground - 9 * share, 2 * half_width * share, 18 * share)
        canvas.drawOval(oval, brush(SHADOW.fade(strength), blur=2.5))
