"""Who makes the creatures of a server, as its settings have it: pictures of a folder, or a model. Answers nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from minimon_server.beside import cancelled
from minimon_server.creatures.dice import Dice
from minimon_server.creatures.drawn import DrawnCreatures, Finished
from minimon_server.creatures.hatchery import Hatchery, make_hatchery
from minimon_server.creatures.naming import LocalNames, NameSource
from minimon_server.creatures.rarity import Rarity
from minimon_server.creatures.stock import Stock, sizes
from minimon_server.creatures.stock_check import told_of_folder
from minimon_server.creatures.stock_files import StockFiles
from minimon_server.jobs.creature_drawing import CreaturePainter, open_creatures, queue_of
from minimon_server.jobs.drawing import Drawing
from minimon_server.jobs.equipment import find_drawing
from minimon_server.jobs.interactive import Interactive
from minimon_server.logs import Lines, Logger, LogSink
from minimon_server.settings import Settings
from minimon_server.web import stock_metrics
from minimon_server.web.metrics import Source
from minimon_server.web.readiness import Check
from minimon_server.web.tally import Tally


@dataclass(frozen=True, slots=True)
class CreatureParts:
    """Either a hatchery of ready pictures, or what draws, with the painter behind it."""

    hatchery: Hatchery | None = None
    drawn: DrawnCreatures | None = None
    painter: CreaturePainter | None = None
    stock: Stock | None = None

    async def start(self, ending: AsyncExitStack) -> None:
        """Begin what runs beside the requests; `ending` ends it. The warm-up comes before all who ask."""
        if (drawn := self.drawn) is None:
            return
        dice = Dice()
        ending.push_async_callback(cancelled, asyncio.create_task(drawn.warm_up(dice)))
        if (stock := self.stock) is not None:

            async def make(rarity: Rarity) -> Finished:
                return await drawn.make(dice.throw(), rarity, ahead=True)

            ending.push_async_callback(stock.close)
            ending.push_async_callback(cancelled, asyncio.create_task(stock.keep_full(make)))

    def sources(self, tally: Tally) -> Sequence[Source]:
        """Return what tells `/metrics` of drawn creatures and their stock."""
        return [] if self.drawn is None else [stock_metrics.told(self.stock, tally)]

    def check(self) -> Check:
        """Return what `/ready` says of drawn creatures."""
        drawn, painter = self.drawn, self.painter
        if drawn is None or painter is None:
            return Check()
        facts: dict[str, object] = {
            "model": painter.model.id,
            "steps": painter.steps,
            "warm": drawn.is_warm,
            "waiting": painter.queue.waiting,
            "limit": painter.queue.limit,
            "stock": {rarity.value: count for rarity, count in self.stock.counts().items()} if self.stock else 0,
        }
        return Check(facts, drawn.trouble)


def make_creatures(
    settings: Settings, drawing: Drawing, queue: Interactive, names: NameSource, log: Logger
) -> CreatureParts:
    """Return who makes creatures; raise `StartupError` when pictures, words or model are not what they must be."""
    if settings.generation_backend == "files":
        return CreatureParts(make_hatchery(settings))
    drawn, painter = open_creatures(settings, drawing, queue, names, log)
    if not settings.stock:
        return CreatureParts(drawn=drawn, painter=painter)
    wanted = sizes(settings.stock, settings.rarity_weights)
    stock = Stock(wanted, StockFiles(settings.stock_dir, painter.maker, log), log)
    return CreatureParts(drawn=drawn, painter=painter, stock=stock)


def check_creatures(settings: Settings, say: Callable[[str], None]) -> None:
    """Raise `StartupError` with whatever would keep creatures from being made; start nothing, and change nothing.

    `say` hears what the operator should know of the stock.
    """
    if settings.generation_backend == "files":
        make_hatchery(settings)
        return
    descriptor = os.open(os.devnull, os.O_WRONLY)
    sink = LogSink(descriptor)  # what is wrong is told by what is raised
    try:
        log = Lines(sink, level="error", as_json=True).logger()
        drawing = find_drawing(settings, log)
        _, painter = open_creatures(settings, drawing, queue_of(settings, log), LocalNames(), log)
        if settings.stock:
            for line in told_of_folder(settings.stock_dir, StockFiles(settings.stock_dir, painter.maker, log)):
                say(line)
    finally:
        sink.close()
        os.close(descriptor)
