"""Creatures are packed on other threads while the engine draws the next; jobs: tests/jobs/test_ending.py."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from minimon_server.creatures.drawn import DrawnCreatures
from minimon_server.creatures.naming import LocalNames
from minimon_server.creatures.prompts import Wording, load_prompts
from minimon_server.creatures.rarity import RarityTable
from minimon_server.engines.messages import DrawnPicture
from tests.jobs.scene import PATIENCE, VirtualClock, request, until
from tests.jobs.working import Studio, sqlite_store, studio
from tests.support import HOME


class Painter:
    """Draws a creature's words on the engine of a studio."""

    def __init__(self, at: Studio) -> None:
        self._at = at

    async def draw(self, wording: Wording, seed: int, *, ahead: bool = False, exact: bool = True) -> DrawnPicture:
        """Return one picture."""
        asked = replace(request(prompt=wording.prompt), seeds=(seed,), exact=exact)
        return await self._at.interactive.draw(asked, ahead=ahead)


def test_the_next_creature_is_drawn_while_the_one_before_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_pack, packing = threading.Event(), threading.Semaphore(0)

    def slow(drawn: DrawnPicture, alone: bool) -> tuple[bytes, bytes]:
        packing.release()
        assert may_pack.wait(PATIENCE)
        return drawn.pixels, b"packed"

    monkeypatch.setattr("minimon_server.creatures.drawn._packed", slow)

    async def scene() -> None:
        clock = VirtualClock()
        store = sqlite_store(tmp_path, clock)
        try:
            async with studio(tmp_path, store, clock) as at:
                prompts = load_prompts(HOME / "minimon" / "prompts.toml", "en")
                made = DrawnCreatures(RarityTable([1] * 8), prompts, Painter(at), LocalNames(), at.worker._log)
                first = asyncio.create_task(made.make(bytes(32)))
                assert await asyncio.to_thread(packing.acquire, timeout=PATIENCE)
                second = asyncio.create_task(made.make(bytes([1]) * 32))
                await until(lambda: len(at.engine.drawn) == 2)
                assert not first.done()
                assert not second.done()
                may_pack.set()
                assert [one.base64 for one in await asyncio.gather(first, second)] == [b"packed"] * 2
        finally:
            may_pack.set()
            store.close()

    asyncio.run(scene())
