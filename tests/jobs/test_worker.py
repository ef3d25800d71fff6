"""The worker: what it makes of engines that draw, fail, break, hang, and are told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from minimon_server.engines.files import png_size
from minimon_server.engines.messages import Progress
from minimon_server.jobs.ending import NOT_STORED, UNEXPECTED
from minimon_server.jobs.job import State
from minimon_server.jobs.store import Lease
from tests.jobs.scene import Sketcher, VirtualClock, request, until
from tests.jobs.working import Studio, sqlite_store, studio

LEASE = Lease(loading=100.0, drawing=10.0)


@asynccontextmanager
async def opened(folder: Path, engine: Sketcher | None = None) -> AsyncIterator[Studio]:
    clock = VirtualClock()
    store = sqlite_store(folder, clock, lease=LEASE)
    try:
        async with studio(folder, store, clock, engine) as at:
            yield at
    finally:
        store.close()


def play(folder: Path, scene: Callable[[Studio], Awaitable[None]]) -> None:
    async def run() -> None:
        async with opened(folder) as at:
            await scene(at)

    asyncio.run(run())


async def drawing(at: Studio, reports: int = 1) -> None:
    """Return when the engine waits before its next report, after letting it pass `reports` - 1 times."""
    for number in range(reports):
        if number:
            at.engine.gate.release()
        await asyncio.to_thread(at.engine.arrived.acquire)


def test_pictures_are_drawn_on_one_thread_and_stored_with_their_digest(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        first, second = await at.submit(request()), await at.submit(request("other", pictures=3))
        job = await at.ended(first.id)
        assert (job.state, job.attempt, job.pictures[0].name) == (State.SUCCESS, 1, f"{job.id}.1.png")
        assert png_size(await at.jobs.picture(job, job.pictures[0])) == (4, 4)
        several = await at.ended(second.id)
        assert [one.name for one in several.pictures] == [f"{several.id}.1.{number}.png" for number in (1, 2, 3)]
        assert [one.seed for one in several.pictures] == [0, 1, 2]
        assert len(at.engine.threads) == 1
        assert at.jobs.pace.mean() is not None

    play(tmp_path, scene)


def test_what_the_engine_cannot_draw_fails_with_its_own_words(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.ended((await at.submit(request(prompt="fault"))).id)
        assert (job.state, job.error) == (State.FAILURE, "too little memory for this size")
        retried = await at.ended((await at.submit(request(prompt="retry"))).id)
        assert (retried.state, retried.attempt) == (State.SUCCESS, 2)
        assert at.files() == [f"{retried.id}.2.png"]

    play(tmp_path, scene)


def test_an_engine_that_breaks_is_made_anew_and_its_text_stays_here(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.ended((await at.submit(request(prompt="crash"))).id)
        assert (job.state, job.error) == (State.FAILURE, UNEXPECTED)
        assert at.engine.closed == 1
        assert (await at.ended((await at.submit(request())).id)).state is State.SUCCESS

    play(tmp_path, scene)


def test_an_engine_that_reports_nothing_has_made_an_attempt_all_the_same(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.ended((await at.submit(request(prompt="silent"))).id)
        assert (job.state, job.attempt) == (State.SUCCESS, 1)

    play(tmp_path, scene)


def test_a_cancelled_job_stops_within_its_step_and_the_next_is_not_hit(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated"))
        following = await at.submit(request())
        await drawing(at, reports=4)  # loading, begin, step 1; it waits before it reports step 2
        assert (await at.jobs.cancel(job.id)).state is State.REVOKED
        at.engine.gate.release()
        assert (await at.ended(following.id)).state is State.SUCCESS
        assert [one.current for one in at.engine.reports if one.phase == "drawing"][:3] == [0, 1, 2]
        assert at.files() == [f"{following.id}.1.png"]
        assert (await at.ended(job.id)).state is State.REVOKED

    play(tmp_path, scene)


def test_an_engine_that_does_not_stop_when_told_leaves_no_picture(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated stubborn"))
        following = await at.submit(request())
        await drawing(at, reports=3)
        await at.jobs.cancel(job.id)
        for _ in range(10):
            at.engine.gate.release()
        await at.ended(following.id)
        assert at.files() == [f"{following.id}.1.png"]
        assert (await at.ended(job.id)).state is State.REVOKED

    play(tmp_path, scene)


def test_a_hanging_engine_loses_its_job_and_the_job_is_not_lost(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated"))
        await drawing(at, reports=3)
        assert at.worker.is_drawing
        at.clock.seconds += 11
        await at.jobs.sweep()
        found = await at.store.get(job.id)
        assert found is not None
        assert (found.state, found.interrupted) == (State.PENDING, 1)
        assert at.worker.has_lost_its_job
        for _ in range(20):  # it wakes, stops, and takes the job anew
            at.engine.gate.release()
        done = await at.ended(job.id)
        assert (done.state, done.attempt) == (State.SUCCESS, 2)
        assert at.files() == [f"{job.id}.2.png"]
        await until(lambda: not at.worker.has_lost_its_job)

    play(tmp_path, scene)


def test_pictures_that_cannot_be_stored_are_no_success(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        (tmp_path / "outputs").rmdir()
        (tmp_path / "outputs").write_text("not a folder")
        job = await at.ended((await at.submit(request())).id)
        assert (job.state, job.error, job.attempt) == (State.FAILURE, NOT_STORED, 2)

    play(tmp_path, scene)


def test_at_the_end_the_running_job_gets_its_time(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as at:
            job = await at.submit(request(prompt="gated"))
            waiting = await at.submit(request())
            await drawing(at)
            ending = asyncio.create_task(at.jobs.end(60))
            for _ in range(10):
                at.engine.gate.release()
            await ending
            found, left = await at.store.get(job.id), await at.store.get(waiting.id)
            assert found is not None
            assert left is not None
            assert (found.state, left.state) == (State.SUCCESS, State.PENDING)

    asyncio.run(scene())


def test_at_the_end_of_its_time_it_is_given_back_even_by_an_engine_that_does_not_stop(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as at:
            at.worker.stop_seconds = 0
            job = await at.submit(request(prompt="gated stubborn"))
            await drawing(at, reports=3)
            await at.jobs.end(0)
            found = await at.store.get(job.id)
            assert found is not None
            assert (found.state, found.interrupted) == (State.PENDING, 0)

    asyncio.run(scene())


def test_every_step_and_the_preview_are_told(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated"))
        await drawing(at, reports=4)
        await until(lambda: at.jobs.events.latest(job.id)[1] == Progress("drawing", 1, 3))
        running = await at.jobs.get(job.id)
        steps = at.jobs.standing(running).steps
        assert steps is not None
        assert (steps.phase, steps.current, steps.total) == ("drawing", 1, 3)
        for _ in range(10):
            at.engine.gate.release()
        kinds = [event.kind async for event in at.jobs.follow(job.id, None) if event]
        assert kinds.count("step") == 6  # loading, begin, three steps, decoding
        assert kinds.count("preview") == 1
        assert kinds[-1] == "end"

    play(tmp_path, scene)
