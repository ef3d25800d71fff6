"""The six pictures that ship with the server, picked by hand from the plainest to the most splendid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tools.artist.picture import Pixels, draw
from tools.artist.png import thrifty
from tools.artist.traits import (
    Aura,
    Background,
    Body,
    Colour,
    Ears,
    Element,
    Eyes,
    Horns,
    Mouth,
    Pattern,
    Rarity,
    Tail,
    Traits,
    Wings,
)

SHIPPED_SIZE: Final = 512


@dataclass(frozen=True)
class ShippedPicture:
    """One shipped picture: what is on it and the seed it is drawn from."""

    traits: Traits
    seed: int


SHIPPED: Final = (
    ShippedPicture(
        Traits(
            Element.NORMAL, Body.QUADRUPED, Colour.BROWN, Eyes.SLEEPY, Mouth.FROWN, ears=Ears.ROUND, tail=Tail.CURLY,
            pattern=Pattern.SPOTS, background=Background.DESERT, rarity=Rarity.F,
        ),
        seed=9,
    ),
    ShippedPicture(
        Traits(
            Element.GRASS, Body.SLIME, Colour.PINK, Eyes.HAPPY, Mouth.OPEN, background=Background.MEADOW,
            rarity=Rarity.D,
        ),
        seed=6,
    ),
    ShippedPicture(
        Traits(
            Element.ICE, Body.EGG, Colour.WHITE, Eyes.BIG, Mouth.CAT, ears=Ears.CAT, background=Background.SUNSET,
            rarity=Rarity.C,
        ),
        seed=6,
    ),
    ShippedPicture(
        Traits(
            Element.WATER, Body.SERPENT, Colour.BLUE, Eyes.BIG, Mouth.SMILE, tail=Tail.FISH, pattern=Pattern.STRIPES,
            background=Background.UNDERWATER, rarity=Rarity.A,
        ),
        seed=7,
    ),
    ShippedPicture(
        Traits(
            Element.FIRE, Body.BIPED, Colour.RED, Eyes.ANGRY, Mouth.FANGS, horns=Horns.HORNS, wings=Wings.BAT,
            tail=Tail.DEVIL, aura=Aura.GOLDEN, background=Background.VOLCANO, rarity=Rarity.S,
        ),
        seed=7,
    ),
    ShippedPicture(
        Traits(
            Element.ELECTRIC, Body.ROUND, Colour.PURPLE, Eyes.BIG, Mouth.OPEN, ears=Ears.CAT, wings=Wings.FEATHERED,
            tail=Tail.FLUFFY, aura=Aura.RAINBOW, background=Background.NIGHT_SKY, rarity=Rarity.S_PLUS,
        ),
        seed=8,
    ),
)  # fmt: skip


def shipped_name(index: int) -> str:
    """Return the file name of a shipped picture, counted from 0."""
    return f"image_{index:02d}.png"


def sprite_name(index: int) -> str:
    """Return the file name of a shipped picture's creature alone, counted from 0."""
    return f"image_{index:02d}.sprite.png"


def draw_sprite(index: int) -> Pixels:
    """Draw the creature of one shipped picture alone, as an array of 512 x 512 pixels with straight alpha."""
    picture = SHIPPED[index]
    pixels = draw(picture.traits, picture.seed, SHIPPED_SIZE, transparent=True)
    return np.concatenate([thrifty(pixels[..., :3]), pixels[..., 3:]], axis=2)


def draw_shipped(index: int) -> Pixels:
    """Draw one shipped picture as an opaque RGB array of 512 x 512 pixels."""
    picture = SHIPPED[index]
    return thrifty(draw(picture.traits, picture.seed, SHIPPED_SIZE)[..., :3])
