"""A disk of the stock that is none, creatures to lay on it, a stock over it, and a scene to do so: for its tests."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence

from minimon_server.creatures.drawn import Finished
from minimon_server.creatures.hatchery import Creature
from minimon_server.creatures.rarity import RARITIES, Rarity
from minimon_server.creatures.stock import Files, Stock
from minimon_server.engines.files import Picture
from tests.jobs.scene import quiet
from tests.support import small_png

PNG = small_png(7)


def creature(number: int, rarity: Rarity = Rarity.F) -> Finished:
    made = Creature(f"mnm_{number:024x}", f"Nébo {number}", rarity, Picture(4, 4, PNG))
    return Finished(made, base64.b64encode(PNG), True)


def number_of(one: Finished | None) -> int | None:
    return None if one is None else int(one.creature.id.removeprefix("mnm_"), 16)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scene()

    asyncio.run(run())


class Shelf:
    """A disk that remembers what was synced away, and forgets nothing: the model of `StockFiles` for many steps."""

    def __init__(self) -> None:
        self.kept: dict[str, Finished] = {}
        self.takes = 0
        self.discarded = 0
        self.broken = False

    def open(self) -> dict[Rarity, list[str]]:
        found: dict[Rarity, list[str]] = {rarity: [] for rarity in RARITIES}
        for name, one in self.kept.items():
            found[one.creature.rarity].append(name)
        return found

    def put(self, one: Finished) -> str:
        if self.broken:
            raise OSError(5, "input/output error")
        self.kept[one.creature.id] = one
        return one.creature.id

    def take(self, names: Sequence[str]) -> list[Finished]:
        if self.broken:
            raise OSError(5, "input/output error")
        self.takes += 1
        return [self.kept.pop(name) for name in names]


def filled(creatures: int) -> Shelf:
    """Return a disk with so many creatures of rarity F: 0, 1, 2 and so on."""
    shelf = Shelf()
    for number in range(creatures):
        shelf.put(creature(number))
    return shelf


def stock_over(files: Files, size: int) -> Stock:
    """Return a stock over a disk with room for `size` creatures of rarity F and for no others; not opened."""
    return Stock({**dict.fromkeys(RARITIES, 0), Rarity.F: size}, files, quiet())


async def opened(creatures: int, size: int) -> tuple[Shelf, Stock]:
    """Return a disk that was `filled`, and the `stock_over` it, opened."""
    shelf = filled(creatures)
    stock = stock_over(shelf, size)
    await stock.open()
    return shelf, stock
