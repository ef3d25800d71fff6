"""Real processes: the server with models of random weights, over HTTPS; a child that does not come to its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.gpu import driver, served
from bench.gpu.plan import FULL, HOST, SERVER, SMALL
from bench.gpu.rows import Found, Lines, read
from bench.gpu.served import ALONE, RATE, STACK, SWITCH, WAIT

PLAN = replace(SMALL, clients=2, load_seconds=1.0, changes=1, most_jobs=6)


@pytest.mark.torture
def test_the_server_is_loaded_and_changes_are_taken_apart(tmp_path: Path) -> None:
    path, found = tmp_path / "lines", Found()
    served.measure(PLAN, tmp_path / "server", Lines(path))
    read(path, found)
    assert not found.left
    rows = {row.part: row for row in found.rows}
    waits = {f"{WAIT}, {name}" for name in ("p50", "p95", "p99")}
    assert set(rows) == {RATE, ALONE, STACK, SWITCH, *waits}
    assert rows[RATE].median > 0
    assert rows[RATE].unit == "1/s"
    assert rows[f"{WAIT}, p50"].median <= rows[f"{WAIT}, p99"].median
    assert rows[SWITCH].calls == 2
    log = (tmp_path / "server" / "log").read_text("utf-8")
    assert log.count('"model loaded"') == 2  # both stay in memory: that is a warm switch
    assert log.count('"adapters merged"') >= 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here, and hours of work")
def test_without_a_cuda_device_the_whole_run_ends_at_once_and_says_why(tmp_path: Path) -> None:
    began: list[str] = []
    found = driver.run(FULL, tmp_path, served.measure, began.append)
    assert began == ["measuring: peaks"]
    assert [one.what for one in found.left] == ["peaks", "all the rest"]
    assert found.left[0].why == "ToolMissingError: torch finds no CUDA device here"
    assert not found.rows


def test_a_child_that_does_not_end_or_fails_is_told_and_ends_nothing(tmp_path: Path) -> None:
    began: list[str] = []
    late = replace(PLAN, tasks=(HOST, SERVER), task_minutes=0.0)
    found = driver.run(late, tmp_path, lambda plan, folder, lines: lines.fact("served", folder.name), began.append)
    assert [one.what for one in found.left] == [HOST]
    assert "did not end within 0 minutes" in found.left[0].why
    assert found.facts["served"] == "server"
    assert began == [f"measuring: {HOST}", f"measuring: {SERVER}"]
    assert "seconds" in found.facts["during each task"][HOST]
