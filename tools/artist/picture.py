"""The finished picture: places a creature in its frame with backdrop, aura and floating signs, and returns pixels."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import skia
from numpy.typing import NDArray

from tools.artist.aura import paint_aura, paint_light
from tools.artist.backdrop import paint_backdrop, paint_shadow
from tools.artist.creature import make_creature, stream
from tools.artist.elements import make_sign
from tools.artist.shapes import Point
from tools.artist.sketch import SILHOUETTE, Part, Sketch, settle
from tools.artist.splendour import SPARKLES, make_sparkle
from tools.artist.sprite import bleed
from tools.artist.traits import Aura, Element, Rarity, Traits

Pixels = NDArray[np.uint8]

FRAME: Final = 256.0
SMALLEST: Final = 64
LARGEST: Final = 1024
MARGIN: Final = 11.0
AURA_MARGIN: Final = 25.0
FLOOR: Final = 236.0
LARGEST_SCALE: Final = 1.12

# How large a creature stands in its frame, by rarity.
STATURE: Final[Mapping[Rarity, float]] = MappingProxyType(
    {
        Rarity.F: 0.79,
        Rarity.E: 0.86,
        Rarity.D: 0.91,
        Rarity.C: 0.95,
        Rarity.B: 0.98,
        Rarity.A: 1.0,
        Rarity.S: 1.0,
        Rarity.S_PLUS: 1.0,
    }
)

# Where signs and sparkles may float in the 256x256 frame, in pairs left and right.
FLOATING: Final[tuple[Point, ...]] = (
    (34, 66), (222, 66), (29, 122), (227, 122), (33, 176), (223, 176), (62, 32), (194, 32), (30, 216), (226, 216),
    (44, 94), (212, 94), (40, 150), (216, 150), (32, 36), (224, 36), (96, 26), (160, 26),
)  # fmt: skip
SIGN_COUNT: Final = 3
FLOATING_MARGIN: Final = 7.0


@dataclass(frozen=True)
class Placement:
    """How the creature's own space lies in the 256x256 frame: scaled, then moved."""

    scale: float
    x: float
    y: float

    def matrix(self) -> skia.Matrix:
        """Return the transform as the drawing library takes it."""
        matrix = skia.Matrix.Scale(self.scale, self.scale)
        matrix.postTranslate(self.x, self.y)
        return matrix

    def inverse(self, point: Point) -> Point:
        """Take a point of the frame back into the creature's own space."""
        return (point[0] - self.x) / self.scale, (point[1] - self.y) / self.scale


def place(sketch: Sketch, traits: Traits) -> Placement:
    """Fit the creature into the frame: inside the margin, feet near the floor, as central as its shape allows."""
    box = sketch.bounds()
    margin = MARGIN if traits.aura is Aura.NONE else AURA_MARGIN
    room = FRAME - 2 * margin
    floor = min(FLOOR, FRAME - margin)
    scale = min(room / box.width(), (floor - margin) / box.height(), LARGEST_SCALE) * STATURE[traits.rarity]
    middle = (box.left() + box.right()) / 2 * 0.5 + 128 * 0.5
    x = FRAME / 2 - middle * scale
    x = min(max(x, margin - box.left() * scale), FRAME - margin - box.right() * scale)
    spare = floor - margin - box.height() * scale
    return Placement(scale, x, floor - spare * 0.16 - box.bottom() * scale)


def _crowding(sketch: Sketch, placement: Placement, centre: Point, radius: float) -> int:
    """Count how many probes around a place of the frame fall on the creature."""
    diagonal = [(dx * 0.7, dy * 0.7) for dx in (-1, 1) for dy in (-1, 1)]
    probes = [(0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), *diagonal]
    spots = (placement.inverse((centre[0] + dx * radius, centre[1] + dy * radius)) for dx, dy in probes)
    return sum(sketch.covers(spot) for spot in spots)


def _inside_frame(part: Part) -> Part:
    """Move a floating part so that it keeps a small distance from the frame's edges."""
    box = part.path.computeTightBounds().makeOutset(SILHOUETTE, SILHOUETTE)
    low, high = FLOATING_MARGIN, FRAME - FLOATING_MARGIN
    across = max(0.0, low - box.left()) - max(0.0, box.right() - high)
    down = max(0.0, low - box.top()) - max(0.0, box.bottom() - high)
    return settle(part, (across, down))


def make_floating(traits: Traits, sketch: Sketch, placement: Placement, rng: random.Random) -> Sketch:
    """Choose the freest places around the creature for its element's signs and its sparkles, in frame space."""
    ranked = sorted(FLOATING, key=lambda spot: (_crowding(sketch, placement, spot, 21), rng.random()))
    floating = Sketch()
    taken: list[Point] = []

    def take(distance: float) -> Point | None:
        for spot in ranked:
            if all(abs(spot[0] - other[0]) + abs(spot[1] - other[1]) > distance for other in taken):
                taken.append(spot)
                return spot
        return None

    for _ in range(SIGN_COUNT if traits.element is not Element.NORMAL else 0):
        spot = take(84)
        sign = make_sign(traits.element, spot, rng) if spot is not None else None
        if sign is not None:
            floating.add(_inside_frame(sign))
    for _ in range(SPARKLES[traits.rarity.level]):
        spot = take(40)
        if spot is not None:
            floating.add(_inside_frame(make_sparkle(traits.rarity, spot, rng)))
    return floating


def paint(canvas: skia.Canvas, traits: Traits, seed: int, transparent: bool) -> None:
    """Paint the whole picture in the canvas's 256x256 space."""
    sketch = make_creature(traits, seed)
    placement = place(sketch, traits)
    if not transparent:
        paint_backdrop(canvas, traits.background, stream(seed, "backdrop"))
        paint_light(canvas, traits.aura)
        box = sketch.bounds()
        ground = placement.y + 224 * placement.scale
        paint_shadow(canvas, placement.x + 128 * placement.scale, ground, min(76.0, box.width() / 2) * placement.scale)
    canvas.save()
    canvas.concat(placement.matrix())
    paint_aura(canvas, traits.aura, sketch)
    sketch.paint(canvas)
    canvas.restore()
    make_floating(traits, sketch, placement, stream(seed, "floating")).paint(canvas)


def draw(traits: Traits, seed: int, size: int = 512, transparent: bool = False) -> Pixels:
    """Draw a creature as an array of size x size pixels, red, green, blue and straight alpha from 0 to 255.

    The same traits, seed and size always give the same pixels. A transparent picture has no backdrop and no
    shadow on the ground; otherwise every pixel is opaque. Raises ValueError for a size outside 64 to 1024.
    """
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size must be from {SMALLEST} to {LARGEST} pixels, not {size}")
    info = skia.ImageInfo.Make(size, size, skia.kRGBA_F16_ColorType if transparent else skia.kRGBA_8888_ColorType,
                               skia.kPremul_AlphaType)  # fmt: skip
    surface = skia.Surface.MakeRaster(info)
    canvas = surface.getCanvas()
    canvas.scale(size / FRAME, size / FRAME)
    paint(canvas, traits, seed, transparent)
    pixels: Pixels = np.zeros((size, size, 4), np.uint8)
    target = skia.ImageInfo.Make(size, size, skia.kRGBA_8888_ColorType, skia.kUnpremul_AlphaType)
    if not surface.readPixels(target, pixels, size * 4):
        raise RuntimeError("the drawing library could not hand over its pixels")
    if transparent:
        bleed(pixels)
    return pixels
