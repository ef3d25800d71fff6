"""What packing one picture into a file costs, by format, beside Pillow and cv2 as they come. Draws nothing."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from bench.plan import Stage
from bench.report import Figure, Part, Row
from minimon_server.engines.messages import DrawnPicture, DrawRequest
from minimon_server.engines.picture_files import pack
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.engines.picture_metadata import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

OURS, SAME, PNG, CV2 = "ours", "Pillow, same format", "Pillow, PNG", "cv2, same format"
SIDES: Final = (512, 1024)
GRAIN: Final = 2.0  # the standard deviation of the noise, in shades of 256
Encoder = Callable[[], bytes]


def measure(stage: Stage) -> Part:
    """Pack pictures of both sizes into every format, in turns."""
    rows = [row for side in SIDES for row in _of_side(side, stage.plan.picture_rounds)]
    notes = [
        "pictures: processor's ms to make one file in memory, all threads of it together; "
        f"{stage.plan.picture_rounds} rounds in turn after one that does not count.",
        "The picture: clouds of every size with film grain over them, in place of a drawing. Ours "
        "holds what made it, as A1111's text and as JSON; the others hold nothing.",
        "Ours at its usual quality, the peers at the same; all else of theirs is as it comes.",
    ]
    if not find_spec("cv2"):
        notes.append("cv2 is not installed here, and no part of this server: its column is empty.")
    return Part(tuple(rows), tuple(notes), contenders=(OURS, SAME, PNG, CV2))


def clouds(side: int) -> NDArray[np.uint8]:
    """Return `side` x `side` pixels: noise of every size, the larger the stronger, and grain; always the same."""
    random = np.random.default_rng(7)
    found = np.zeros((side, side, 3), np.float32)
    size = 4
    while size <= side:
        coarse = random.normal(0, 200 / size, (size, size, 3)).clip(-127, 127) + 128
        wide = Image.fromarray(coarse.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        found += np.asarray(wide, np.float32) - 128
        size *= 2
    found += random.normal(128, GRAIN, found.shape)
    return found.clip(0, 255).astype(np.uint8)


def _of_side(side: int, rounds: int) -> list[Row]:
    pixels = clouds(side)
    rows = []
    for kind, one in FORMATS.items():
        encoders = _encoders(pixels, kind, one.quality)
        costs: dict[str, list[float]] = {name: [] for name in encoders}
        sizes = {name: len(encode()) for name, encode in encoders.items()}
        for _ in range(rounds):
            for name, encode in encoders.items():
                began = time.process_time()
                encode()
                costs[name].append((time.process_time() - began) * 1e3)
        cells = {name: Figure.of(values, 1) for name, values in costs.items()}
        title = f"{one.name}, {side}x{side}"
        rows.append(Row(f"{title}, processor's ms", cells, compared=True))
        kibibytes = {name: Figure.of([size / 1024]) for name, size in sizes.items()}
        rows.append(Row(f"{title}, KiB", kibibytes, compared=True))
    return rows


def _encoders(pixels: NDArray[np.uint8], kind: str, quality: int | None) -> Mapping[str, Encoder]:
    side = pixels.shape[0]
    request = DrawRequest("sdxl-base", "a castle above the clouds", "", (7,), side, side, 30, 5.0, format=kind)
    told = describe(request, 7, {"scheduler_class": "EulerDiscreteScheduler", "versions": {"minimon": "0"}})
    drawn = DrawnPicture(pixels.tobytes(), 7, side, side, told)
    found: dict[str, Encoder] = {
        OURS: lambda: pack(drawn, kind, quality),
        SAME: lambda: _by_pillow(pixels, kind, quality),
        PNG: lambda: _by_pillow(pixels, "png", None),
    }
    if find_spec("cv2"):
        found[CV2] = lambda: _by_cv2(pixels, kind, quality)
    return found


def _by_pillow(pixels: NDArray[np.uint8], kind: str, quality: int | None) -> bytes:
    written = io.BytesIO()
    options: dict[str, Any] = {} if quality is None else {"quality": quality}
    Image.fromarray(pixels).save(written, kind.upper(), **options)
    return written.getvalue()


def _by_cv2(pixels: NDArray[np.uint8], kind: str, quality: int | None) -> bytes:
    cv2: Any = import_module("cv2")
    names = {"webp": cv2.IMWRITE_WEBP_QUALITY, "jpeg": cv2.IMWRITE_JPEG_QUALITY, "avif": cv2.IMWRITE_AVIF_QUALITY}
    options = [] if quality is None else [names[kind], quality]
    well, written = cv2.imencode(f".{FORMATS[kind].ending}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    assert well
    return bytes(written)
