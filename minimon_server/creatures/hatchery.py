"""From dice to creature: a pure function of 32 bytes decides rarity, name, picture and id. Rolls no dice itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from minimon_server.creatures.dice import DICE_BYTES
from minimon_server.creatures.names import local_name
from minimon_server.creatures.rarity import RARITIES, Rarity, RarityTable
from minimon_server.engines.files import Picture

LARGEST_SEED: Final = 2**53 - 1

PictureChoice = Literal["rarity", "any"]


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

    def __init__(self, pictures: Sequence[Picture], rarities: RarityTable, choice: PictureChoice) -> None:
        if not pictures:
            raise ValueError("a hatchery needs at least one picture")
        self.pictures = tuple(pictures)
        self._rarities = rarities
        self._shelves = {
            rarity: tuple(pictures) if choice == "any" else tuple(shelf(pictures, rank))
            for rank, rarity in enumerate(RARITIES)
        }

    def hatch(self, dice: bytes, wish: Rarity | None = None) -> Creature:
        """Return the creature of these 32 bytes; `wish` sets its rarity instead of drawing it."""
        # Each property reads bytes of its own: twelve the id, six the name, seven the rarity, seven the picture.
        name, chance, pick = int.from_bytes(dice[12:18], "big"), dice[18:25], dice[25:32]
        rarity = wish or self._rarities.draw(_fraction(chance))
        pictures = self._shelves[rarity]
        picture = pictures[int(_fraction(pick) * len(pictures))]
        return Creature("mnm_" + dice[:12].hex(), local_name(name), rarity, picture)


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
