"""A folder with one small model of random weights, built once a session."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder that holds `small`."""
    import torch

    from tests.small_pipeline import build

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    build(root / "small")
    return root
