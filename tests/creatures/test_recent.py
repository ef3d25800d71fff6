"""Creatures that were given out a moment ago: found again, and never more than their bounds."""

from __future__ import annotations

from minimon_server.creatures.hatchery import Creature
from minimon_server.creatures.rarity import Rarity
from minimon_server.creatures.recent import Given, Recent
from minimon_server.engines.files import Picture

PICTURE = Picture(1, 1, b"png")


def answer(name: str, at: str = "now") -> Given:
    return Given(Creature(name, "Nebofang", Rarity.B, PICTURE), b"head", at, True)


def test_an_answer_is_found_again_until_its_time_is_over() -> None:
    now = [0.0]
    recent = Recent(seconds=10, monotonic=lambda: now[0])
    recent.keep(answer("a"), own_bytes=5)
    now[0] = 9.9
    assert recent.find("a") == answer("a")
    assert recent.find("b") is None
    now[0] = 10.0
    assert recent.find("a") is None
    assert not recent._given
    assert recent._bytes == 0


def test_the_oldest_go_first_beyond_number_and_bytes() -> None:
    recent = Recent(most=2, most_bytes=100)
    for name in "abc":
        recent.keep(answer(name), own_bytes=10)
    assert [name for name in "abc" if recent.find(name)] == ["b", "c"]
    recent.keep(answer("d"), own_bytes=95)
    assert [name for name in "abcd" if recent.find(name)] == ["d"]
    recent.keep(answer("e"), own_bytes=101)
    assert [name for name in "de" if recent.find(name)] == ["d"]


def test_the_same_creature_is_kept_once() -> None:
    recent = Recent(most_bytes=100)
    for number in range(20):
        recent.keep(answer("a", str(number)), own_bytes=60)
    assert recent.find("a") == answer("a", "19")
    assert recent._bytes == 60
