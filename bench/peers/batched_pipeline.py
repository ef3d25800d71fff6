"""The library's pipeline called in batches in a loop, without a server, as the limit to measure; owns no measuring.

`serve FOLDER` reads lines of standard input, each a list of wishes, and answers with a line when all are drawn.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from tests import small_pipeline


def pictures(pipeline: Any, wanted: list[dict[str, Any]]) -> list[bytes]:
    """Draw what is wanted in one call and return each as PNG."""
    drawn = pipeline(
        prompt=[one["prompt"] for one in wanted],
        width=wanted[0]["width"],
        height=wanted[0]["height"],
        num_inference_steps=wanted[0]["steps"],
        guidance_scale=wanted[0]["guidance_scale"],
        generator=[torch.Generator("cpu").manual_seed(one["seed"]) for one in wanted],
    )
    files = [io.BytesIO() for _ in drawn.images]
    for image, file in zip(drawn.images, files, strict=True):
        image.save(file, format="PNG")
    return [file.getvalue() for file in files]


def serve(folder: Path, out: int) -> None:
    """Draw a batch for each line until there are no more."""
    pipeline = small_pipeline.plainly_loaded(folder).to(torch.float32)  # whatever its files hold
    os.write(out, b"ready\n")
    for line in sys.stdin:
        found = pictures(pipeline, json.loads(line))
        os.write(out, b"%d\n" % len(found))


def main() -> None:
    """Serve; what libraries print goes to standard error, so that the answers stand alone."""
    out = os.dup(1)
    os.dup2(2, 1)
    serve(Path(sys.argv[2]), out)


if __name__ == "__main__":
    main()
