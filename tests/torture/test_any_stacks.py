"""Two hundred jobs over three models and six adapters, each drawn as a fresh engine draws it. Run by `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.engines.adapter_scene import draw_in_any_order, write_six
from tests.jobs.scene import quiet
from tests.small_pipeline import build, plainly_loaded

pytestmark = pytest.mark.torture


def test_two_hundred_jobs_leave_no_trace(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    names = ("one", "two", "three")
    for seed, name in enumerate(names):
        build(tmp_path / name, seed)
    write_six(plainly_loaded(tmp_path / "one"), tmp_path / "loras")
    draw_in_any_order(tmp_path, names, 200, quiet())
