"""The same request and seed are the same file, byte for byte: in another process, and after whatever other jobs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from minimon_server.engines import on_demand
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.jobs.replay import CARRIED, MADE_BY
from minimon_server.logs import Logger
from tests.engines.same_files import REQUESTS, digests

HOME = Path(__file__).resolve().parents[2]


def test_a_request_is_a_file_in_any_process_and_in_any_order(models: Path, quiet: Logger) -> None:
    order = list(range(len(REQUESTS)))
    here = digests(models, order, quiet)
    assert len({file for files in here.values() for file in files}) == 5
    command = [sys.executable, "-m", "tests.engines.same_files", str(models), *map(str, reversed(order))]
    said = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True, timeout=300).stdout
    there = {int(line.split()[0]): line.split()[1:] for line in said.splitlines()}
    assert there == here
    assert list(there) == order[::-1]


def test_all_that_the_engine_tells_of_a_picture_is_known_to_whoever_makes_it_again(
    models: Path, quiet: Logger, request_for: Callable[..., DrawRequest]
) -> None:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    (picture,) = engine.draw(request_for(), lambda _: True).pictures
    engine.close()
    assert set(picture.metadata) <= set(CARRIED) | MADE_BY
    assert picture.metadata["versions"] == on_demand.versions()
    assert picture.metadata["model_fingerprint"] == ModelFolders(models, quiet).fingerprint("small")
