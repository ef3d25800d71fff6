"""How jobs end: their pictures stored while the next is drawn, and what a mistake, a slow disk or the end cost then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

from minimon_server.engines.messages import DrawnPicture, Stack
from minimon_server.jobs.ending import UNEXPECTED
from minimon_server.jobs.job import Job, PictureFile, State
from tests.jobs.scene import PATIENCE, request, until
from tests.jobs.test_worker import LEASE, drawing, opened, play
from tests.jobs.working import Studio


def stuck_disk(at: Studio) -> threading.Event:
    """Let no picture be written until the event is set."""
    may_write = threading.Event()

    def stuck(*_: object) -> tuple[PictureFile, ...]:
        assert may_write.wait(PATIENCE)
        return ()

    at.pictures.write = stuck  # type: ignore[method-assign, assignment]
    return may_write


def test_the_next_job_is_drawn_while_pictures_are_stored_and_mistakes_there_hit_one_job_alone(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        write, may_write = at.pictures.write, threading.Event()

        def slow(job: Job, pictures: Sequence[DrawnPicture]) -> tuple[PictureFile, ...]:
            assert may_write.wait(PATIENCE)
            if job.request.prompt == "unpackable":
                raise ValueError("no such colour")
            return write(job, pictures)

        at.pictures.write = slow  # type: ignore[method-assign]
        first, second = await at.submit(request(prompt="unpackable")), await at.submit(request(prompt="gated"))
        await drawing(at, reports=2)  # the second is drawn, the first has not ended
        assert (await at.jobs.get(first.id)).state is State.PROGRESS
        may_write.set()
        broken = await at.ended(first.id)
        assert (broken.state, broken.error) == (State.FAILURE, UNEXPECTED)
        for _ in range(10):
            at.engine.gate.release()
        assert (await at.ended(second.id)).state is State.SUCCESS
        assert at.files() == [f"{second.id}.1.png"]

    play(tmp_path, scene)


def test_at_the_end_a_job_whose_pictures_cannot_be_stored_yet_is_given_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as at:
            at.worker.stop_seconds = 0
            may_write = stuck_disk(at)
            job = await at.submit(request())
            await until(lambda: bool(at.engine.drawn))
            await until(lambda: not at.worker.is_drawing)
            await at.jobs.end(0)
            may_write.set()
            found = await at.store.get(job.id)
            assert found is not None
            assert (found.state, found.interrupted) == (State.PENDING, 0)

    asyncio.run(scene())


def test_pictures_that_are_still_packed_for_a_job_that_was_given_back_hold_up_no_end(tmp_path: Path) -> None:
    may_write, has_written = threading.Event(), threading.Event()

    def slow(*_: object) -> tuple[PictureFile, ...]:
        may_write.wait(PATIENCE)
        has_written.set()
        return ()

    async def scene() -> None:
        async with opened(tmp_path) as at:
            at.worker.stop_seconds = 0
            at.pictures.write = slow  # type: ignore[method-assign, assignment]
            await at.submit(request())
            await until(lambda: bool(at.engine.drawn))
            await until(lambda: not at.worker.is_drawing)
            await at.jobs.end(0)

    asyncio.run(scene())
    assert not has_written.is_set()
    may_write.set()


def test_at_the_end_a_drawn_job_that_waits_for_the_storing_of_the_one_before_is_given_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with opened(tmp_path) as at:
            at.worker.stop_seconds = 0
            may_write = stuck_disk(at)
            jobs = [await at.submit(request()), await at.submit(request())]
            await until(lambda: len(at.engine.drawn) == 2)
            await until(lambda: not at.worker.is_drawing)
            await at.jobs.end(0)
            may_write.set()
            for job in jobs:
                found = await at.store.get(job.id)
                assert found is not None
                assert (found.state, found.begun, found.interrupted) == (State.PENDING, False, 0)

    asyncio.run(scene())


def test_a_mistake_of_ours_between_two_jobs_costs_none_of_them_and_the_work_goes_on(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        write, may_write, claim = at.pictures.write, threading.Event(), at.store.claim
        broken = asyncio.Event()

        def slow(job: Job, pictures: Sequence[DrawnPicture]) -> tuple[PictureFile, ...]:
            assert may_write.wait(PATIENCE)
            return write(job, pictures)

        async def mistaken(worker: str, loaded: Stack | None) -> Job | None:
            if at.engine.drawn and not broken.is_set():
                broken.set()
                raise ZeroDivisionError("such a mistake")
            return await claim(worker, loaded)

        at.pictures.write, at.store.claim = slow, mistaken  # type: ignore[method-assign]
        first = await at.submit(request())
        await asyncio.wait_for(broken.wait(), PATIENCE)
        may_write.set()
        assert (await at.ended(first.id)).state is State.SUCCESS
        for _ in range(2):
            assert (await at.ended((await at.submit(request())).id)).state is State.SUCCESS

    play(tmp_path, scene)


def test_what_is_drawn_is_not_taken_for_a_hanging_engine_while_its_pictures_are_stored(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        write, may_write = at.pictures.write, threading.Event()

        def slow(job: Job, pictures: Sequence[DrawnPicture]) -> tuple[PictureFile, ...]:
            assert may_write.wait(PATIENCE)
            return write(job, pictures)

        at.pictures.write = slow  # type: ignore[method-assign]
        jobs = [await at.submit(request()), await at.submit(request())]
        await until(lambda: len(at.engine.drawn) == 2)  # the second waits for the storing of the first
        await until(lambda: not at.worker.is_drawing)
        leases = at.store._leases  # type: ignore[attr-defined]
        for _ in range(3):
            at.clock.seconds += LEASE.drawing - 1
            await until(lambda: all(leases[job.id] == at.clock.seconds + LEASE.drawing for job in jobs))
            await at.jobs.sweep()
        may_write.set()
        done = [await at.ended(job.id) for job in jobs]
        assert [(job.state, job.attempt) for job in done] == [(State.SUCCESS, 1)] * 2

    play(tmp_path, scene)
