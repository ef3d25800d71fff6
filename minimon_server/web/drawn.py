"""`GET /v1/generate` where creatures are drawn: waits with its client, and goes when the client goes. Draws nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from minimon_server.creatures.dice import Dice
from minimon_server.creatures.drawn import DrawnCreatures, Finished
from minimon_server.creatures.hatchery import dice_of_seed
from minimon_server.creatures.sprites import drawn_alone
from minimon_server.creatures.stock import Stock
from minimon_server.errors import GenerationFailed, MinimonError
from minimon_server.web.generate import BARE, Answers, head_of
from minimon_server.web.observe import note
from minimon_server.web.schemas import GenerateQuery
from minimon_server.web.tally import Tally
from minimon_server.web.validation import read_query

Found = TypeVar("Found")


class GenerateDrawn:
    """The endpoint, as a plain ASGI application like the one it stands for."""

    def __init__(
        self, creatures: DrawnCreatures, stock: Stock | None, answers: Answers, dice: Dice, tally: Tally
    ) -> None:
        self._creatures = creatures
        self._stock = stock
        self._answers = answers
        self._dice = dice
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that leaves before has its drawing stopped."""
        query = read_query(scope, GenerateQuery) if scope["query_string"] else BARE
        if sign := query.sign == "1":
            await self._answers.signatory.check()  # before a creature is taken that could not be told
        thrown = self._dice.throw() if query.seed is None else dice_of_seed(query.seed, query.rarity)
        found = self._at_hand(thrown, query)
        if found is None:
            found = await while_connected(receive, self._made(scope, thrown, query))
        if found is None:
            note(scope, gone=True)
            return
        self._tally.remote_names += found.renamed
        head = head_of(found.base64)
        await self._answers.give(
            scope,
            send,
            found.creature,
            head,
            local_name=not found.renamed,
            own_bytes=len(head) + len(found.creature.picture.png),
            sign=sign,
        )

    def _at_hand(self, thrown: bytes, query: GenerateQuery) -> Finished | None:
        if self._stock is None or not _from_stock(query):
            return None
        return self._stock.take(self._creatures.rarity_of(thrown, query.rarity))

    async def _made(self, scope: Scope, thrown: bytes, query: GenerateQuery) -> Finished:
        try:
            if self._stock is not None and _from_stock(query):
                kept = await self._stock.taken(self._creatures.rarity_of(thrown, query.rarity))
                if kept is not None:
                    return kept
            made = await self._drawn(thrown, query)
            self._tally.on_demand[made.creature.rarity] += 1
            return made
        except MinimonError:
            raise
        except Exception as error:
            note(scope, reason=f"{type(error).__name__}: {error}")
            raise GenerationFailed from error

    async def _drawn(self, thrown: bytes, query: GenerateQuery) -> Finished:
        seeded = query.seed is not None
        if query.background == "transparent":
            return await drawn_alone(self._creatures, self._dice, thrown, query.rarity, seeded=seeded)
        return await self._creatures.make(thrown, query.rarity, seeded=seeded)


def _from_stock(query: GenerateQuery) -> bool:
    """Return whether what is kept ready may answer: no seed made it, and it stands before its background."""
    return query.seed is None and query.background is None


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Found]) -> Found | None:
    """Return what the work does, or None when the client has left before; the work is cancelled then."""
    working, watching = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.wait({working, watching})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
