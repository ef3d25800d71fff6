"""An engine that nobody uses gives its memory back, at its time and no earlier, and the next job has it again."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from minimon_server.engines.messages import Stack
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.idling import Idling
from minimon_server.jobs.job import State
from minimon_server.logs import Lines, LogSink
from minimon_server.web import job_faces
from tests.jobs.scene import STACKED, Sketcher, VirtualClock, quiet, request, until
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
            assert (check.facts["engine"], check.facts["loaded"]) == ("memory given back, nobody asked", None)
            clock.seconds += 5000
            await at.worker.idling.look()
            assert at.worker.idling.times == 1
            assert (await at.ended((await at.submit(STACKED)).id)).state is State.SUCCESS
            facts = job_faces.check(at.jobs).facts
            assert (facts["engine"], facts["loaded"]) == ("loaded", "tiny+style-anime:0.75")

    asyncio.run(scene())


def test_the_log_tells_what_was_loaded(tmp_path: Path) -> None:
    sink = LogSink(os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY))

    async def scene() -> None:
        clock = VirtualClock()
        thread = EngineThread(Sketcher)
        await thread.draw(STACKED, lambda _: True)
        idling = Idling(thread, thread.discard, 60.0, Lines(sink, level="info", as_json=True).logger(), clock)
        clock.seconds += 60
        await idling.look()
        thread.end()

    asyncio.run(scene())
    sink.close()
    (line,) = [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert (line["model"], line["idle_seconds"]) == ("tiny+style-anime:0.75", 60)


def test_zero_minutes_are_never(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = VirtualClock()
        thread = EngineThread(Sketcher)
        await thread.draw(request(), lambda _: True)
        idling = Idling(thread, thread.discard, 0.0, quiet(), clock)
        clock.seconds += 1e9
        await idling.look()
        assert thread.loaded == Stack("tiny")
        thread.end()

    asyncio.run(scene())
