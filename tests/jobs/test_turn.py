"""One job in the engine's hands: what its thread and the event loop may do to each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minimon_server.engines.messages import Progress
from minimon_server.jobs.events import Events
from minimon_server.jobs.job import Fence, Job
from minimon_server.jobs.turn import Turn
from tests.jobs.faulty_store import FaultyStore
from tests.jobs.scene import VirtualClock, at_once, draft, until
from tests.jobs.working import sqlite_store


class SlowToAnswer(FaultyStore):
    """Begins at once, and answers when it is told to."""

    answered = False

    async def begin(self, job_id: str, fence: Fence) -> Job:
        job = await super().begin(job_id, fence)
        await until(lambda: self.answered)
        return job


def test_a_heartbeat_never_shows_the_fence_of_before_the_begin(tmp_path: Path) -> None:
    async def scene() -> None:
        inner = sqlite_store(tmp_path, VirtualClock())
        store = SlowToAnswer(inner)
        await store.accept(draft(1))
        job = await store.claim("w1", None)
        assert job is not None
        turn = Turn(job, store, Events(), at_once)
        beating = asyncio.create_task(turn.beat())
        assert await asyncio.to_thread(turn.report, Progress("loading", 0, 1))
        drawing = asyncio.create_task(asyncio.to_thread(turn.report, Progress("drawing", 0, 3)))
        await until(lambda: inner.known.jobs[job.id].begun)
        turn._moved.set()  # the last report of the loading is heard of only now
        for _ in range(20):
            await asyncio.sleep(0)
        store.answered = True
        assert await drawing
        assert turn.why is None
        beating.cancel()
        inner.close()

    asyncio.run(scene())


def test_a_turn_that_was_stopped_before_it_began_counts_no_attempt(tmp_path: Path) -> None:
    async def scene() -> None:
        store = FaultyStore(sqlite_store(tmp_path, VirtualClock()))
        await store.accept(draft(1))
        job = await store.claim("w1", None)
        assert job is not None
        turn = Turn(job, store, Events(), at_once)
        turn.stop("released")
        turn.stop("revoked")
        assert not await asyncio.to_thread(turn.report, Progress("drawing", 0, 3))
        assert (turn.why, turn.job.attempt) == ("released", 0)
        # While the store is silent, a stop is heard all the same.
        silent = Turn(job, store, Events(), at_once)
        store.faults["begin"] = ["unavailable"] * 1000
        waiting = asyncio.create_task(asyncio.to_thread(silent.report, Progress("drawing", 0, 3)))
        await until(lambda: len(store.faults["begin"]) < 1000)
        silent.stop("released")
        assert not await waiting
        assert silent.job == job
        store.store.close()  # type: ignore[attr-defined] # a store of SQLite

    asyncio.run(scene())


def test_when_the_event_loop_has_ended_the_engine_stops(tmp_path: Path) -> None:
    async def scene() -> Turn:
        store = sqlite_store(tmp_path, VirtualClock())
        await store.accept(draft(1))
        job = await store.claim("w1", None)
        assert job is not None
        store.close()
        return Turn(job, store, Events(), at_once)

    turn = asyncio.run(scene())
    assert not turn.report(Progress("loading", 0, 1))
    assert not turn.report(Progress("drawing", 0, 3))
