"""What the tests of jobs share: a virtual clock, requests, drafts, and a hand-written engine that draws real PNGs."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

from minimon_server.engines.messages import (
    NO_INPUTS,
    AdapterUse,
    Deliver,
    Drawn,
    DrawnPicture,
    DrawRequest,
    EngineFault,
    Progress,
    Report,
    Stack,
    Stopped,
)
from minimon_server.engines.one_by_one import one_by_one
from minimon_server.engines.picture_metadata import describe
from minimon_server.jobs.job import Draft, Job, PictureFile, Priority
from minimon_server.logs import Lines, Logger, LogSink
from tests.support import small_png

PATIENCE = 20.0
MADE_BY = {"scheduler_class": "None", "versions": {"minimon": "0"}}
REQUEST = DrawRequest(
    model="tiny",
    prompt="a dragon",
    negative_prompt="",
    seeds=(7,),
    width=64,
    height=64,
    steps=3,
    guidance_scale=7.5,
)


class VirtualClock:
    """Time that passes when a test says so, for records and for leases."""

    def __init__(self, seconds: float = 1_000_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


@lru_cache(maxsize=1)
def quiet() -> Logger:
    """Return a log that nobody reads."""
    return Lines(LogSink(os.open(os.devnull, os.O_WRONLY)), level="error", as_json=True).logger()


def request(model: str = "tiny", *, pictures: int = 1, prompt: str = "a dragon", **changes: object) -> DrawRequest:
    """Return a small request."""
    made = replace(REQUEST, model=model, prompt=prompt, seeds=tuple(range(pictures)))
    return replace(made, **changes)  # type: ignore[arg-type] # a test may change any field


STACKED = request(adapters=(AdapterUse("style-anime", 0.75),))


def draft(
    name: str | int = 1,
    client: str = "ann",
    *,
    asked: DrawRequest = REQUEST,
    priority: Priority = "player",
    key: str | None = None,
    body: str = "",
) -> Draft:
    """Return a draft whose id is made of `name`."""
    return Draft(job_id(name), asked, client, priority, key, body)


def job_id(name: str | int) -> str:
    """Return a UUID that is always the same for one name."""
    text = sha256(str(name).encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def picture_file(job: Job) -> PictureFile:
    """Return what a record says of a picture of this job's attempt."""
    return PictureFile(f"{job.id}.{job.attempt}.png", "0" * 64, 100, 7, 64, 64, {"model": "tiny"})


async def until(holds: Callable[[], bool]) -> None:
    """Return once `holds` does; fail after a long time."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.001)


async def at_once(_: int) -> None:
    """Pause for no time: what a test gives to those who back off."""
    await asyncio.sleep(0)


class Sketcher:
    """An engine that draws small grey pictures; what it is to do otherwise stands in the prompt.

    "gated" waits for `gate` before every report; "fault", "retry" and "crash" raise when the drawing begins;
    "silent" reports nothing; "stubborn" goes on whatever it is told.
    """

    def __init__(self) -> None:
        self.loaded: Stack | None = None
        self.drawn: list[DrawRequest] = []
        self.is_roomy = False
        self.calls: list[int] = []  # how many were drawn side by side
        self.inputs: list[dict[str, bytes]] = []
        self.reports: list[Progress] = []
        self.threads: set[int] = set()
        self.gate = threading.Semaphore(0)
        self.arrived = threading.Semaphore(0)
        self.waiting = False
        self.passed = 0
        self.closed = 0

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        """Draw, one step after the other."""
        self.inputs.append(dict(inputs))
        self.threads.add(threading.get_ident())
        if "silent" not in request.prompt:
            if self.loaded != request.stack:
                self._tell(request, report, Progress("loading", 0, 1))
                self.loaded = request.stack
            total = request.total_steps
            self._tell(request, report, Progress("drawing", 0, total))
            self._misbehave(request)
            for step in range(1, total + 1):
                preview = small_png(step) if step == total else None
                self._tell(request, report, Progress("drawing", step, total, preview))
            self._tell(request, report, Progress("decoding", total, total))
        self.drawn.append(request)
        return Drawn(
            tuple(
                DrawnPicture(bytes([seed % 256]) * 48, seed, 4, 4, describe(request, seed, MADE_BY))
                for seed in request.seeds
            )
        )

    def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Draw one after the other."""
        self.calls.append(len(requests))
        one_by_one(self, requests, reports, deliver)

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Say what the test has chosen."""
        return self.is_roomy

    def close(self) -> None:
        """Count that it was given back."""
        self.closed += 1
        self.loaded = None

    def _tell(self, request: DrawRequest, report: Report, progress: Progress) -> None:
        if "gated" in request.prompt:
            self.waiting = True
            self.arrived.release()
            assert self.gate.acquire(timeout=PATIENCE)
            self.waiting = False
            self.passed += 1
        self.reports.append(progress)
        if not report(progress) and "stubborn" not in request.prompt:
            raise Stopped

    def _misbehave(self, request: DrawRequest) -> None:
        if "fault" in request.prompt:
            raise EngineFault("too little memory for this size", retry=False)
        if "retry" in request.prompt and request not in self.drawn:
            self.drawn.append(request)
            raise EngineFault("out of memory", retry=True)
        if "crash" in request.prompt:
            raise ZeroDivisionError("a bug in the engine")
