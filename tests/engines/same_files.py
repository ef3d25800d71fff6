"""A process that draws some requests with the real engine and prints the digest of each file. Started by tests.

`python -m tests.engines.same_files FOLDER FIRST...`: the models' folder, and the numbers of the requests, in order.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.picture_files import pack
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Lines, Logger, LogSink

PLAIN = DrawRequest("small", "a red cat ❤", "blurry", (7,), 64, 64, 3, 5.0)
REQUESTS = (
    PLAIN,
    replace(PLAIN, scheduler="dpmpp_2m_sde_karras", format="avif", quality=80),
    replace(PLAIN, model="other", scheduler="euler_a", format="webp", quality=90, seeds=(1, 7)),
    replace(PLAIN, scheduler="dpm2_a", format="jpeg", quality=89, guidance_rescale=0.5, width=96),
)


def digests(folder: Path, order: list[int], log: Logger) -> dict[int, list[str]]:
    """Return the SHA-256 of every file of the requests that are named by `order`, drawn in that order."""
    engine = SdxlEngine(ModelFolders(folder, log), "cpu", log)
    found = {}
    for number in order:
        request = REQUESTS[number]
        drawn = engine.draw(request, lambda _: True)
        files = [pack(picture, request.format, request.quality) for picture in drawn.pictures]
        found[number] = [sha256(file).hexdigest() for file in files]
    engine.close()
    return found


def main() -> None:
    """Draw what the command line names."""
    import torch

    torch.set_num_threads(1)
    sink = LogSink(os.open(os.devnull, os.O_WRONLY))
    log = Lines(sink, level="INFO", as_json=True, secrets=()).logger()
    for number, files in digests(Path(sys.argv[1]), [int(one) for one in sys.argv[2:]], log).items():
        print(number, *files)


if __name__ == "__main__":
    main()
