"""The part about switches: every contender does what it is measured at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bench.report import Figure
from bench.switches import FLOOR, LIBRARY, OURS, _rows, build
from minimon_server.logs import Lines, LogSink


@pytest.mark.torture
def test_every_switch_is_measured_beside_the_library_and_a_floor(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    descriptor = os.open(os.devnull, os.O_WRONLY)
    sink = LogSink(descriptor)
    build(tmp_path, (32, 64, 96))
    rows = list(_rows(tmp_path, 1, Lines(sink, level="ERROR", as_json=True, secrets=()).logger()))
    sink.close()
    os.close(descriptor)
    beside, floor = {OURS, LIBRARY}, {OURS, LIBRARY, FLOOR}
    assert [set(row.cells) for row in rows] == [floor, {OURS}, {OURS}, floor, beside, beside]
    for row in rows:
        for cell in row.cells.values():
            assert isinstance(cell, Figure)
            assert cell.low > 0
