"""What the web may do with jobs: accepted, waited for, followed, refused with a reason."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minimon_server.engines.messages import Stack
from minimon_server.errors import Conflict, Gone, IdempotencyMismatch, NotFound, QueueFull, Text
from minimon_server.jobs.errors import EngineUnavailable, JobsUnavailable
from minimon_server.jobs.job import Job, State
from minimon_server.jobs.pace import UNMEASURED_SECONDS, Pace
from minimon_server.jobs.service import Wish
from minimon_server.jobs.store import Bounds
from tests.jobs.scene import PATIENCE, REQUEST, VirtualClock, job_id, request
from tests.jobs.working import Studio, sqlite_store, studio


def play(folder: Path, scene: Callable[[Studio], Awaitable[None]], bounds: Bounds | None = None) -> None:
    async def run() -> None:
        clock = VirtualClock()
        store = sqlite_store(folder, clock, bounds)
        try:
            async with studio(folder, store, clock) as at:
                await scene(at)
        finally:
            store.close()

    asyncio.run(run())


def test_who_waits_gets_the_job_when_it_ends(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated"))
        waiting = asyncio.create_task(at.jobs.wait(job.id, 1000))
        assert (await at.jobs.wait(job.id, 0)).state in (State.PENDING, State.PROGRESS)
        for _ in range(10):
            at.engine.gate.release()
        assert (await waiting).state is State.SUCCESS

    play(tmp_path, scene)


def test_nobody_is_kept_waiting_by_an_end(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated"))
        waiting = asyncio.create_task(at.jobs.wait(job.id, 1000))
        following = asyncio.create_task(kinds(at, job.id))
        await asyncio.to_thread(at.engine.arrived.acquire)
        at.jobs.stop()
        assert not (await waiting).has_ended
        assert "end" not in await following
        with pytest.raises(EngineUnavailable):
            await at.submit(request())

    play(tmp_path, scene)


async def kinds(at: Studio, which: str, after: int | None = None) -> list[str]:
    return [event.kind async for event in at.jobs.follow(which, after) if event]


def test_who_follows_again_hears_only_what_is_new(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request())
        await at.ended(job.id)
        events = [event async for event in at.jobs.follow(job.id, None) if event]
        assert events[-1].data == {"state": "SUCCESS", "error": None}
        again = [event async for event in at.jobs.follow(job.id, events[1].number)]
        assert again == events[2:]
        assert [event async for event in at.jobs.follow(job.id, events[-1].number)] == []
        assert [event async for event in at.jobs.follow(job.id, 10**6)] == []

    play(tmp_path, scene)


def test_nobody_is_waited_for_whose_client_has_gone(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated"))
        looks = iter([False, False, True])

        async def gone() -> bool:
            return next(looks)

        found = await asyncio.wait_for(at.jobs.wait(job.id, 1000, gone), 20)
        assert not found.has_ended

    play(tmp_path, scene)


def test_many_who_follow_hear_each_place_once(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        await at.submit(request(prompt="gated"))
        await asyncio.to_thread(at.engine.arrived.acquire)
        job = await at.submit(request())
        following = [asyncio.create_task(kinds(at, job.id)) for _ in range(3)]
        await asyncio.sleep(0.05)
        following.append(asyncio.create_task(kinds(at, job.id)))
        await asyncio.sleep(0.05)
        for _ in range(10):
            at.engine.gate.release()
        assert [heard.count("position") for heard in await asyncio.gather(*following)] == [1, 1, 1, 1]

    play(tmp_path, scene)


def test_places_and_times_are_told(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        running = await at.submit(request(prompt="gated"))
        await asyncio.to_thread(at.engine.arrived.acquire)
        first, second = await at.submit(request()), await at.submit(request())
        assert at.jobs.standing(await at.jobs.get(running.id)).position is None
        assert [at.jobs.standing(job).position for job in (first, second)] == [1, 2]
        assert at.jobs.standing(second).eta_seconds is None  # nothing was measured yet
        at.jobs.pace.add(REQUEST, 4.0)
        assert [at.jobs.standing(job).eta_seconds for job in (first, second)] == [6.0, 10.0]
        following = asyncio.create_task(kinds(at, second.id))
        await at.jobs.cancel(first.id)
        for _ in range(10):
            at.engine.gate.release()
        heard = await following
        assert heard[0] == "position"
        assert heard[-1] == "end"

    play(tmp_path, scene)


def test_a_full_queue_is_refused_with_the_time_that_jobs_take(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        await at.submit(request(prompt="gated"))
        await asyncio.to_thread(at.engine.arrived.acquire)  # it is claimed, and waits no more
        for _ in range(2):
            await at.submit(request())
        with pytest.raises(QueueFull) as full:
            await at.submit(request())
        assert full.value.headers == {"Retry-After": str(UNMEASURED_SECONDS)}
        assert "your jobs" in full.value.detail.en
        await at.submit(request(), client="bob")
        at.jobs.pace.add(REQUEST, 7.2)
        with pytest.raises(QueueFull) as full:
            await at.submit(request(), client="cid")
        assert full.value.headers == {"Retry-After": "8"}
        assert "your jobs" not in full.value.detail.en

    play(tmp_path, scene, Bounds(waiting=3, waiting_of_client=2))


def test_keys_are_each_clients_own(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(), key="k")
        assert (await at.submit(request(), key="k")).id == job.id
        assert (await at.submit(request(), client="bob", key="k")).id != job.id
        with pytest.raises(IdempotencyMismatch):
            await at.submit(request(prompt="another"), key="k")

    play(tmp_path, scene)


def test_a_key_finds_its_job_while_the_server_ends(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        asked = request()
        job = await at.submit(asked, key="k")
        at.jobs.stop()
        with pytest.raises(EngineUnavailable):
            await at.submit(asked, key="k2")
        found = await at.jobs.find("ann", "k", repr(asked).encode())
        assert found is not None
        assert found.id == job.id
        assert await at.jobs.find("bob", "k", repr(asked).encode()) is None
        with pytest.raises(IdempotencyMismatch):
            await at.jobs.find("ann", "k", b"another")

    play(tmp_path, scene)


def test_what_is_not_there_is_404_what_was_is_410_what_ended_409(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        for ask in (at.jobs.get, at.jobs.cancel):
            with pytest.raises(NotFound):
                await ask(job_id("never"))
        first = await at.ended((await at.submit(request())).id)
        with pytest.raises(Conflict):
            await at.jobs.cancel(first.id)
        (tmp_path / "outputs" / first.pictures[0].name).unlink()
        with pytest.raises(Gone):
            await at.jobs.picture(first, first.pictures[0])
        with pytest.raises(Gone):
            await at.jobs.picture(replace(first, removed=True), first.pictures[0])
        second = await at.ended((await at.submit(request())).id)
        await at.jobs.sweep()
        with pytest.raises(Gone):
            await at.jobs.get(first.id)
        assert at.files() == [second.pictures[0].name]

    play(tmp_path, scene, Bounds(ended=1))


def test_without_an_engine_nothing_is_accepted(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        at.jobs.unavailable = Text("pas de torch", "no torch")
        with pytest.raises(EngineUnavailable, match="no torch"):
            await at.jobs.submit(Wish(REQUEST, "ann", "player", b""))
        at.jobs.unavailable = None

    play(tmp_path, scene)


def test_a_worker_that_breaks_by_a_mistake_of_ours_begins_anew(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        broken, claim = asyncio.Event(), at.store.claim

        async def mistaken(worker: str, loaded: Stack | None) -> Job | None:
            broken.set()
            at.store.claim = claim  # type: ignore[method-assign]
            raise ZeroDivisionError("such a mistake")

        at.store.claim = mistaken  # type: ignore[method-assign]
        await asyncio.wait_for(broken.wait(), PATIENCE)
        assert (await at.ended((await at.submit(request())).id)).state is State.SUCCESS

    play(tmp_path, scene)


def test_the_pace_counts_work() -> None:
    pace = Pace()
    assert (pace.mean(), pace.of(REQUEST), pace.retry_after()) == (None, None, UNMEASURED_SECONDS)
    pace.add(REQUEST, 2.0)
    large = replace(REQUEST, width=512, height=512)
    assert pace.of(large) == 2.0 * 64
    assert pace.of(replace(large, native_size=64)) == 2.0  # drawn as the small one is
    pace.add(replace(REQUEST, steps=9), 6.0)
    assert pace.mean() == 4.0
    assert pace.of(replace(REQUEST, steps=6)) == 4.0
    assert (sum(pace.buckets), pace.total) == (2, 8.0)


def test_a_disk_of_pictures_that_hangs_is_told_and_holds_up_no_job(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.ended((await at.submit(request())).id)
        (at.folder / "outputs" / job.pictures[0].name).unlink()
        os.mkfifo(at.folder / "outputs" / job.pictures[0].name)  # whoever opens it waits for ever
        at.jobs._reading.patience = 0.05
        for _ in range(10):
            with pytest.raises(JobsUnavailable):
                await at.jobs.picture(job, job.pictures[0])
        assert (await at.ended((await at.submit(request("other"))).id)).state is State.SUCCESS

    play(tmp_path, scene)
