"""The parts of jobs put together on this machine's disk. Starts nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from minimon_server.engines.on_demand import pack, read_picture
from minimon_server.jobs.drawing import Drawing
from minimon_server.jobs.engine_thread import EngineThread
from minimon_server.jobs.events import Events
from minimon_server.jobs.input_files import InputFiles
from minimon_server.jobs.inputs import Inputs
from minimon_server.jobs.interactive import Interactive
from minimon_server.jobs.job import Job
from minimon_server.jobs.journal import Journal
from minimon_server.jobs.pictures import PictureStore
from minimon_server.jobs.recovery import sweep_orphans
from minimon_server.jobs.service import Jobs
from minimon_server.jobs.sqlite_store import SqliteStore
from minimon_server.jobs.store import Bounds, Lease
from minimon_server.jobs.worker import Worker
from minimon_server.logs import Logger
from minimon_server.settings import Settings


def open_jobs(settings: Settings, drawing: Drawing, log: Logger, interactive: Interactive | None = None) -> Jobs:
    """Return the service of jobs as the settings have it; raise `StartupError` when its files cannot be used.

    `interactive` are the drawings that the same worker makes besides.
    """
    bounds = Bounds(
        waiting=settings.queue_limit,
        waiting_of_client=settings.queue_limit_per_client,
        ended=settings.history_limit,
        ended_seconds=settings.history_days * 86_400.0,
        picture_bytes=settings.output_megabytes << 20,
    )
    lease = Lease(loading=settings.load_timeout, drawing=settings.step_timeout)
    idle = settings.idle_minutes * 60.0
    return put_together(settings.jobs_path, settings.output_dir, drawing, log, bounds, lease, idle, interactive)


def put_together(
    journal_path: Path,
    folder: Path,
    drawing: Drawing,
    log: Logger,
    bounds: Bounds,
    lease: Lease,
    idle_seconds: float = 0.0,
    interactive: Interactive | None = None,
) -> Jobs:
    """Open the journal and the image store, mend what the last process left, and return the service.

    Where nobody draws, nothing is made on the disk; jobs that are there from better times can still be asked for.
    Raises `StartupError`.
    """
    path = journal_path if drawing.unavailable is None or journal_path.exists() else None
    pictures = PictureStore(folder, pack)
    if drawing.unavailable is None:
        pictures.prepare()
    journal = Journal(path)
    store = SqliteStore(journal, log, bounds=bounds, lease=lease)
    sweep_orphans(journal, store.known.jobs, pictures, log)
    inputs = Inputs(_input_files(journal_path, store.known.jobs.values(), bounds, log), read_picture, log)
    events = Events()
    engine, name = EngineThread(drawing.make_engine), secrets.token_hex(8)
    worker = Worker(
        store, pictures, inputs, events, engine, log, name=name, idle_seconds=idle_seconds, interactive=interactive
    )
    return Jobs(store, pictures, inputs, events, worker, log, unavailable=drawing.unavailable, close=store.close)


def _input_files(journal_path: Path, jobs: Iterable[Job], bounds: Bounds, log: Logger) -> InputFiles:
    """Open the folder of the pictures that jobs begin with. It stands beside the journal, whose lock is its own, too.

    It may hold as much as the drawn pictures may, besides them.
    """
    files = InputFiles(journal_path.with_name(journal_path.name + ".inputs"), bounds.picture_bytes)
    named = {picture.digest for job in jobs if not job.has_ended for picture in job.request.inputs}
    if removed := files.open(named):
        log.info("pictures that no job needs were removed", pictures=removed)
    return files
