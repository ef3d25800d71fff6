"""Ten thousand drawn creatures: flat memory, none given out twice, kill -9 or not. Run by `make torture` alone.

`SOAK_CREATURES=300 python -m pytest -m torture tests/torture/test_many_creatures.py -s` tries it with fewer, which says
little about memory.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import proc
from tests.small_pipeline import build
from tests.torture.creature_players import Crowd, Given, counted, server_in, until_stock

pytestmark = pytest.mark.torture

CREATURES = int(os.environ.get("SOAK_CREATURES", "10000"))
KILLS = max(3, min(9, CREATURES // 100))
STOCK = 65  # of MINIMON_STOCK=8: 19 F, 14 E, 11 D, 8 C, 6 B, 4 A, 2 S and 1 S+
BURST = 100  # creatures asked for at once: more than the stock holds, so that some are drawn while their player waits
# From the middle on, all together: 2 KiB a creature of 4,000, where a creature kept by mistake is 25 KiB and more.
MOST_GROWTH_KIB = 8192
# What was given out is kept for a while, up to 1,000 creatures, each with its PNG, that in base64, and its objects.
KEPT, KEPT_KIB = 1000, 40


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of models that holds `small`."""
    folder = tmp_path_factory.mktemp("models")
    build(folder / "small")
    return folder


@dataclass(frozen=True)
class Look:
    """The server at rest after so many creatures, its stock full."""

    creatures: int
    rss_kib: int


def most_growth_kib(middle: Look, end: Look) -> int:
    """Return the growth that is allowed between two looks: the noise of an allocator, and what is kept on purpose."""
    return MOST_GROWTH_KIB + KEPT_KIB * (min(KEPT, end.creatures) - min(KEPT, middle.creatures))


def typical(looks: list[Look]) -> Look:
    """Return the medians of some looks: one of them alone may fall into a moment of garbage."""
    creatures = round(statistics.median(look.creatures for look in looks))
    return Look(creatures, round(statistics.median(look.rss_kib for look in looks)))


def test_memory_is_flat_over_ten_thousand_creatures_and_none_is_given_out_twice(tmp_path: Path, models: Path) -> None:
    given, looks, began = Given(), list[Look](), time.monotonic()
    with server_in(tmp_path, models) as server, server.client() as client:
        crowd = Crowd(server, given, seed=1)
        until_stock(client, STOCK)
        looks.append(Look(0, proc.memory(server.process.pid).rss_kib))
        while len(given.ids) < CREATURES:
            crowd.ask(min(BURST, CREATURES - len(given.ids)))
            crowd.rest()
            until_stock(client, STOCK)
            looks.append(Look(len(given.ids), proc.memory(server.process.pid).rss_kib))
        hits, misses = (
            counted(client, name) for name in ("minimon_stock_given_total", "minimon_creatures_on_demand_total")
        )
        used = proc.cpu_seconds(server.process.pid)
        crowd.end()
    half, several = len(looks) // 2, max(1, len(looks) // 5)
    middle, end = typical(looks[half - several // 2 : half - several // 2 + several]), typical(looks[-several:])
    assert middle.creatures < end.creatures, f"{CREATURES} creatures are too few"
    seconds = time.monotonic() - began
    print(f"{len(given.ids)} creatures in {seconds:.0f} s, {used:.0f} s of the processor, the start included;")
    print(f"{hits} of them out of the stock, {misses} drawn on demand")
    print("RSS, MiB: " + ", ".join(f"{one.rss_kib / 1024:.1f}" for one in looks[:: max(1, len(looks) // 20)]))
    print(f"from {middle} to {end}: {end.rss_kib - middle.rss_kib:+,} KiB, {most_growth_kib(middle, end):,} allowed")
    given.check()
    assert hits + misses == len(given.ids) == CREATURES
    assert min(hits, misses) > CREATURES / 10, "it did not try both ways"
    assert end.rss_kib - middle.rss_kib <= most_growth_kib(middle, end)


def kept(folder: Path) -> set[str]:
    """Return the ids of the creatures on the disk."""
    return {path.name[2:].removesuffix(".creature") for path in (folder / "stock").glob("*.creature")}


def test_nobody_gets_a_creature_twice_however_often_the_server_is_killed(tmp_path: Path, models: Path) -> None:
    given, dice, began, again = Given(), random.Random(2), time.monotonic(), 0
    share = max(1, CREATURES // (KILLS))
    for life in range(KILLS):
        found, heard = kept(tmp_path), len(given.ids)
        with server_in(tmp_path, models) as server, server.client() as client:
            crowd = Crowd(server, given, seed=3 + life)
            until_stock(client, STOCK // 2)
            while (left := heard + share - len(given.ids)) > BURST:
                crowd.ask(BURST)
                crowd.rest()
                until_stock(client, STOCK // 2)
            crowd.ask(left)
            if life % 2:  # killed within an answer, or between two of them
                crowd.wait(dice.randrange(left))
            else:  # killed while the stock is refilled
                crowd.rest()
                until_stock(client, dice.randrange(STOCK // 2, STOCK))
            crowd.end()
        assert not kept(tmp_path) & set(given.ids), "what was given out is still on the disk"
        again += len(found & set(given.ids[heard:]))
    print(f"{len(given.ids)} creatures in {time.monotonic() - began:.0f} s, {KILLS} kills, {again} of them kept")
    given.check()
    assert len(given.ids) > CREATURES / 3
    assert again > 0, "the stock did not outlive its server"
