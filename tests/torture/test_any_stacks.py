"""Two hundred jobs over three models and six adapters, each drawn as a process of its own draws it. `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.engines.adapter_scene import write_six
from tests.engines.any_order import draw_in_any_order
from tests.jobs.scene import quiet
from tests.small_pipeline import build, build_kin, plainly_loaded

pytestmark = pytest.mark.torture
JOBS = 200


def test_two_hundred_jobs_leave_no_trace(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    for seed, name in enumerate(("one", "two")):
        build(tmp_path / name, seed)
    build_kin(tmp_path / "one", tmp_path / "three", 9)
    write_six(plainly_loaded(tmp_path / "one"), tmp_path / "loras")
    draw_in_any_order(tmp_path, ("one", "two", "three"), JOBS, quiet())
