"""Rarity: the order, the table, and the distribution that comes out of it."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from minimon_server.creatures.hatchery import Hatchery, dice_of_seed
from minimon_server.creatures.rarity import RARITIES, Rarity, RarityTable
from minimon_server.engines.files import Picture
from minimon_server.settings import Settings

DEFAULT_WEIGHTS = list(Settings.model_fields["rarity_weights"].default)
# The upper 0.1 % point of chi-square with 7 degrees of freedom (Abramowitz and Stegun, table 26.8).
CHI_SQUARE_7_AT_001 = 24.322
DRAWS = 20_000


def chi_square(counts: Counter[Rarity], weights: list[float]) -> float:
    total = sum(weights)
    expected = {rarity: DRAWS * weight / total for rarity, weight in zip(RARITIES, weights, strict=True)}
    return sum((counts[rarity] - expected[rarity]) ** 2 / expected[rarity] for rarity in RARITIES)


@pytest.mark.parametrize("weights", [DEFAULT_WEIGHTS, [1.0] * 8, [1, 2, 3, 4, 5, 6, 7, 8]])
def test_rarities_come_as_often_as_their_weights_say(weights: list[float]) -> None:
    hatchery = Hatchery([Picture(1, 1, b"")], RarityTable(weights), "rarity")
    counts = Counter(hatchery.hatch(dice_of_seed(seed, None)).rarity for seed in range(DRAWS))
    assert chi_square(counts, weights) < CHI_SQUARE_7_AT_001


def test_the_chi_square_test_can_fail() -> None:
    hatchery = Hatchery([Picture(1, 1, b"")], RarityTable([1] * 8), "rarity")
    counts = Counter(hatchery.hatch(dice_of_seed(seed, None)).rarity for seed in range(DRAWS))
    assert chi_square(counts, [1.0, 1, 1, 1, 1, 1, 1, 1.3]) > CHI_SQUARE_7_AT_001


def test_the_default_table_is_the_documents() -> None:
    assert [str(rarity) for rarity in RARITIES] == ["F", "E", "D", "C", "B", "A", "S", "S+"]
    assert DEFAULT_WEIGHTS == [30, 22, 17, 12, 9, 6, 3, 1]


def test_the_ends_of_the_unit_interval_fall_on_the_first_and_the_last() -> None:
    table = RarityTable(DEFAULT_WEIGHTS)
    assert table.draw(0.0) is Rarity.F
    assert table.draw(math.nextafter(0.30, 0)) is Rarity.F
    assert table.draw(0.30) is Rarity.E
    assert table.draw(math.nextafter(1.0, 0)) is Rarity.S_PLUS


def test_a_weight_of_zero_never_comes() -> None:
    table = RarityTable([0, 1, 0, 1, 0, 0.1, 0, 0])
    drawn = {table.draw(step / 1000) for step in range(1000)} | {table.draw(math.nextafter(1.0, 0))}
    assert drawn == {Rarity.E, Rarity.C, Rarity.A}


@pytest.mark.parametrize("weights", [[], [1] * 7, [0] * 8, [1] * 7 + [-1], [1] * 7 + [math.nan], [1e308] * 8])
def test_weights_that_mean_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        RarityTable(weights)
