"""The hatchery: the same dice, the same creature; ids, shelves and wishes."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from minimon_server.creatures.dice import DICE_BYTES
from minimon_server.creatures.hatchery import LARGEST_SEED, Hatchery, dice_of_seed, shelf
from minimon_server.creatures.rarity import RARITIES, Rarity, RarityTable
from minimon_server.engines.files import Picture
from minimon_server.settings import Settings

DEFAULT_WEIGHTS = list(Settings.model_fields["rarity_weights"].default)
PICTURES = tuple(Picture(1, 1, bytes([index])) for index in range(6))
TABLE = RarityTable(DEFAULT_WEIGHTS)
HATCHERY = Hatchery(PICTURES, TABLE, "rarity")
KNOWN_42 = ("mnm_f924449690b0dc0ac34a3e0d", "Sunnaprowl", Rarity.D)
KNOWN_42_S_PLUS = ("mnm_cabf2e892cb787cce0a8a209", "Nolacrest", Rarity.S_PLUS)


def test_a_seed_is_a_creature_for_ever() -> None:
    # Known answers: a release that changes them breaks every game that keeps seeds.
    creature = HATCHERY.hatch(dice_of_seed(42, None))
    assert (creature.id, creature.name, creature.rarity) == KNOWN_42
    wished = HATCHERY.hatch(dice_of_seed(42, Rarity.S_PLUS), Rarity.S_PLUS)
    assert (wished.id, wished.name, wished.rarity) == KNOWN_42_S_PLUS


def test_ids_are_safe_in_an_address_and_carry_96_bits() -> None:
    ids = {HATCHERY.hatch(dice_of_seed(seed, None)).id for seed in range(2000)}
    assert len(ids) == 2000
    assert all(re.fullmatch(r"mnm_[0-9a-f]{24}", one) for one in ids)


def test_a_wish_changes_the_rarity_and_the_id() -> None:
    drawn = HATCHERY.hatch(dice_of_seed(7, None))
    wished = HATCHERY.hatch(dice_of_seed(7, Rarity.S), Rarity.S)
    assert wished.rarity is Rarity.S
    assert wished.id != drawn.id


def test_the_dice_of_the_largest_seed() -> None:
    assert len(dice_of_seed(LARGEST_SEED, None)) == DICE_BYTES
    HATCHERY.hatch(b"\xff" * DICE_BYTES)
    HATCHERY.hatch(b"\0" * DICE_BYTES)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 9, 16, 17, 100])
def test_every_rank_has_a_picture_and_every_picture_a_rank(count: int) -> None:
    pictures = [Picture(1, 1, bytes([index])) for index in range(count)]
    shelves = [shelf(pictures, rank) for rank in range(8)]
    assert all(shelves)
    assert {picture.png for one in shelves for picture in one} == {picture.png for picture in pictures}
    firsts = [one[0].png for one in shelves]
    assert firsts == sorted(firsts)


def test_the_rarest_wears_the_last_picture_and_the_commonest_the_first() -> None:
    for seed in range(50):
        assert HATCHERY.hatch(dice_of_seed(seed, Rarity.S_PLUS), Rarity.S_PLUS).picture is PICTURES[5]
        assert HATCHERY.hatch(dice_of_seed(seed, Rarity.F), Rarity.F).picture is PICTURES[0]


def test_pictures_at_random_come_equally_often() -> None:
    hatchery = Hatchery(PICTURES, TABLE, "any")
    counts = Counter(hatchery.hatch(dice_of_seed(seed, None)).picture.png for seed in range(12_000))
    # Chi-square, 5 degrees of freedom, upper 0.1 % point: 20.515.
    assert sum((counts[picture.png] - 2000) ** 2 / 2000 for picture in PICTURES) < 20.515


def test_a_hatchery_without_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="picture"):
        Hatchery([], TABLE, "any")


def test_wishes_exist_for_every_rarity() -> None:
    for rarity in RARITIES:
        assert HATCHERY.hatch(dice_of_seed(1, rarity), rarity).rarity is rarity
