"""Who comes while the stock claims its next block, or as that ends, gets what is there."""

from __future__ import annotations

import asyncio

from minimon_server.creatures.rarity import Rarity
from tests.creatures.shelf import filled, number_of, opened, play, stock_over


def test_who_comes_as_a_claim_ends_gets_what_the_next_one_brings() -> None:
    async def scene() -> None:
        _, stock = await opened(3, 4)
        assert number_of(await stock.taken(Rarity.F)) == 0
        claim = next(iter(stock._claims.values()))
        while not claim.done():  # noqa: ASYNC110 - seen at the turn of the loop at which it ends, before anybody is told
            await asyncio.sleep(0)
        assert [number_of(await stock.taken(Rarity.F)) for _ in range(3)] == [1, 2, None]

    play(scene)


def test_who_comes_during_the_last_claim_waits_for_what_it_brings() -> None:
    async def scene() -> None:
        _, stock = await opened(2, 4)
        assert number_of(stock.take(Rarity.F)) == 0
        await asyncio.sleep(0)  # the claim of the last one is on its way to the disk, where nothing is left
        both = await asyncio.gather(stock.taken(Rarity.F), stock.taken(Rarity.F))
        assert [number_of(one) for one in both] == [1, None]

    play(scene)


def test_a_disk_that_fails_costs_who_asks_one_block_and_not_the_shelf() -> None:
    async def scene() -> None:
        shelf, stock = await opened(16, 8)
        shelf.broken = True
        assert [number_of(await stock.taken(Rarity.F)) for _ in range(3)] == [0, 1, None]
        shelf.broken = False
        assert number_of(await stock.taken(Rarity.F)) is not None
        assert sum(stock.counts().values()) >= 8

    play(scene)


def test_who_comes_while_the_first_blocks_are_claimed_waits_for_them() -> None:
    async def scene() -> None:
        stock = stock_over(filled(1), 4)
        opening = asyncio.create_task(stock.open())
        while Rarity.F not in stock._claims:  # noqa: ASYNC110 - seen before its claim has taken a turn
            await asyncio.sleep(0)
        assert number_of(await stock.taken(Rarity.F)) == 0
        await opening

    play(scene)
