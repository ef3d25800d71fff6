"""A hand-written engine for tests of the whole server: draws plain pictures of the wanted size, step by step."""

from __future__ import annotations

import os
import signal
import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from minimon_server.engines.messages import (
    NO_INPUTS,
    Deliver,
    Drawn,
    DrawnPicture,
    DrawRequest,
    EngineFault,
    EngineLost,
    Progress,
    Report,
    Stack,
    Stopped,
)
from minimon_server.engines.model_info import IpAdapterInfo, ModelInfo
from minimon_server.engines.one_by_one import one_by_one
from minimon_server.engines.picture_metadata import describe
from minimon_server.errors import Text
from minimon_server.jobs.drawing import Drawing
from tests.support import png_chunk

MODELS = (
    ModelInfo("sdxl-base", "SDXL Base 1.0", 1024, 1024, 30, 7.5),
    ModelInfo("pony-xl-v6", "PonyXL v6", 1024, 1024, 25, 7.0, ("style-anime", "character-detailed")),
    ModelInfo("tiny", "Tiny", 64, 64, 4, 1.0),
)
_FETCH = "python download_models.py --part ip-adapter-lost"
IP_ADAPTERS = (
    IpAdapterInfo("ip-adapter-sdxl", "IP-Adapter", "sdxl", "plus"),
    IpAdapterInfo("ip-adapter-lost", "Lost", unavailable=Text("manque", "is missing"), how=Text(_FETCH, _FETCH)),
)
VERSIONS = {"minimon": "0"}


def plain_png(width: int, height: int, colour: bytes, text: str) -> bytes:
    """Return a whole picture of one colour, with a text inside."""
    rows = (b"\0" + colour * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    said = b"prompt\0\0\0\0\0" + text.encode()
    parts = [(b"IHDR", header), (b"iTXt", said), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in parts)


class Crayon:
    """Draws at once, or waits `step_seconds` before each step. A prompt that holds "fault" cannot be drawn, one that
    holds "wait" waits at each step until `go_on` is set, one that holds "hang" never ends its first step, "kill" is the
    end of the process, and "lost" loses the device. Each drawing that begins and ends is a line of `diary`.
    """

    def __init__(self, *, step_seconds: float = 0.0, diary: Path | None = None) -> None:
        self.loaded: Stack | None = None
        self.go_on = threading.Event()
        self._patience = threading.Event()
        self._step_seconds = step_seconds
        self._diary = diary

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        """Draw all pictures of one request."""
        if self.loaded != request.stack:
            self._tell(report, Progress("loading", 0, 1))
            self.loaded = request.stack
        total = request.total_steps
        self._tell(report, Progress("drawing", 0, total))
        self._note("began", request)
        if "fault" in request.prompt:
            raise EngineFault("CUDA out of memory")
        if "lost" in request.prompt:
            raise EngineLost("the device is lost")
        if "kill" in request.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in request.prompt:
            threading.Event().wait()
        begun_with = "".join(sha256(inputs[picture.digest]).hexdigest() for picture in request.inputs)
        for step in range(1, total + 1):
            self._wait(request)
            preview = plain_png(8, 8, b"\x80" * 3, "") if step == total else None
            self._tell(report, Progress("drawing", step, total, preview))
        self._tell(report, Progress("decoding", 0, 1))
        self._note("ended", request)
        return Drawn(tuple(self._picture(request, seed, begun_with) for seed in request.seeds))

    def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Draw one after the other."""
        one_by_one(self, requests, reports, deliver)

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Draw nothing between steps."""
        return False

    def close(self) -> None:
        """Give everything back."""
        self.loaded = None

    def _wait(self, request: DrawRequest) -> None:
        if "wait" in request.prompt:
            self.go_on.wait(30)
        elif self._step_seconds:
            self._patience.wait(self._step_seconds)

    def _picture(self, request: DrawRequest, seed: int, begun_with: str) -> DrawnPicture:
        colour = sha256(f"{request.prompt} {seed} {request.stack}{begun_with}".encode()).digest()[:3]
        last = request.hires or request
        pixels = colour * (last.width * last.height)
        made_by = {"scheduler_class": "None", "versions": VERSIONS, "engine": "crayon"}
        return DrawnPicture(pixels, seed, last.width, last.height, describe(request, seed, made_by))

    @staticmethod
    def _tell(report: Report, progress: Progress) -> None:
        if not report(progress):
            raise Stopped

    def _note(self, what: str, request: DrawRequest) -> None:
        if self._diary is not None:
            descriptor = os.open(self._diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{what} {request.prompt}\n".encode())
            os.close(descriptor)


def drawing_with(engine: Crayon, models: Callable[[], Sequence[ModelInfo]] = lambda: MODELS) -> Drawing:
    """Return what makes a server draw with this engine."""
    drawing = Drawing(models, lambda: engine, schedulers=("euler", "ddim"), versions=lambda: dict(VERSIONS))
    return replace(drawing, ip_adapters=lambda: IP_ADAPTERS)
