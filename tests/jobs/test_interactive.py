"""Drawings that somebody waits for: their place among jobs, their bounds, and every end that they can come to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from minimon_server.creatures.drawn import SetAside
from minimon_server.engines.messages import EngineFault, EngineLost, Progress, Reply
from minimon_server.jobs.errors import EngineUnavailable
from minimon_server.jobs.interactive import BROKEN, IN_A_ROW, PlayersWait
from minimon_server.jobs.job import State
from tests.jobs.scene import Sketcher, VirtualClock, request, until
from tests.jobs.working import Studio, draw, sqlite_store, studio

Scene = Callable[[Studio], Awaitable[None]]


def play(folder: Path, scene: Scene, engine: Sketcher | None = None, most: int = 64) -> None:
    async def run() -> None:
        clock = VirtualClock()
        store = sqlite_store(folder, clock)
        try:
            async with studio(folder, store, clock, engine, most_visits=most) as at:
                at.interactive.batch = 1  # what several at once come to: test_batches.py
                await scene(at)
        finally:
            store.close()

    asyncio.run(run())


async def held(at: Studio) -> None:
    """Return when the engine waits before a report."""
    await asyncio.to_thread(at.engine.arrived.acquire)


def lost(at: Studio) -> bool:
    return at.worker.has_lost_its_job


def let_all_pass(at: Studio, times: int = 40) -> None:
    for _ in range(times):
        at.engine.gate.release()


def test_a_creature_is_drawn_on_the_engine_of_the_jobs_and_leaves_no_record(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.ended((await at.submit(request())).id)
        picture = await at.interactive.draw(request(prompt="a creature"))
        assert (picture.width, picture.height, picture.metadata["prompt"]) == (4, 4, "a creature")
        assert len(at.engine.threads) == 1
        assert at.engine.closed == 0
        assert [one.id for one in await at.store.list(10, frozenset(State))] == [job.id]
        assert at.files() == [f"{job.id}.1.png"]

    play(tmp_path, scene)


def test_who_waits_goes_before_the_next_job_and_jobs_get_their_share(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        first = await at.submit(request(prompt="gated"))
        await held(at)
        second = await at.submit(request(prompt="a second job"))
        creatures = [draw(at, f"creature {number}") for number in range(IN_A_ROW + 2)]
        await until(lambda: at.interactive.waiting == IN_A_ROW + 2)
        let_all_pass(at)
        await asyncio.gather(*creatures)
        for job in (first, second):
            assert (await at.ended(job.id)).state is State.SUCCESS
        prompts = [one.prompt for one in at.engine.drawn]
        early = [f"creature {number}" for number in range(IN_A_ROW)]
        late = [f"creature {number}" for number in range(IN_A_ROW, IN_A_ROW + 2)]
        assert prompts == ["gated", *early, "a second job", *late]

    play(tmp_path, scene)


def test_no_more_wait_than_may(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        running = draw(at, "gated")
        await held(at)
        waiting = [draw(at), draw(at)]
        await until(lambda: at.interactive.waiting == 2)
        with pytest.raises(PlayersWait) as caught:
            await at.interactive.draw(request())
        assert caught.value.status == 429
        assert caught.value.code == "QUEUE_FULL"
        assert int(caught.value.headers["Retry-After"]) >= 1
        assert "2 creatures" in caught.value.detail.en
        let_all_pass(at)
        await asyncio.gather(running, *waiting)

    play(tmp_path, scene, most=2)


def test_who_leaves_frees_the_place_and_stops_the_engine_within_its_step(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        running, waiting = draw(at, "gated"), draw(at, "never drawn")
        await held(at)
        await until(lambda: at.interactive.waiting == 1)
        running.cancel()
        waiting.cancel()
        await asyncio.wait({running, waiting})
        assert at.interactive.waiting == 0
        let_all_pass(at, 1)
        assert (await at.ended((await at.submit(request(prompt="a job"))).id)).state is State.SUCCESS
        assert [one.prompt for one in at.engine.drawn] == ["a job"]

    play(tmp_path, scene)


def test_what_the_engine_cannot_draw_is_told_to_who_waits_and_to_nobody_else(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        failing, fine = draw(at, "fault"), draw(at, "a creature")
        with pytest.raises(EngineFault, match="too little memory"):
            await failing
        await fine
        with pytest.raises(EngineFault, match=BROKEN):
            await draw(at, "crash")
        await until(lambda: at.engine.closed == 1)
        await draw(at, "a creature")

    play(tmp_path, scene)


def test_what_is_made_ahead_waits_for_all_and_is_set_aside_for_any(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        ahead = draw(at, "gated ahead", ahead=True)
        await held(at)
        job = await at.submit(request(prompt="a job"))
        with pytest.raises(SetAside):
            await asyncio.gather(ahead, released(at))
        assert (await at.ended(job.id)).state is State.SUCCESS
        again = draw(at, "gated ahead", ahead=True)
        await held(at)
        creature = draw(at, "a creature")
        with pytest.raises(SetAside):
            await asyncio.gather(again, released(at))
        await creature
        await draw(at, "in peace", ahead=True)
        assert [one.prompt for one in at.engine.drawn] == ["a job", "a creature", "in peace"]

    async def released(at: Studio) -> None:
        (visit,) = at.interactive._now
        await until(visit._stop.is_set)
        let_all_pass(at, 1)

    play(tmp_path, scene)


def test_an_engine_that_is_lost_takes_no_more(tmp_path: Path) -> None:
    class Lost(Sketcher):
        def _misbehave(self, request: object) -> None:
            raise EngineLost("the device is gone")

    async def scene(at: Studio) -> None:
        first, second = draw(at), draw(at)
        with pytest.raises(EngineLost):
            await first
        with pytest.raises(EngineUnavailable):
            await second
        assert at.worker.loss.reason is not None
        with pytest.raises(EngineUnavailable):
            await at.interactive.draw(request())

    play(tmp_path, scene, Lost())


def test_an_engine_that_shows_no_progress_hangs(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        running = draw(at, "gated")
        await held(at)  # loading
        at.clock.seconds += 301
        assert not lost(at)
        at.engine.gate.release()
        await held(at)  # before the first step
        at.engine.gate.release()
        await held(at)
        at.clock.seconds += 299
        assert not lost(at)
        at.clock.seconds += 2
        assert lost(at)
        let_all_pass(at)
        await running
        assert not lost(at)

    play(tmp_path, scene)


def test_who_came_before_the_end_is_served_and_who_comes_after_is_not(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        running, waiting = draw(at, "gated"), draw(at, "a creature")
        await held(at)
        await until(lambda: at.interactive.waiting == 1)
        ending = asyncio.create_task(at.jobs.end(20))
        await until(lambda: at.jobs.is_ending)
        with pytest.raises(EngineUnavailable):
            await at.interactive.draw(request())
        let_all_pass(at)
        await asyncio.gather(running, waiting, ending)

    play(tmp_path, scene)


def test_the_end_of_the_grace_turns_away_who_still_waits(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        running, waiting = draw(at, "gated"), draw(at, "a creature")
        await held(at)
        ending = asyncio.create_task(at.jobs.end(0))
        for one in (running, waiting):
            with pytest.raises(EngineUnavailable):
                await one
        let_all_pass(at)
        await ending
        assert at.engine.drawn == []

    play(tmp_path, scene)


def test_a_report_says_go_on_until_it_is_stopped(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        draws = draw(at, "gated")
        await held(at)
        (visit,) = at.interactive._now
        assert visit.report(Progress("loading", 0, 1)) is Reply.GO_ON
        visit.stop()
        assert visit.report(Progress("drawing", 0, 1)) is Reply.STOP
        let_all_pass(at)
        with pytest.raises(EngineUnavailable):
            await draws

    play(tmp_path, scene)
