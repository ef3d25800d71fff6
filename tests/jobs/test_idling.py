"""An engine that nobody uses gives its memory back, at its time and no earlier, and the next job has it again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.idling import Idling
from minimon_server.jobs.job import State
from minimon_server.web import job_faces
from tests.jobs.scene import Sketcher, VirtualClock, quiet, request, until
from tests.jobs.working import sqlite_store, studio


def test_it_is_closed_after_its_minutes_and_comes_back_with_the_next_job(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = VirtualClock()
        store = sqlite_store(tmp_path, clock)
        async with studio(tmp_path, store, clock, idle_seconds=900.0) as at:
            assert job_faces.check(at.jobs).facts["engine"] == "not loaded yet"
            clock.seconds += 5000  # nothing was loaded: there is nothing to give back
            assert (await at.ended((await at.submit(request())).id)).state is State.SUCCESS
            await until(lambda: not at.worker.is_drawing)
            clock.seconds += 899
            await at.worker.idling.look()
            assert (at.engine.closed, job_faces.check(at.jobs).facts["engine"]) == (0, "loaded")
            clock.seconds += 1
            await until(lambda: at.worker.given_back == 1)  # the worker looks by itself
            check = job_faces.check(at.jobs)
            assert (at.engine.closed, at.worker.idling.times) == (1, 1)
            assert check.trouble is None
            assert check.facts["engine"] == "memory given back, nobody asked"
            clock.seconds += 5000
            await at.worker.idling.look()
            assert at.worker.idling.times == 1
            assert (await at.ended((await at.submit(request())).id)).state is State.SUCCESS
            assert job_faces.check(at.jobs).facts["engine"] == "loaded"

    asyncio.run(scene())


def test_zero_minutes_are_never(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = VirtualClock()
        thread = EngineThread(Sketcher)
        await thread.draw(request(), lambda _: True)
        idling = Idling(thread, thread.discard, 0.0, quiet(), clock)
        clock.seconds += 1e9
        await idling.look()
        assert thread.loaded == "tiny"
        thread.end()

    asyncio.run(scene())
