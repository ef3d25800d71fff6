"""What several tests need: small real PNG files, an application around them, a log that can be read back."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from minimon_server.creatures.hatchery import make_hatchery
from minimon_server.creatures.naming import LocalNames
from minimon_server.environment import read_settings
from minimon_server.errors import Text
from minimon_server.jobs.drawing import Drawing, nobody_draws
from minimon_server.jobs.opening import open_jobs
from minimon_server.logs import Lines, LogSink
from minimon_server.settings import Settings
from minimon_server.web import job_faces
from minimon_server.web.app import make_app
from minimon_server.web.readiness import Readiness, usual
from minimon_server.web.tally import Tally

HOME = Path(__file__).resolve().parent.parent


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def small_png(shade: int, side: int = 4) -> bytes:
    """Return a whole grey PNG of side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = (b"\0" + bytes([shade]) * side) * side
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def write_pictures(folder: Path, count: int = 6) -> Path:
    """Fill a folder with `count` different pictures under the default names."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"image_{index:02d}.png").write_bytes(small_png(index * 20))
    return folder


def settings_for(folder: Path, **environ: str) -> Settings:
    """Return settings whose files all stand in `folder`, changed by `environ`."""
    return read_settings(environ, home=folder, here=folder)


@dataclass(frozen=True)
class Bench:
    """An application with a client, and what it has logged so far."""

    app: Starlette
    client: TestClient
    lines: Callable[[], list[dict[str, Any]]]
    text: Callable[[], str]
    edge_lines: Lines
    tally: Tally


@contextmanager
def app_under_test(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    client: tuple[str, int] = ("192.0.2.1", 50000),
    drawing: Drawing | None = None,
) -> Iterator[Bench]:
    """Build the real application over real pictures and a real log file; without `drawing` it draws no prompts."""
    write_pictures(folder / "minimon")
    settings = settings_for(folder, **(environ or {}))
    path = folder / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sink = LogSink(descriptor)
    log = Lines(sink, level=settings.log_level, as_json=settings.log_json, secrets=settings.secrets)
    hatchery = make_hatchery(settings)
    drawing = drawing or nobody_draws(Text("Personne ne dessine.", "Nobody draws."))
    jobs = open_jobs(settings, drawing, log.logger())
    ready = Readiness(usual(settings, hatchery, LocalNames()))
    ready.add("jobs", lambda: job_faces.check(jobs))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        jobs.start()
        try:
            yield
        finally:
            await jobs.end(0)

    tally = Tally()
    sources, faces = [job_faces.told(jobs, drawing)], job_faces.faces(jobs, drawing)
    app = make_app(settings, hatchery, log, lifespan=lifespan, ready=ready, sources=sources, faces=faces, tally=tally)

    def text() -> str:
        sink.flush()
        return path.read_text("utf-8")

    def entries() -> list[dict[str, Any]]:
        return [json.loads(line) for line in text().splitlines()]

    try:
        with TestClient(app, client=client, base_url="https://testserver") as test_client:
            yield Bench(app, test_client, entries, text, log, tally)
    finally:
        sink.close()
        os.close(descriptor)
