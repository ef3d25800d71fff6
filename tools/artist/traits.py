"""The vocabulary of creature traits and how to sample it; owns no colours, shapes or drawing."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Element(StrEnum):
    """The force of nature a creature carries on its head and around it."""

    FIRE = "fire"
    WATER = "water"
    GRASS = "grass"
    ELECTRIC = "electric"
    GHOST = "ghost"
    ICE = "ice"
    NORMAL = "normal"


class Body(StrEnum):
    """The build of a creature."""

    ROUND = "round"
    SLIME = "slime"
    EGG = "egg"
    BIPED = "biped"
    QUADRUPED = "quadruped"
    BIRD = "bird"
    SERPENT = "serpent"


class Colour(StrEnum):
    """The main colour of the coat."""

    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    TEAL = "teal"
    BLUE = "blue"
    PURPLE = "purple"
    PINK = "pink"
    BROWN = "brown"
    BLACK = "black"
    WHITE = "white"
    GRAY = "gray"


class Eyes(StrEnum):
    """Number and mood of the eyes."""

    BIG = "big"
    SMALL = "small"
    ONE = "one"
    SLEEPY = "sleepy"
    ANGRY = "angry"
    THREE = "three"
    HAPPY = "happy"


class Mouth(StrEnum):
    """Shape of the mouth."""

    SMILE = "smile"
    OPEN = "open"
    FANGS = "fangs"
    CAT = "cat"
    FROWN = "frown"


class Horns(StrEnum):
    """Horns, if any."""

    NONE = "none"
    HORNS = "horns"
    UNICORN = "unicorn"
    ANTLERS = "antlers"


class Ears(StrEnum):
    """Ears, if any."""

    NONE = "none"
    CAT = "cat"
    BUNNY = "bunny"
    ROUND = "round"


class Wings(StrEnum):
    """Wings, if any."""

    NONE = "none"
    BAT = "bat"
    FEATHERED = "feathered"
    BUTTERFLY = "butterfly"


class Tail(StrEnum):
    """Tail, if any."""

    NONE = "none"
    CURLY = "curly"
    DEVIL = "devil"
    FLUFFY = "fluffy"
    FISH = "fish"


class Pattern(StrEnum):
    """Markings of the coat."""

    PLAIN = "plain"
    SPOTS = "spots"
    STRIPES = "stripes"


class Aura(StrEnum):
    """Glow around the whole creature."""

    NONE = "none"
    GOLDEN = "golden"
    BLUE = "blue"
    RED = "red"
    PURPLE = "purple"
    GREEN = "green"
    RAINBOW = "rainbow"


class Background(StrEnum):
    """Place the creature stands in."""

    NIGHT_SKY = "night sky"
    MEADOW = "meadow"
    UNDERWATER = "underwater"
    VOLCANO = "volcano"
    FOREST = "forest"
    SNOW = "snow"
    CAVE = "cave"
    DESERT = "desert"
    PLAIN = "plain"
    SUNSET = "sunset"


class Rarity(StrEnum):
    """Splendour, from the plainest to the most splendid."""

    F = "F"
    E = "E"
    D = "D"
    C = "C"
    B = "B"
    A = "A"
    S = "S"
    S_PLUS = "S+"

    @property
    def level(self) -> int:
        """Position in the order of splendour: 0 for F up to 7 for S+."""
        return list(Rarity).index(self)


@dataclass(frozen=True)
class Traits:
    """Everything about a creature that can be named in words."""

    element: Element = Element.NORMAL
    body: Body = Body.ROUND
    colour: Colour = Colour.BLUE
    eyes: Eyes = Eyes.BIG
    mouth: Mouth = Mouth.SMILE
    horns: Horns = Horns.NONE
    ears: Ears = Ears.NONE
    wings: Wings = Wings.NONE
    tail: Tail = Tail.NONE
    pattern: Pattern = Pattern.PLAIN
    aura: Aura = Aura.NONE
    background: Background = Background.PLAIN
    rarity: Rarity = Rarity.D


TRAIT_KINDS: Final[Mapping[str, type[StrEnum]]] = MappingProxyType(
    {
        "element": Element,
        "body": Body,
        "colour": Colour,
        "eyes": Eyes,
        "mouth": Mouth,
        "horns": Horns,
        "ears": Ears,
        "wings": Wings,
        "tail": Tail,
        "pattern": Pattern,
        "aura": Aura,
        "background": Background,
        "rarity": Rarity,
    }
)

TRAIT_NAMES: Final = tuple(field.name for field in fields(Traits))

# Chances by trait, in the order in which the values are declared; a trait that is not named here is even.
WEIGHTS: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "eyes": (4.0, 2.0, 1.4, 1.4, 1.8, 1.0, 1.4),
        "mouth": (2.5, 2.0, 2.0, 1.5, 1.2),
        "horns": (4.0, 2.2, 1.4, 1.4),
        "ears": (3.0, 2.0, 1.6, 1.6),
        "wings": (4.0, 1.6, 1.8, 1.6),
        "tail": (2.5, 1.4, 1.4, 1.6, 1.4),
        "pattern": (3.0, 2.0, 2.0),
    }
)

FAVOURITE_COLOURS: Final[Mapping[Element, tuple[Colour, ...]]] = MappingProxyType(
    {
        Element.FIRE: (Colour.RED, Colour.ORANGE, Colour.BLACK),
        Element.WATER: (Colour.BLUE, Colour.TEAL, Colour.WHITE),
        Element.GRASS: (Colour.GREEN, Colour.BROWN, Colour.PINK),
        Element.ELECTRIC: (Colour.YELLOW, Colour.BLUE, Colour.PURPLE),
        Element.GHOST: (Colour.PURPLE, Colour.WHITE, Colour.GRAY),
        Element.ICE: (Colour.WHITE, Colour.BLUE, Colour.TEAL),
        Element.NORMAL: (Colour.BROWN, Colour.PINK, Colour.ORANGE),
    }
)

FAVOURITE_COLOUR_CHANCE: Final = 0.25
PLAIN_AURA_CHANCE: Final = 0.12
FITTING_AURA_CHANCE: Final = 0.75


def _sample_aura(rng: random.Random, rarity: Rarity) -> Aura:
    """Choose a golden aura for most S, a rainbow for most S+, seldom any below."""
    coloured = [aura for aura in Aura if aura not in (Aura.NONE, Aura.RAINBOW)]
    fits = rng.random()
    other = rng.choice(coloured)
    if rarity is Rarity.S_PLUS:
        return Aura.RAINBOW if fits < FITTING_AURA_CHANCE else other
    if rarity is Rarity.S:
        return Aura.GOLDEN if fits < FITTING_AURA_CHANCE else other
    return other if fits < PLAIN_AURA_CHANCE and rarity.level >= Rarity.D.level else Aura.NONE


def sample(rng: random.Random, rarity: Rarity | None = None) -> Traits:
    """Draw a random creature's traits; every value of every trait can come up.

    With a rarity given the creature has that rarity, otherwise all eight are equally likely.
    """
    chosen: dict[str, StrEnum] = {}
    for name, kind in TRAIT_KINDS.items():
        values = list(kind)
        chosen[name] = rng.choices(values, WEIGHTS.get(name))[0]
    traits = with_traits(Traits(), {name: value.value for name, value in chosen.items()})
    if rng.random() < FAVOURITE_COLOUR_CHANCE:
        traits = replace(traits, colour=rng.choice(FAVOURITE_COLOURS[traits.element]))
    final_rarity = rarity or traits.rarity
    return replace(traits, rarity=final_rarity, aura=_sample_aura(rng, final_rarity))


def with_traits(traits: Traits, values: Mapping[str, str]) -> Traits:
    """Return a copy with some traits replaced by the values' words, such as {"rarity": "S+"}.

    Raises ValueError when a word is not in the vocabulary and KeyError for an unknown trait name.
    """
    typed = {name: TRAIT_KINDS[name](word) for name, word in values.items()}
    return replace(traits, **typed)  # type: ignore[arg-type]
