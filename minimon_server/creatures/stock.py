"""Creatures kept ready, by rarity: in memory what may be given out at once, on the disk the rest. Draws none itself.

Those on the disk are claimed in blocks, before anybody asks: giving one out waits for no disk. The claimed ones are
lost in a crash, and given back to the disk at a proper end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from minimon_server.beside import in_thread
from minimon_server.creatures.drawn import Finished, MaybeKept, SetAside
from minimon_server.creatures.rarity import RARITIES, Rarity
from minimon_server.errors import MinimonError
from minimon_server.logs import Logger

PAUSE_SECONDS: Final = 30.0
# What was taken is on its way to a player: whoever draws the next waits until that is sent, not to be in its way.
BREATH_SECONDS: Final = 0.02
CLOSE_SECONDS: Final = 5.0


class Maker(Protocol):
    """Who draws a creature of a rarity when nobody waits. Raises `SetAside` when somebody does after all."""

    async def __call__(self, rarity: Rarity) -> Finished:
        """Return one that nobody has."""


class Files(Protocol):
    """Where creatures are kept; see `StockFiles`. Every method may wait for a disk."""

    @property
    def discarded(self) -> int:
        """How many that were there `open` has thrown away."""

    def open(self) -> dict[Rarity, list[str]]:
        """Return what is there."""

    def put(self, one: Finished) -> str:
        """Keep one."""

    def take(self, names: Sequence[str]) -> list[Finished]:
        """Take some for good."""


def sizes(each: int, weights: Sequence[float]) -> dict[Rarity, int]:
    """Return how many creatures of each rarity are kept: `each` times eight in all, in proportion to the weights.

    At least one of each that can come; none of one with weight 0.
    """
    total = sum(weights)
    return {
        rarity: max(1, round(each * len(RARITIES) * weight / total)) if each and weight > 0 else 0
        for rarity, weight in zip(RARITIES, weights, strict=True)
    }


def block_of(size: int) -> int:
    """Return how many of a shelf of this size are claimed ahead: a quarter, and at least one."""
    return max(1, size // 4) if size else 0


class Stock:
    """Owned by the event loop. `take` gives at once or nothing; `claim` waits for the disk."""

    def __init__(self, wanted: Mapping[Rarity, int], files: Files, log: Logger) -> None:
        self.wanted = dict(wanted)
        self.given = dict.fromkeys(RARITIES, 0)  # from the stock, since the start
        self.refilled = dict.fromkeys(RARITIES, 0)  # drawn for the stock, since the start
        self._files = files
        self._log = log
        self._ready: dict[Rarity, deque[Finished]] = {rarity: deque() for rarity in RARITIES}
        self._kept: dict[Rarity, deque[str]] = {rarity: deque() for rarity in RARITIES}
        self._disk = asyncio.Lock()
        self._claims: dict[Rarity, asyncio.Task[bool]] = {}
        self._changed = asyncio.Event()
        self._closed = False

    async def open(self) -> None:
        """Find what the last process left, and claim the first blocks. Without a disk it goes on in memory."""
        try:
            found = await in_thread(self._files.open, "stock")
        except OSError as error:
            self._log.error("the stock cannot be read; it is kept in memory alone", exception=error)
            return
        for rarity, names in found.items():
            self._kept[rarity].extend(names)
        for rarity in RARITIES:
            await self._claiming(rarity)

    @property
    def discarded(self) -> int:
        """How many creatures of the last process were thrown away at the start."""
        return self._files.discarded

    def counts(self) -> dict[Rarity, int]:
        """Return how many are there, by rarity."""
        return {rarity: len(self._ready[rarity]) + len(self._kept[rarity]) for rarity in RARITIES}

    def take(self, rarity: Rarity) -> Finished | None:
        """Return a creature that nobody else gets, or None when none is at hand; waits for nothing."""
        ready = self._ready[rarity]
        if self._closed or not ready:
            return None
        one = ready.popleft()
        self.given[rarity] += 1
        if self._kept[rarity] and 2 * len(ready) <= block_of(self.wanted[rarity]):
            self._claiming(rarity)
        self._changed.set()
        return one

    async def taken(self, rarity: Rarity) -> Finished | None:
        """Return a creature as `take` does; if none is at hand, after the disk has given what is left there."""
        while (one := self.take(rarity)) is None and not self._closed:
            underway = self._claims.get(rarity)
            if not self._kept[rarity] and (underway is None or underway.done()):
                return None
            # It is for others, too, and outlives who asked. A disk that failed is not asked for the next block.
            if not await asyncio.shield(self._claiming(rarity)):
                return None
        return one

    def _claiming(self, rarity: Rarity) -> asyncio.Task[bool]:
        """Return the claim that is under way, or a new one: one that has ended gives nothing more."""
        underway = self._claims.get(rarity)
        if underway is None or underway.done():
            underway = self._claims[rarity] = asyncio.create_task(self.claim(rarity))
        return underway

    async def claim(self, rarity: Rarity) -> bool:
        """Fill what may be given out to a block, from the disk; return whether that did not fail."""
        async with self._disk:
            kept, ready = self._kept[rarity], self._ready[rarity]
            count = min(len(kept), max(1, block_of(self.wanted[rarity])) - len(ready))
            if count <= 0 or self._closed:
                return True
            names = [kept.popleft() for _ in range(count)]
            try:
                ready.extend(await in_thread(lambda: self._files.take(names), "stock"))
            except OSError as error:
                # Some may be removed, some not, and nobody knows what is on the disk: none of them is given out.
                self._log.error("the stock cannot be claimed from", exception=error, creatures=len(names))
                self._changed.set()
                return False
            self._changed.set()
            return True

    async def add(self, one: Finished) -> None:
        """Keep a new creature: at hand where a block is not full, else on the disk."""
        rarity = one.creature.rarity
        async with self._disk:
            if not self._closed and not self._kept[rarity] and len(self._ready[rarity]) < block_of(self.wanted[rarity]):
                self._ready[rarity].append(one)
                return
            try:
                self._kept[rarity].append(await in_thread(lambda: self._files.put(one), "stock"))
            except MaybeKept as error:
                self._log.error("a creature may lie on the disk or not: it is given to nobody", exception=error)
            except OSError as error:
                self._log.error("a creature cannot be kept on the disk; it stays in memory", exception=error)
                self._ready[rarity].append(one)

    def lacking(self) -> Rarity | None:
        """Return the rarity whose shelf is the emptiest for its size, or None when all are full."""
        counts = self.counts()
        short = [rarity for rarity in RARITIES if counts[rarity] < self.wanted[rarity]]
        return min(short, key=lambda rarity: counts[rarity] / self.wanted[rarity], default=None)

    async def keep_full(self, make: Maker) -> None:
        """Open the stock and fill it, for ever."""
        await self.open()
        await self.fill(make)

    async def fill(self, make: Maker, pause: float = PAUSE_SECONDS) -> None:
        """Draw what is lacking, one after the other, for ever; what fails is told, and tried again after `pause`."""
        while True:
            self._changed.clear()
            rarity = self.lacking()
            if rarity is None:
                await self._changed.wait()
                await asyncio.sleep(BREATH_SECONDS)
                continue
            try:
                await self.add(await make(rarity))
                self.refilled[rarity] += 1
            except SetAside:
                continue  # it is asked for again, and waits until nobody does
            except asyncio.CancelledError:
                raise
            except MinimonError as error:  # nobody draws now, as at the end of the server
                self._log.info("the stock is not filled now", reason=error.detail.en)
                await asyncio.sleep(pause)
            except Exception as error:
                self._log.warning("the stock could not be filled", rarity=rarity, exception=error)
                await asyncio.sleep(pause)

    async def close(self) -> None:
        """Give nothing out any more; put what was claimed back on the disk, if it answers within `CLOSE_SECONDS`."""
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._put_back()
        except TimeoutError:
            self._log.error("the disk of the stock does not answer: what was claimed is lost")

    async def _put_back(self) -> None:
        async with self._disk:
            back = [one for shelf in self._ready.values() for one in shelf]
            for shelf in self._ready.values():
                shelf.clear()
            try:
                await in_thread(lambda: [self._files.put(one) for one in back], "stock")
            except OSError as error:
                self._log.error("creatures at hand could not be put back into the stock", exception=error)
