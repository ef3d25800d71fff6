"""The library's pipeline called in a loop, without a server, as the limit to measure; owns no measuring of servers.

`build FOLDER` writes the small pipeline of the tests. `serve FOLDER` loads it, then reads lines of standard input, each
with a seed: one picture is drawn, encoded, written to standard output in base64, with the seconds that took.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench.job_wish import SIDE, STEPS, wish
from tests import small_pipeline


def picture(pipeline: Any, wanted: dict[str, Any]) -> bytes:
    """Draw what is wanted and return it as PNG, the way the library's own documents do."""
    drawn = pipeline(
        prompt=wanted["prompt"],
        width=wanted.get("width", SIDE),
        height=wanted.get("height", SIDE),
        num_inference_steps=wanted.get("steps", STEPS),
        guidance_scale=wanted["guidance_scale"],
        generator=torch.Generator("cpu").manual_seed(wanted["seed"]),
    )
    file = io.BytesIO()
    drawn.images[0].save(file, format="PNG")
    return file.getvalue()


def serve(folder: Path, out: int) -> None:
    """Draw a picture for each line until there are no more."""
    pipeline = small_pipeline.plainly_loaded(folder)
    _tell(out, {"ready": True})
    for line in sys.stdin:
        began = time.perf_counter()
        png = picture(pipeline, wish(int(line)))
        seconds = time.perf_counter() - began
        _tell(out, {"seconds": seconds, "png": base64.b64encode(png).decode("ascii")})


def _tell(out: int, told: dict[str, Any]) -> None:
    os.write(out, json.dumps(told).encode() + b"\n")


def main() -> None:
    """Build or serve; what libraries print goes to standard error, so that the answers stand alone."""
    what, folder = sys.argv[1:]
    out = os.dup(1)
    os.dup2(2, 1)
    if what == "build":
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
        small_pipeline.build(Path(folder))
    else:
        serve(Path(folder), out)


if __name__ == "__main__":
    main()
