"""What the tests of memory that runs out share: what the library says then, and the pipeline of an engine."""

from __future__ import annotations

from typing import Any

from minimon_server.engines.sdxl import SdxlEngine

EXHAUSTED = "CUDA out of memory. Tried to allocate 20.00 GiB."


def pipeline(engine: SdxlEngine) -> Any:
    """Return the pipeline that an engine has loaded."""
    assert engine._model is not None
    return engine._model.pipeline
