"""Draws what the shipped model makes of fixed prompts, in a process that may ask nobody for anything.

`python -m tests.e2e.shipped_sheet MODELS OUT [NAME ...]` writes a PNG file for each picture, or for those, drawn by the
server's own engine with the defaults of a request, and says which networks this process can see.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from minimon_server.catalog.stock import Stock
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.on_demand import make_engine, pack
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.jobs.drawing import Asked, request_for
from minimon_server.logs import Lines, LogSink

NAME: Final = "minimon-tiny"
PROMPTS: Final = (
    "a red fire minimon with horns, two wings, big eyes, golden aura, legendary, night sky",
    "green grass slime, big eyes, smile, forest background",
    "un minimon orange à quatre pattes, tacheté, queue touffue, désert, rang F",
)
SEEDS: Final = (0, 1)
# What no caption of its training holds: other writings, nothing at all, two thousand words, none of which it knows.
ODD: Final = ("🐉🔥✨", "一只红色的小龙，有翅膀", "a diesel locomotive, tax law", "", "lorem ipsum " * 1000)
ASKED_FOR: Final = (320, 192)


def refuse_the_network(event: str, arguments: tuple[object, ...]) -> None:
    """Raise when anything looks for a host or begins a connection, whoever would swallow what the socket says."""
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise AssertionError(f"{event} {arguments[1:]}")


def wishes() -> Iterator[tuple[str, Asked]]:
    """Yield what is drawn, each with the name of its file."""
    for row, prompt in enumerate(PROMPTS):
        for seed in SEEDS:
            yield f"sheet-{row}-{seed}", Asked(prompt, model=NAME, seed=seed)
    for number, prompt in enumerate(ODD):
        yield f"odd-{number}", Asked(prompt, model=NAME, seed=7)
    width, height = ASKED_FOR
    yield "sized", Asked(PROMPTS[0], model=NAME, seed=0, width=width, height=height)


def main(models: Path, out: Path, names: Sequence[str]) -> None:
    """Draw what has one of these names; without names, everything."""
    sys.addaudithook(refuse_the_network)
    log = Lines(LogSink(os.open(os.devnull, os.O_WRONLY)), level="error", as_json=True).logger()
    folders = ModelFolders(models, log)
    known = {model.id: model for model in Stock(models, folders, log).models()}
    engine = make_engine(folders, "cpu", log)
    for name, wish in wishes():
        if names and name not in names:
            continue
        request = request_for(wish, known, SCHEDULERS, lambda: 0)
        (picture,) = engine.draw(request, lambda _: True).pictures
        (out / f"{name}.png").write_bytes(pack(picture))
    print(*(name for _, name in socket.if_nameindex()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
