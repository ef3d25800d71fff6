"""Processes that draw one request on an engine of their own and tell what its pixels are. Started by tests.

`python -m tests.engines.fresh_process FOLDER`: the models' folder; a list of requests comes through standard input,
pickled, and a line for each goes out. Each is drawn by a process that has drawn nothing and will draw nothing else: the
last by the one that was started, the others by copies of it from before that. Such a copy (fork) holds what any new
process holds at that point, code that was imported and not one tensor, and saves the seconds of importing it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Lines, LogSink

HOME = Path(__file__).resolve().parents[2]


def pixels_of(engine: SdxlEngine, request: DrawRequest) -> str:
    """Return the SHA-256 of the pixels of a request's one picture."""
    (picture,) = engine.draw(request, lambda _: True).pictures
    return sha256(picture.pixels).hexdigest()


def drawn_apart(root: Path, requests: Sequence[DrawRequest]) -> list[str]:
    """Return the SHA-256 of the pixels of each request, each drawn by a fresh process, one after the other."""
    command = [sys.executable, "-m", "tests.engines.fresh_process", str(root)]
    done = subprocess.run(command, cwd=HOME, input=pickle.dumps(list(requests)), capture_output=True, timeout=1200)
    assert done.returncode == 0, done.stderr.decode()
    found = done.stdout.decode().split()
    assert len(found) == len(requests)
    return found


def draw(root: Path, request: DrawRequest) -> None:
    """Print what one request makes."""
    log = Lines(LogSink(os.open(os.devnull, os.O_WRONLY)), level="INFO", as_json=True, secrets=()).logger()
    print(pixels_of(SdxlEngine(ModelFolders(root, log), "cpu", log), request), flush=True)


def main() -> None:
    """Draw what standard input asks for."""
    import torch

    torch.set_num_threads(1)
    *others, last = pickle.loads(sys.stdin.buffer.read())
    for request in others:
        assert threading.active_count() == 1  # a copy has this thread alone
        child = os.fork()
        if not child:
            draw(Path(sys.argv[1]), request)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
    draw(Path(sys.argv[1]), last)


if __name__ == "__main__":
    main()
