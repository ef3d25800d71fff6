"""A server that draws its creatures with a small real pipeline of random weights, as tests need it. Tests nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

import gen_server
from minimon_server.jobs.drawing import Drawing
from tests.support import HOME, settings_for

PATIENCE = 60.0


@dataclass(frozen=True)
class Drawn:
    """Such a server with a client."""

    server: gen_server.Server
    client: TestClient

    def wait_until_ready(self) -> None:
        """Return once `/ready` says so."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := self.client.get("/ready")).is_success:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.02)


def models_folder(root: Path) -> Path:
    """Make a folder the models/ of such a server: the catalogue, and the model `small`; return it."""
    import torch

    from tests.small_pipeline import build

    torch.set_num_threads(1)
    build(root / "small")
    (root / "catalog.toml").write_bytes((HOME / "models" / "catalog.toml").read_bytes())
    return root


def environment(models: Path) -> dict[str, str]:
    """Return the settings of such a server."""
    return {
        "MINIMON_GENERATION_BACKEND": "sdxl",
        "MINIMON_MODELS_DIR": str(models),
        "MINIMON_DEVICE": "cpu",
        "MINIMON_PROMPTS_PATH": str(HOME / "minimon" / "prompts.toml"),
        "MINIMON_RATE_LIMIT_PER_MIN": "0",
        "MINIMON_HTTP_PORT": "0",
        "MINIMON_STOCK": "0",
        "SDXL_TURBO_MODEL": "small",
        "SDXL_WIDTH": "64",
        "SDXL_HEIGHT": "64",
        "SDXL_STEPS": "1",
    }


@contextmanager
def drawn(folder: Path, models: Path, drawing: Drawing | None = None, **environ: str) -> Iterator[Drawn]:
    """Build the real server as `gen_server` does, and start its parts."""
    settings = settings_for(folder, **environment(models) | environ)
    server = gen_server.build(settings, {}, drawing)
    try:
        with TestClient(server.app, base_url="https://testserver") as client:
            yield Drawn(server, client)
    finally:
        server.sink.close()
