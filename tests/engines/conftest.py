"""A folder with two small models of random weights, built once a session, and an engine over it."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest
from minimon_server.logs import Lines, Logger, LogSink


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder that holds `small` and `other`."""
    import torch

    from tests.small_pipeline import build

    torch.set_num_threads(1)  # such small models gain nothing by more, and whatever runs beside would suffer
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("small", "other")):
        build(root / name, seed)
    gc.collect()
    gc.freeze()  # torch and what stands upon it were imported just now
    return root


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[LogSink]:
    """Return where `log` writes to: a real file."""
    descriptor = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sink = LogSink(descriptor)
    yield sink
    sink.close()
    os.close(descriptor)


@pytest.fixture
def log(sink: LogSink) -> Logger:
    """Return a real log."""
    return Lines(sink, level="INFO", as_json=True, secrets=()).logger()


@pytest.fixture
def logged(sink: LogSink, tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return what reads the lines that `log` has written so far."""

    def lines() -> list[dict[str, Any]]:
        sink.flush()
        return [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines()]

    return lines


@pytest.fixture(scope="session")
def quiet() -> Iterator[Logger]:
    """Return a real log that nobody reads."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    sink = LogSink(descriptor)
    yield Lines(sink, level="INFO", as_json=True, secrets=()).logger()
    sink.close()
    os.close(descriptor)


@pytest.fixture
def tally() -> MemoryTally:
    """Return a count of what memory did, at nothing."""
    return MemoryTally()


@pytest.fixture(scope="session")
def request_for() -> Callable[..., DrawRequest]:
    """Return what makes a request for one small picture, changed as the test wants it."""
    plain = DrawRequest("small", "a red cat", "blurry", (7,), 64, 64, 3, 5.0)

    def make(**changes: Any) -> DrawRequest:
        return replace(plain, **changes)

    return make


@pytest.fixture(scope="session")
def shelf(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the two models and six adapters."""
    from tests.engines.adapter_scene import write_six
    from tests.small_pipeline import plainly_loaded

    root = tmp_path_factory.mktemp("shelf")
    shutil.copytree(models, root, dirs_exist_ok=True)
    write_six(plainly_loaded(models / "small"), root / "loras")
    return root


@pytest.fixture(scope="module")
def engine(models: Path, quiet: Logger) -> Iterator[Any]:
    """Return an engine over that folder, for the tests of one file; some have one of their own."""
    from minimon_server.engines.model_folders import ModelFolders
    from minimon_server.engines.sdxl import SdxlEngine

    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    """Return the small pipeline as its own library loads it."""
    from tests.small_pipeline import plainly_loaded

    return plainly_loaded(models / "small")


@pytest.fixture
def stack(pipeline: Any, models: Path, quiet: Logger) -> Iterator[Any]:
    """Return the stack of that pipeline, which is taken off at the end."""
    from tests.engines.adapter_scene import stack_over

    stack = stack_over(pipeline, models / "small", quiet)
    yield stack
    stack.take_off()
