"""From dice to creature: a pure function of 32 bytes decides rarity, name, picture and id. Rolls no dice itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

from minimon_server.creatures.dice import DICE_BYTES
from minimon_server.creatures.names import local_name
from minimon_server.creatures.rarity import RARITIES, Rarity, RarityTable
from minimon_server.engines.files import Picture, load_pictures
from minimon_server.engines.sprite_files import load_sprites
from minimon_server.settings import Settings

LARGEST_SEED: Final = 2**53 - 1

PictureChoice = Literal["rarity", "any"]


class Being(Protocol):
    """Whoever has an id, a name and a rarity, with a picture or before it has one."""

    @property
    def id(self) -> str:
        """`mnm_` and 24 hexadecimal digits."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def rarity(self) -> Rarity:
        """How splendid it is."""


class Identity(NamedTuple):
    """A Minimon that has no picture yet."""

    id: str
    name: str
    rarity: Rarity


class Creature(NamedTuple):
    """A Minimon as a client gets it, before anyone decides how it is sent."""

    id: str
    name: str
    rarity: Rarity
    picture: Picture


class Hatchery:
    """Makes creatures out of the pictures at hand.

    The same dice and the same wish give the same creature, as long as pictures and weights stay the same.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        rarities: RarityTable,
        choice: PictureChoice,
        sprites: Mapping[Picture, Picture] = MappingProxyType({}),
    ) -> None:
        """`sprites` are the pictures' creatures alone, with alpha, of those that have it."""
        if not pictures:
            raise ValueError("a hatchery needs at least one picture")
        self.sprites = sprites
        self.pictures = tuple(pictures)
        self._rarities = rarities
        self._shelves = {
            rarity: tuple(pictures) if choice == "any" else tuple(shelf(pictures, rank))
            for rank, rarity in enumerate(RARITIES)
        }

    def hatch(self, dice: bytes, wish: Rarity | None = None) -> Creature:
        """Return the creature of these 32 bytes; `wish` sets its rarity instead of drawing it."""
        being = identify(dice, wish, self._rarities)
        pictures = self._shelves[being.rarity]
        return Creature(*being, pictures[int(_fraction(dice[25:32]) * len(pictures))])


# Each property reads bytes of its own: twelve the id, six the name, seven the rarity, seven the picture.


def identify(dice: bytes, wish: Rarity | None, rarities: RarityTable) -> Identity:
    """Return who the creature of these 32 bytes is; `wish` sets its rarity instead of drawing it."""
    rarity = wish or rarities.draw(_fraction(dice[18:25]))
    return Identity("mnm_" + dice[:12].hex(), local_name(int.from_bytes(dice[12:18], "big")), rarity)


def picture_seed(dice: bytes) -> int:
    """Return the seed, 0 to 2^53-1, that the picture of these 32 bytes is drawn from."""
    return int.from_bytes(dice[25:32], "big") >> 3


def make_hatchery(settings: Settings) -> Hatchery:
    """Read the pictures of the settings and return what makes creatures of them; raise `StartupError` without them."""
    folder, pattern, first, last = (
        settings.images_dir,
        settings.image_pattern,
        settings.min_index,
        settings.max_index,
    )
    pictures = load_pictures(folder, pattern, first, last)
    sprites = load_sprites(pictures, [folder / pattern.format(index) for index in range(first, last + 1)])
    return Hatchery(pictures, RarityTable(settings.rarity_weights), settings.picture_choice, sprites)


def dice_of_seed(seed: int, wish: Rarity | None) -> bytes:
    """Return the 32 bytes that a seed (0 to 2^53-1) stands for, on every machine and in every release.

    The wish is part of them, so that two different creatures never share an id.
    """
    return hashlib.shake_256(f"minimon creature 1|{seed}|{wish or ''}".encode("ascii")).digest(DICE_BYTES)


def shelf(pictures: Sequence[Picture], rank: int) -> Sequence[Picture]:
    """Return the pictures that a rarity of this rank (0 for F to 7 for S+) may wear.

    Pictures stand in the order of their splendour; each rank takes its eighth of them, rounded outwards, so that
    every rank has a picture and every picture a rank, however many there are.
    """
    count, ranks = len(pictures), len(RARITIES)
    return pictures[rank * count // ranks : -(-(rank + 1) * count // ranks)]


def _fraction(seven_bytes: bytes) -> float:
    """Return a number in [0, 1) with the 53 bits that a double holds exactly."""
    return (int.from_bytes(seven_bytes, "big") >> 3) / 2**53
