"""What is measured first, and what of a run the next one finds: the order of pictures, short runs, compiled files."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.gpu import __main__ as command
from bench.gpu import driver, goals
from bench.gpu.modes import Mode, calls_of
from bench.gpu.paths import BASE, TURBO, TURBO_DRAFT, order, time_paths
from bench.gpu.plan import PEAKS, SERVER, SMALL
from bench.gpu.rows import Found, Lines, Row, read
from bench.gpu.weights import build
from minimon_server.engines.compiled_files import COMPILED, TRITON
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_side_by_side import WIDEST

CPU = torch.device("cpu")
PLACE = Place(CPU, torch.float32, "a test")
DOCUMENT = Path(__file__).parents[3] / "docs" / "bench-gpu.md"
LENT_MINUTES = 24


def test_what_no_goal_looks_at_comes_last() -> None:
    whole = [(TURBO, 1), (BASE, 1), (TURBO, 8), (TURBO, 4), (TURBO, 2), (TURBO, 16), (TURBO, 32)]
    assert order((1, 2, 4, 8, 16, 32), (1,)) == whole
    assert order((32, 8, 1), (1,)) == [(TURBO, 1), (BASE, 1), (TURBO, 8), (TURBO, 32)]
    assert order((8, 1), (1,), is_quantised=True) == [(BASE, 1), (TURBO, 1), (TURBO, 8)]
    assert order((32,), (1,)) == [(BASE, 1), (TURBO, 32)]
    # Goals look at no batch that is put last: a row of it, as quick as can be, meets none.
    beyond = [Row(part, "graphs", WIDEST + 1, 0.1, 0.1, 0.1, 1) for part in (TURBO, TURBO_DRAFT)]
    assert {one.outcome for one in goals.judge(Found(beyond, []), "sdxl")} == {"not measured"}


@pytest.mark.parametrize(
    ("mode", "first"), [("int8-weight", [BASE, TURBO, TURBO_DRAFT]), ("eager", [TURBO, TURBO_DRAFT, BASE])]
)
def test_where_the_unet_is_quantised_the_goal_of_that_mode_alone_is_first(
    mode: str, first: list[str], tmp_path: Path
) -> None:
    # The networks are as they are: what is looked at is what is timed when.
    path, found, calls = tmp_path / "lines", Found(), calls_of(build(SMALL.of, CPU, torch.float32))
    effort = replace(SMALL, calls=1).effort
    with torch.inference_mode():
        time_paths(SMALL.of, PLACE, calls, Mode.parse(mode), (1,), (1,), effort, Lines(path))
    read(path, found)
    assert [row.part for row in found.rows] == first


def test_the_short_runs_of_the_document_fit_and_reach_every_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCUMENT.read_text("utf-8").split("## Short runs")[1].split("\n## ")[0]
    lines = re.findall(r'^make bench-gpu BENCH="(.*)"$', text, re.MULTILINE)
    plans, minutes = [], []
    for line in lines:
        monkeypatch.setattr(sys, "argv", ["bench.gpu", *shlex.split(line)])
        options = command._parse()
        plans.append(command.planned(options))
        minutes.append(options.minutes)
    assert len(plans) == 4
    assert 0 < min(minutes) <= max(minutes) < 10
    assert sum(minutes) <= LENT_MINUTES
    served = [SERVER in plan.tasks for plan in plans]
    assert served.index(True) in (1, 2)
    before = [plan for plan in plans[: served.index(True)] if "blocks+graphs" in plan.tasks]
    assert [{1, WIDEST} <= set(plan.batches) for plan in before] == [True]  # what the server asks compiled UNets for
    assert any("fp8+blocks+graphs" in plan.tasks for plan in plans)
    assert all(plan.tasks[0] == PEAKS for plan in plans)


def test_triton_keeps_its_files_where_torch_does(tmp_path: Path) -> None:
    own = driver.keeping_compiled(tmp_path, {"HOME": "/nowhere"})
    assert own == {COMPILED: str(tmp_path), TRITON: str(tmp_path / "triton"), "HOME": "/nowhere"}
    told = driver.keeping_compiled(tmp_path, {COMPILED: "/kept"})
    assert told == {COMPILED: "/kept", TRITON: "/kept/triton"}
    assert driver.keeping_compiled(tmp_path, {TRITON: "/elsewhere"})[TRITON] == "/elsewhere"


def test_a_child_starts_with_these_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real child process, in place of whose measuring stands what its environment is."""
    monkeypatch.delenv(COMPILED, raising=False)
    monkeypatch.delenv(TRITON, raising=False)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho "${COMPILED}" "${TRITON}"; exit 3\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    found = driver.run(replace(SMALL, tasks=("eager",)), tmp_path, lambda plan, folder, lines: None, lambda said: None)
    compiled = tmp_path / "compiled"
    assert found.left[0].why == f"its process ended with status 3: {compiled} {compiled / 'triton'}"
