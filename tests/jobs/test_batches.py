"""Who waits at once is drawn at once: how many calls of the engine that takes, and that each has an end of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines.messages import Deliver, DrawRequest, EngineFault, NotNow, Report
from minimon_server.jobs import interactive
from minimon_server.jobs.interactive import BROKEN, IN_A_ROW
from tests.jobs.scene import Sketcher, VirtualClock, request, until
from tests.jobs.working import Studio, draw, sqlite_store, studio

Scene = Callable[[Studio], Awaitable[None]]


def play(folder: Path, scene: Scene, engine: Sketcher | None = None, batch: int = 8) -> None:
    async def run() -> None:
        clock = VirtualClock()
        store = sqlite_store(folder, clock)
        try:
            async with studio(folder, store, clock, engine) as at:
                at.interactive.batch = batch
                await scene(at)
        finally:
            store.close()

    asyncio.run(run())


async def held(at: Studio) -> None:
    """Return when the engine waits before a report."""
    await asyncio.to_thread(at.engine.arrived.acquire)


def let_all_pass(at: Studio, times: int = 60) -> None:
    for _ in range(times):
        at.engine.gate.release()


def test_players_who_ask_at_once_are_drawn_in_as_few_calls_as_fit(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        await asyncio.gather(*(draw(at, f"creature {number}") for number in range(10)))
        assert at.engine.calls == [4, 4, 2]

    play(tmp_path, scene, batch=4)


def test_a_batch_is_no_larger_than_the_share_of_the_jobs_allows(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        first = await at.submit(request(prompt="gated"))
        await held(at)
        second = await at.submit(request(prompt="a second job"))
        creatures = [draw(at, f"creature {number}") for number in range(IN_A_ROW + 2)]
        await until(lambda: at.interactive.waiting == IN_A_ROW + 2)
        let_all_pass(at)
        await asyncio.gather(*creatures)
        for job in (first, second):
            await at.ended(job.id)
        jobs = [number for number, one in enumerate(at.engine.drawn) if "creature" not in one.prompt]
        assert (jobs, at.engine.calls) == ([0, 1 + IN_A_ROW], [6, 2, 2])

    play(tmp_path, scene, batch=6)


def test_one_who_is_alone_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "WINDOW_SECONDS", 1e6)

    async def scene(at: Studio) -> None:
        for _ in range(3):
            await draw(at)
        assert at.engine.calls == [1, 1, 1]

    play(tmp_path, scene)


def test_who_comes_just_after_others_is_given_time_to_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactive, "WINDOW_SECONDS", 1e6)

    async def scene(at: Studio) -> None:
        await asyncio.gather(*(draw(at) for _ in range(4)))
        first = draw(at)
        await until(lambda: at.interactive.waiting == 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert at.engine.calls == [4]
        await asyncio.gather(first, *(draw(at) for _ in range(3)))
        assert at.engine.calls == [4, 4]
        job = await at.submit(request(prompt="a job"))
        await at.ended(job.id)  # the worker knows by now when the others were done: they were told before
        at.clock.seconds += 1
        await draw(at)  # the others are gone for so long that nobody is waited for
        assert at.engine.calls == [4, 4, 1]

    play(tmp_path, scene, batch=4)


def test_only_what_can_be_drawn_side_by_side_is(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        asked: list[dict[str, Any]] = [{}, {"width": 128}, {}, {"model": "other"}, {"width": 128}]
        await asyncio.gather(*(draw(at, f"creature {number}", **one) for number, one in enumerate(asked)))
        assert at.engine.calls == [2, 2, 1]
        assert [one.prompt[-1] for one in at.engine.drawn] == ["0", "2", "1", "4", "3"]

    play(tmp_path, scene)


def test_who_leaves_a_batch_costs_no_other_anything(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        draws = [draw(at, f"gated {number}") for number in range(3)]
        await held(at)
        draws[1].cancel()
        await asyncio.wait({draws[1]})
        let_all_pass(at)
        await asyncio.gather(draws[0], draws[2])
        assert [one.prompt for one in at.engine.drawn] == ["gated 0", "gated 2"]
        assert at.engine.calls == [3]

    play(tmp_path, scene)


def test_what_one_of_a_batch_cannot_have_costs_no_other_anything(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        failing, fine = draw(at, "fault"), draw(at)
        with pytest.raises(EngineFault, match="too little memory"):
            await failing
        await fine
        assert at.engine.calls == [2]

    play(tmp_path, scene)


def test_when_one_of_a_batch_breaks_the_engine_the_others_are_drawn(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        draws = [draw(at, "first"), draw(at, "crash"), draw(at, "third"), draw(at, "fourth")]
        found = await asyncio.gather(*draws, return_exceptions=True)
        assert [isinstance(one, EngineFault) and one.text == BROKEN for one in found] == [False, True, False, False]
        assert at.engine.calls == [4, 1, 1, 1]
        await until(lambda: at.engine.closed == 2)

    play(tmp_path, scene)


def test_what_there_was_no_room_for_is_drawn_next_and_alone(tmp_path: Path) -> None:
    class Narrow(Sketcher):
        def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
            if len(requests) == 1:
                super().draw_together(requests, reports, deliver)
                return
            self.calls.append(len(requests))
            for index in range(len(requests)):
                deliver(index, NotNow())

    async def scene(at: Studio) -> None:
        await asyncio.gather(draw(at, "first"), draw(at, "second"))
        assert at.engine.calls == [2, 1, 1]

    play(tmp_path, scene, Narrow())
