"""Colours: the mixing of them and every colour table of the creatures; owns no shapes and no scenery."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import skia

from tools.artist.traits import Aura, Colour, Element, Rarity


class Tint(NamedTuple):
    """A colour with straight alpha; every channel runs from 0 to 1."""

    red: float
    green: float
    blue: float
    alpha: float = 1.0

    def mix(self, other: Tint, amount: float) -> Tint:
        """Go from this colour (amount 0) to the other one (amount 1)."""
        return Tint(*(mine + (theirs - mine) * amount for mine, theirs in zip(self, other, strict=True)))

    def fade(self, alpha: float) -> Tint:
        """Return the same colour with another opacity."""
        return self._replace(alpha=alpha)

    def turn(self, hue: float = 0.0, saturation: float = 1.0, value: float = 1.0) -> Tint:
        """Shift the hue by a fraction of a full turn and scale saturation and value."""
        own_hue, own_saturation, own_value = colorsys.rgb_to_hsv(self.red, self.green, self.blue)
        channels = colorsys.hsv_to_rgb(
            (own_hue + hue) % 1.0, min(1.0, own_saturation * saturation), min(1.0, own_value * value)
        )
        return Tint(*channels, self.alpha)

    def colour4f(self) -> skia.Color4f:
        """Return the colour as the drawing library takes it."""
        return skia.Color4f(*self)


def tint(code: str) -> Tint:
    """Read a colour written as six hexadecimal digits."""
    return Tint(*(int(code[start : start + 2], 16) / 255 for start in (0, 2, 4)))


@dataclass(frozen=True)
class Ramp:
    """The tones of one material, from its lit side to its outline."""

    light: Tint
    base: Tint
    shade: Tint
    ink: Tint
    belly: Tint

    def turn(self, hue: float = 0.0, saturation: float = 1.0, value: float = 1.0) -> Ramp:
        """Turn every tone but the outline."""
        return Ramp(
            self.light.turn(hue, saturation, value),
            self.base.turn(hue, saturation, value),
            self.shade.turn(hue, saturation, value),
            self.ink,
            self.belly.turn(hue, saturation, value),
        )

    def deep(self) -> Ramp:
        """Return the tones of the same material a step towards its outline."""
        return Ramp(self.base, self.shade, self.shade.mix(self.ink, 0.5), self.ink, self.belly)

    def darker(self) -> Ramp:
        """Return the tones of the same material on the far side of the creature."""
        return Ramp(self.base, self.base.mix(self.shade, 0.7), self.shade, self.ink, self.belly.mix(self.shade, 0.4))


def ramp(light: str, base: str, shade: str, ink: str, belly: str) -> Ramp:
    """Build a ramp from hexadecimal colours."""
    return Ramp(tint(light), tint(base), tint(shade), tint(ink), tint(belly))


WHITE: Final = tint("ffffff")
EYE_INK: Final = tint("1d1530")
PALE_INK: Final = tint("f4efff")
TONGUE: Final = tint("ff7f8f")
MOUTH_DARK: Final = tint("6b1430")
BLUSH: Final = tint("ff5d7d")
SHADOW: Final = tint("130b2a")

COATS: Final[Mapping[Colour, Ramp]] = MappingProxyType(
    {
        Colour.RED: ramp("ff8f78", "f04a4a", "b9264c", "4a0c26", "ffd9bd"),
        Colour.ORANGE: ramp("ffc069", "fb8c2a", "d0581d", "53200c", "ffecc2"),
        Colour.YELLOW: ramp("fff59b", "fdd435", "e0951f", "573307", "fffbdc"),
        Colour.GREEN: ramp("b2ec72", "58c04c", "258552", "0d3829", "eefac0"),
        Colour.TEAL: ramp("8ff0da", "2cc0b2", "167f92", "083342", "dcfcec"),
        Colour.BLUE: ramp("8fcbff", "3f8bf2", "2a53c0", "111c55", "dcf1ff"),
        Colour.PURPLE: ramp("cfa6ff", "9358e4", "6131ad", "260d50", "efe0ff"),
        Colour.PINK: ramp("ffc9e1", "fc84b8", "d44b93", "55103e", "fff3ea"),
        Colour.BROWN: ramp("cf9a69", "9c6240", "6b3a30", "2d1413", "f3dab4"),
        Colour.BLACK: ramp("6f6e8c", "3f3d54", "262438", "0c0a16", "b9b7d0"),
        Colour.WHITE: ramp("ffffff", "f3f4fc", "bcc5e6", "39426a", "fff3e4"),
        Colour.GRAY: ramp("ccd3dc", "96a1b1", "65718b", "242b3c", "eef0f5"),
    }
)

# A second colour for scarves, spotted shells and wing linings.
ACCENTS: Final[Mapping[Colour, Tint]] = MappingProxyType(
    {
        Colour.RED: tint("ffc93c"),
        Colour.ORANGE: tint("35b6c4"),
        Colour.YELLOW: tint("ff6f61"),
        Colour.GREEN: tint("ff9f43"),
        Colour.TEAL: tint("ff7aa8"),
        Colour.BLUE: tint("ffb52e"),
        Colour.PURPLE: tint("ffd23f"),
        Colour.PINK: tint("7c6cf2"),
        Colour.BROWN: tint("3fb98b"),
        Colour.BLACK: tint("ff4f6d"),
        Colour.WHITE: tint("f2588b"),
        Colour.GRAY: tint("f26b4e"),
    }
)

ELEMENTS: Final[Mapping[Element, Ramp]] = MappingProxyType(
    {
        Element.FIRE: ramp("ffd23f", "ff7a1f", "e8372b", "5c0f16", "fff3a3"),
        Element.WATER: ramp("c4f4ff", "4fc3f7", "2484d8", "0c2d66", "f0fdff"),
        Element.GRASS: ramp("c8f06a", "6fce3e", "2f9446", "0e3d22", "efffb8"),
        Element.ELECTRIC: ramp("fffbb0", "ffdf2b", "f5a50f", "5a3600", "ffffff"),
        Element.GHOST: ramp("f3e4ff", "c79bff", "8a55dd", "30125e", "ffffff"),
        Element.ICE: ramp("ffffff", "b5ecff", "6cb8f2", "1d4a80", "ffffff"),
        Element.NORMAL: ramp("fff0c9", "f5c987", "cf9250", "4f2c12", "ffffff"),
    }
)

AURAS: Final[Mapping[Aura, tuple[Tint, ...]]] = MappingProxyType(
    {
        Aura.NONE: (),
        Aura.GOLDEN: (tint("ffb414"), tint("ffd84a"), tint("fff6c2")),
        Aura.BLUE: (tint("1f6bff"), tint("52a8ff"), tint("d3efff")),
        Aura.RED: (tint("f01f3f"), tint("ff5c4f"), tint("ffd8c9")),
        Aura.PURPLE: (tint("8a2bf0"), tint("bd6bff"), tint("f2dcff")),
        Aura.GREEN: (tint("12b84a"), tint("5fe36b"), tint("e2ffd0")),
        Aura.RAINBOW: tuple(map(tint, ("ff4d5e", "ff9a3d", "ffe14d", "5fdd6b", "4fb4ff", "b06bff"))),
    }
)

GOLD: Final = ramp("fff3a6", "ffcf3a", "e08f1b", "5b3206", "fffbe0")
BEAK: Final = ramp("ffd76a", "ffa629", "e0701c", "5a2708", "fff0b8")
BONE: Final = ramp("fffbe9", "f3e2bd", "cda877", "52371f", "ffffff")
WOOD: Final = ramp("d9a873", "ab7443", "7a4a2b", "351b0d", "f0d0a0")
PEARL: Final = ramp("ffffff", "fff0fb", "d3bdf2", "503a78", "ffffff")
FEATHER: Final = ramp("ffffff", "f7f9ff", "c3cfec", "3d4a73", "ffffff")
PLASTER: Final = ramp("fff0d8", "f0cfa5", "c79a70", "5a3a26", "ffe7c8")
GEMS: Final = (
    ramp("ffb3c4", "ff3d6e", "b3124a", "4a0622", "ffffff"),
    ramp("b3f0ff", "2fb4ff", "1763c9", "0a2457", "ffffff"),
    ramp("c6ffd0", "2fd873", "10914f", "063a22", "ffffff"),
    ramp("ecc8ff", "b04dff", "6c1fc0", "2a0757", "ffffff"),
)

# How far the coat is dulled or polished, by rarity: saturation and value factors.
POLISH: Final[Mapping[Rarity, tuple[float, float]]] = MappingProxyType(
    {
        Rarity.F: (0.55, 0.84),
        Rarity.E: (0.75, 0.92),
        Rarity.D: (0.93, 0.98),
        Rarity.C: (1.0, 1.0),
        Rarity.B: (1.04, 1.0),
        Rarity.A: (1.08, 1.02),
        Rarity.S: (1.12, 1.04),
        Rarity.S_PLUS: (1.15, 1.05),
    }
)


def coat_ramp(colour: Colour, rarity: Rarity, rng: random.Random) -> Ramp:
    """Choose the coat's tones: the colour's own, a little off by chance, dull or polished by rarity."""
    saturation, value = POLISH[rarity]
    hue = rng.uniform(-0.012, 0.012)
    return COATS[colour].turn(hue, saturation * rng.uniform(0.95, 1.05), value * rng.uniform(0.97, 1.02))
