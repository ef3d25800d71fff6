"""What the tests of the routes of jobs share: an application that draws with a crayon. Tests nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from minimon_server.engines.model_info import ModelInfo
from tests.crayon import MODELS, Crayon, drawing_with
from tests.support import app_under_test

PATIENCE = 20.0
ENGLISH = {"Accept-Language": "en"}


@dataclass
class Easel:
    """A client of an application that draws, and its engine."""

    client: TestClient
    engine: Crayon
    folder: Path

    def submit(self, prompt: str = "a dragon", **body: object) -> str:
        """Post a small job, and return its id."""
        answer = self.client.post("/generate", json={"prompt": prompt, "model": "tiny", **body})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def status(self, job_id: str) -> dict[str, Any]:
        """Return where a job stands."""
        answer = self.client.get(f"/status/{job_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, job_id: str, **wanted: object) -> dict[str, Any]:
        """Return the status once it holds what is wanted."""
        deadline = time.monotonic() + PATIENCE
        while not wanted.items() <= (found := self.status(job_id)).items():
            assert time.monotonic() < deadline, found
            time.sleep(0.005)
        return found


@contextmanager
def easel(folder: Path, models: Callable[[], Sequence[ModelInfo]] = lambda: MODELS, **environ: str) -> Iterator[Easel]:
    """Start an application around a crayon that draws with these models."""
    engine = Crayon()
    drawing = drawing_with(engine, models)
    with app_under_test(folder, {"MINIMON_RATE_LIMIT_PER_MIN": "0", **environ}, drawing=drawing) as bench:
        try:
            yield Easel(bench.client, engine, folder)
        finally:
            engine.go_on.set()
