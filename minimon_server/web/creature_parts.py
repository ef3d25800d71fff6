"""Who makes the creatures of a server, as its settings have it: pictures of a folder, or a model. Answers nobody."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass

from minimon_server.creatures.dice import Dice
from minimon_server.creatures.drawn import DrawnCreatures
from minimon_server.creatures.hatchery import Hatchery, make_hatchery
from minimon_server.creatures.naming import NameSource
from minimon_server.creatures.prompts import load_prompts
from minimon_server.jobs.creature_drawing import CreaturePainter, creature_model, open_creatures
from minimon_server.jobs.drawing import Drawing
from minimon_server.jobs.equipment import find_drawing
from minimon_server.jobs.interactive import Interactive
from minimon_server.logs import Lines, Logger, LogSink
from minimon_server.settings import Settings
from minimon_server.web.readiness import Check


@dataclass(frozen=True, slots=True)
class CreatureParts:
    """Either a hatchery of ready pictures, or what draws, with the painter behind it."""

    hatchery: Hatchery | None = None
    drawn: DrawnCreatures | None = None
    painter: CreaturePainter | None = None

    async def start(self, ending: AsyncExitStack) -> None:
        """Begin what runs beside the requests; `ending` ends it."""
        if self.drawn is not None:
            warming = asyncio.create_task(self.drawn.warm_up(Dice()))
            ending.push_async_callback(_cancelled, warming)

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
        }
        return Check(facts, drawn.trouble)


def make_creatures(
    settings: Settings, drawing: Drawing, queue: Interactive, names: NameSource, log: Logger
) -> CreatureParts:
    """Return who makes creatures; raise `StartupError` when pictures, words or model are not what they must be."""
    if settings.generation_backend == "files":
        return CreatureParts(make_hatchery(settings))
    drawn, painter = open_creatures(settings, drawing, queue, names, log)
    return CreatureParts(drawn=drawn, painter=painter)


def check_creatures(settings: Settings) -> None:
    """Raise `StartupError` with whatever would keep creatures from being made; start nothing."""
    if settings.generation_backend == "files":
        make_hatchery(settings)
        return
    load_prompts(settings.prompts_path, settings.prompt_language)
    descriptor = os.open(os.devnull, os.O_WRONLY)
    sink = LogSink(descriptor)  # what is wrong is told by what is raised
    try:
        creature_model(settings, find_drawing(settings, Lines(sink, level="error", as_json=True).logger()))
    finally:
        sink.close()
        os.close(descriptor)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
