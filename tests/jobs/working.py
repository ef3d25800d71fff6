"""Store, image store, worker and service around a hand-written engine, as tests need them. Tests nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.on_demand import pack, read_picture
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.events import Events
from minimon_server.jobs.input_files import InputFiles
from minimon_server.jobs.inputs import Inputs
from minimon_server.jobs.interactive import Interactive
from minimon_server.jobs.job import Job
from minimon_server.jobs.journal import Journal
from minimon_server.jobs.pictures import PictureStore
from minimon_server.jobs.service import Jobs, Wish
from minimon_server.jobs.sqlite_store import SqliteStore
from minimon_server.jobs.store import Bounds, JobStore, Lease
from minimon_server.jobs.worker import Worker
from tests.jobs.scene import PATIENCE, Sketcher, VirtualClock, at_once, quiet, request, until


@dataclass
class Studio:
    """One server's jobs, without the web."""

    jobs: Jobs
    store: JobStore
    engine: Sketcher
    worker: Worker
    pictures: PictureStore
    clock: VirtualClock
    folder: Path
    interactive: Interactive

    async def submit(self, asked: DrawRequest, client: str = "ann", key: str | None = None) -> Job:
        """Submit a job as the web does."""
        return await self.jobs.submit(Wish(asked, client, "player", repr(asked).encode(), key))

    async def ended(self, which: str) -> Job:
        """Return a job once it has ended."""
        return await ended(self.store, which)

    def files(self) -> list[str]:
        """Return the names of all files in the image store."""
        return sorted(path.name for path in (self.folder / "outputs").iterdir())


def draw(at: Studio, prompt: str = "a creature", *, ahead: bool = False, **changes: Any) -> asyncio.Task[object]:
    """Ask for a creature, as somebody does who waits for it on a connection."""
    return asyncio.create_task(at.interactive.draw(request(prompt=prompt, **changes), ahead=ahead))


async def ended(store: JobStore, which: str) -> Job:
    """Return a job once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while (job := await store.get(which)) is None or not job.has_ended:
        assert time.monotonic() < deadline, f"it never ended: {job}"
        await asyncio.sleep(0.001)
    return job


def sqlite_store(
    folder: Path, clock: VirtualClock, bounds: Bounds | None = None, lease: Lease | None = None
) -> SqliteStore:
    """Open the journal in `folder`."""
    journal = Journal(folder / "jobs.sqlite")
    return SqliteStore(journal, quiet(), bounds=bounds, lease=lease, clock=clock, monotonic=clock)


@asynccontextmanager
async def studio(
    folder: Path,
    store: JobStore,
    clock: VirtualClock,
    engine: Sketcher | None = None,
    idle_seconds: float = 0.0,
    most_visits: int = 64,
) -> AsyncIterator[Studio]:
    """Start worker and service around a store, and end them."""
    drawing = engine or Sketcher()
    pictures = PictureStore(folder / "outputs", pack)
    pictures.prepare()
    inputs = Inputs(InputFiles(folder / "inputs", 1 << 20), read_picture, quiet())
    events, interactive = Events(), Interactive(quiet(), most=most_visits, monotonic=clock)
    thread = EngineThread(lambda: drawing)
    worker = Worker(
        store,
        pictures,
        inputs,
        events,
        thread,
        quiet(),
        name="w1",
        pause=at_once,
        idle_seconds=idle_seconds,
        monotonic=clock,
        interactive=interactive,
    )
    jobs = Jobs(store, pictures, inputs, events, worker, quiet())
    jobs.start()
    try:
        yield Studio(jobs, store, drawing, worker, pictures, clock, folder, interactive)
    finally:
        ending = asyncio.create_task(jobs.end(0))
        await until(lambda: not worker.is_drawing)
        for _ in range(1000):  # whatever still waits at a gate may pass, now that it was told to stop
            drawing.gate.release()
        await ending
        assert thread.join(PATIENCE)
