"""The creature's skin: its tones, gloss, belly and markings, put on any part; it shapes no parts itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import skia

from tools.artist.palette import ACCENTS, Ramp, Tint, coat_ramp
from tools.artist.shapes import Oval, Point, blob, ellipse, leaf
from tools.artist.sketch import LINE, Mark, Part
from tools.artist.traits import Colour, Pattern, Rarity, Traits

GLOSS: Final[Mapping[Rarity, float]] = MappingProxyType(
    {
        Rarity.F: 0.0,
        Rarity.E: 0.0,
        Rarity.D: 0.25,
        Rarity.C: 0.5,
        Rarity.B: 0.65,
        Rarity.A: 0.78,
        Rarity.S: 0.88,
        Rarity.S_PLUS: 0.95,
    }
)

# Places of spots in an oval of unit half axes: x, y and radius. The middle is left free for the face.
SPOTS: Final = (
    (-0.72, -0.42, 0.17), (-0.30, -0.80, 0.14), (0.44, -0.74, 0.18), (0.84, -0.22, 0.13),
    (-0.86, 0.30, 0.15), (0.78, 0.48, 0.18), (-0.56, 0.76, 0.13), (0.30, 0.92, 0.12), (0.06, -0.96, 0.09),
)  # fmt: skip


@dataclass(frozen=True)
class Coat:
    """What every part of one creature's skin has in common."""

    colour: Colour
    ramp: Ramp
    accent: Tint
    pattern: Pattern
    gloss: float
    tilt: float

    def part(self, path: skia.Path, *marks: Mark, region: Oval | None = None, far: bool = False) -> Part:
        """Make a part of skin; with a region its markings are laid over that oval, far parts are darker."""
        tones = self.ramp.darker() if far else self.ramp
        pattern = self.markings(region) if region is not None else ()
        gloss = self.gloss if region is not None and not far else 0.0
        return Part(path, tones, pattern + marks, LINE, gloss)

    def belly(self, region: Oval) -> Mark:
        """Make the soft pale patch of a belly or muzzle."""
        tone = self.ramp.belly if self.colour is not Colour.BLACK else self.ramp.belly.mix(self.ramp.light, 0.25)
        return Mark(ellipse(*region), tone.fade(0.92), blur=min(region.half_width, region.half_height) * 0.06)

    def markings(self, region: Oval) -> tuple[Mark, ...]:
        """Make the spots or stripes of an oval region; empty for a plain coat."""
        maker = MARKINGS[self.pattern]
        return () if maker is None else tuple(Mark(path, self.marking_tint()) for path in maker(region, self.tilt))

    def marking_tint(self) -> Tint:
        """Return the tone of spots and stripes: darker than the coat, or paler on black."""
        if self.colour is Colour.BLACK:
            return self.ramp.belly.fade(0.6)
        return self.ramp.shade.mix(self.ramp.ink, 0.22).fade(0.82)


def _spots(region: Oval, tilt: float) -> list[skia.Path]:
    """Outline the spots of a region; the tilt from -1 to 1 shifts them."""
    size = (region.half_width + region.half_height) / 2
    paths = []
    for index, (x, y, radius) in enumerate(SPOTS):
        grown = radius * size * (1.06 + 0.2 * tilt * (-1) ** index)
        centre_x = region.x + (x + 0.06 * tilt) * region.half_width
        centre_y = region.y + (y + 0.05 * tilt) * region.half_height
        paths.append(ellipse(centre_x, centre_y, grown * 1.1, grown * 0.92, 20 * tilt))
    return paths


def _stripes(region: Oval, tilt: float) -> list[skia.Path]:
    """Outline the stripes of a region: wedges from both sides and three from above."""
    paths = []
    thickness = region.half_height * 0.25
    for side in (-1, 1):
        for height, reach in ((-0.44, 0.40), (0.02, 0.30), (0.46, 0.36)):
            y = region.y + (height + 0.06 * tilt) * region.half_height
            root: Point = (region.x + side * region.half_width * 1.08, y - thickness * 0.5)
            tip: Point = (region.x + side * region.half_width * (1 - reach), y + thickness * 0.5)
            paths.append(leaf(root, tip, thickness))
    for shift, reach in ((-0.3, 0.30), (0.0, 0.42), (0.3, 0.30)):
        x = region.x + (shift + 0.04 * tilt) * region.half_width
        top = region.top - region.half_height * 0.12
        width = region.half_width * 0.10
        tip_y = region.top + region.half_height * reach
        paths.append(blob([(x - width, top), (x + width, top), (x + width * 0.6, tip_y - width), (x, tip_y)], 0.7))
    return paths


MARKINGS: Final[Mapping[Pattern, Callable[[Oval, float], list[skia.Path]] | None]] = MappingProxyType(
    {Pattern.PLAIN: None, Pattern.SPOTS: _spots, Pattern.STRIPES: _stripes}
)


def make_coat(traits: Traits, rng: random.Random) -> Coat:
    """Choose the coat of a creature with these traits."""
    tones = coat_ramp(traits.colour, traits.rarity, rng)
    tilt = rng.uniform(-1, 1)
    return Coat(traits.colour, tones, ACCENTS[traits.colour], traits.pattern, GLOSS[traits.rarity], tilt)
