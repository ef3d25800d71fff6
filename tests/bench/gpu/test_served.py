"""Real processes: the server with models of random weights, over HTTPS; a child that does not come to its end."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BenchError
from bench.gpu import arrivals, driver, served
from bench.gpu.folders import MODELS
from bench.gpu.plan import FULL, HOST, SERVER, SMALL, Plan
from bench.gpu.result import Report
from bench.gpu.rows import Found, Left, Lines, Row, read
from bench.gpu.served import ALONE, RATE, STACK, SWITCH, WAIT
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_info import ModelInfo
from minimon_server.engines.sdxl_side_by_side import WIDEST
from minimon_server.jobs.drawing import request_for
from minimon_server.web.asked_bodies import asked_of
from minimon_server.web.job_schemas import DrawBody

PLAN = replace(SMALL, clients=2, load_seconds=1.0, changes=1, most_jobs=6)


@pytest.mark.torture
def test_the_server_is_loaded_and_changes_are_taken_apart(tmp_path: Path) -> None:
    path, found = tmp_path / "lines", Found()
    served.measure(PLAN, tmp_path / "server", Lines(path))
    read(path, found)
    assert not found.left
    rows = {row.part: row for row in found.rows}
    waits = {f"{WAIT}, {name}" for name in ("p50", "p95", "p99")}
    assert [(row.part, row.mode) for row in found.rows[:5]] == [
        (ALONE, "one after the other"),
        (STACK, "adapter for adapter"),
        (SWITCH, "files in the page cache"),
        (RATE, "2 clients at once, 1 a job"),
        (RATE, "2 clients at once, 8 a job, 8 side by side"),
    ]
    assert found.facts["server"]["attention"].startswith("SDPA: ")
    assert set(rows) == {RATE, ALONE, STACK, SWITCH, *waits}
    assert rows[RATE].median > 0
    assert rows[RATE].unit == "1/s"
    assert rows[f"{WAIT}, p50"].median <= rows[f"{WAIT}, p99"].median
    assert rows[SWITCH].calls == 2
    log = (tmp_path / "server" / "log").read_text("utf-8")
    assert log.count('"model loaded"') == 2  # both stay in memory: that is a warm switch
    assert log.count('"adapters merged"') >= 4


class Cut(Lines):
    """Ends the run as `--minutes` does, right after the first row of a part."""

    def __init__(self, path: Path, part: str) -> None:
        super().__init__(path)
        self._part = part

    def tell(self, *found: Row | Left) -> None:
        super().tell(*found)
        if any(isinstance(one, Row) and one.part == self._part for one in found):
            raise KeyboardInterrupt("the minutes of the run are over")


@pytest.mark.torture
def test_a_run_that_is_cut_in_the_middle_keeps_the_rows_of_the_goals_before(tmp_path: Path) -> None:
    path, found = tmp_path / "lines", Found()
    with pytest.raises(KeyboardInterrupt):
        served.measure(PLAN, tmp_path / "server", Cut(path, STACK))
    read(path, found)
    assert [row.part for row in found.rows] == [ALONE, STACK]
    assert found.facts["server"]["attention"].startswith("SDPA: ")
    assert not found.left
    log = (tmp_path / "server" / "log").read_text("utf-8")
    assert log.count('"model loaded"') == 1  # what the later steps need was not waited for


def test_steps_write_their_rows_at_once_and_end_no_other(tmp_path: Path) -> None:
    path, lines = tmp_path / "lines", Lines(tmp_path / "lines")

    def row(part: str) -> None:
        lines.tell(Row(part, "of a test", 1, 2.0, 2.0, 2.0, 1))

    def fails() -> None:
        raise BenchError("of a test")

    def is_cut() -> None:
        raise KeyboardInterrupt

    steps: list[served.Step] = [
        (ALONE, partial(row, ALONE)),
        (STACK, fails),
        (SWITCH, partial(row, SWITCH)),
        (RATE, is_cut),
    ]
    with pytest.raises(KeyboardInterrupt):
        served.each([*steps, (WAIT, partial(row, WAIT))], lines)
    found = Found()
    read(path, found)
    assert [one.part for one in found.rows] == [ALONE, SWITCH]
    assert [(one.what, one.why) for one in found.left] == [(STACK, "BenchError: of a test")]


def test_the_steps_of_goals_come_first_and_the_widest_last_among_them(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "lines")
    steps = served.Served(PLAN, 0, None, served.Quiet(tmp_path / "log", lines), lines).steps
    told = [what for what, _ in steps]
    assert told == [ALONE, STACK, SWITCH, f"{RATE}, 1 a job", f"{RATE}, 8 a job", WAIT]
    # A job for so many asks a compiled UNet for all of them at once, see `CompiledUnet.width`: nothing in between.
    assert 1 << (served.SEVERAL.bit_length() - 1) == served.SEVERAL == WIDEST
    wish = served.wish_of(PLAN)
    assert arrivals.seeded(wish, 7)["seed"] == 7
    several = arrivals.seeded({**wish, "count": served.SEVERAL}, 7)
    models = {MODELS[0]: ModelInfo(MODELS[0], "of a test", 512, 512, 1, 0.0)}

    def request(body: dict[str, Any]) -> DrawRequest:
        return request_for(asked_of(DrawBody.model_validate(body), {}, {}, exact=False), models, (), lambda: 1)

    assert len(request(several).seeds) == served.SEVERAL
    assert not request(several).exact
    assert request({**several, "seed": 7}).exact  # and drawn one after the other


def test_clients_that_close_wait_for_no_job_under_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        clients = arrivals.Clients(silent.getsockname()[1], ssl.create_default_context(), 1, served.wish_of(PLAN))
        running = threading.Thread(target=clients.crowd, args=(3600.0, 99))
        running.start()
        with silent.accept()[0]:  # somebody has asked, and hears nothing
            clients.close()
            assert running.is_alive()
    running.join()


def test_what_is_measured_while_the_server_prepares_something_does_not_count(tmp_path: Path) -> None:
    log, path, found = tmp_path / "log", tmp_path / "lines", Found()
    log.write_text('{"event": "compiling the UNet"}\n')
    told, asked = served.Quiet(log, Lines(path)), list[int]()

    def measure(until: int) -> int:
        asked.append(until)
        if len(asked) < until:
            with log.open("a") as file:
                file.write('{"event": "graph captured", "network": "unet"}\n')
        return len(asked)

    assert told.measured("a rate", lambda: measure(1)) == 1  # what was prepared before is nothing to it
    asked.clear()
    assert told.measured("a rate", lambda: measure(3)) == 3  # twice in vain
    asked.clear()
    assert told.measured("a rate", lambda: measure(99)) is None
    assert len(asked) == served.TRIES
    read(path, found)
    assert [one.what for one in found.left] == ["a rate"]
    assert found.left[0].why.endswith('the last: {"event": "graph captured", "network": "unet"}')
    # Somebody writes these lines: under another name, nothing would ever be noticed.
    engines = "".join(one.read_text("utf-8") for one in (served.ROOT / "minimon_server" / "engines").glob("*.py"))
    assert all(re.search(rf'log\.(info|warning)\("{sign}"', engines) for sign in served.PREPARING)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here, and hours of work")
def test_without_a_cuda_device_the_whole_run_ends_at_once_and_says_why(tmp_path: Path) -> None:
    began: list[str] = []
    found = driver.run(FULL, tmp_path, served.measure, began.append)
    assert began == ["measuring: peaks"]
    assert [one.what for one in found.left] == ["peaks", "all the rest"]
    assert found.left[0].why == "ToolMissingError: torch finds no CUDA device here"
    assert not found.rows


def test_an_interrupted_run_keeps_what_it_found(tmp_path: Path) -> None:
    report, seen = Report(tmp_path / "results", PLAN), list[int]()

    def keep(found: Found) -> None:
        seen.append(len(found.rows))
        report.keep(found)

    def interrupted(plan: Plan, folder: Path, lines: Lines) -> None:
        lines.tell(Row(RATE, "of a test", 1, 2.0, 2.0, 2.0, 1, "1/s"))
        raise KeyboardInterrupt("the minutes of the run are over")

    cut = replace(PLAN, tasks=(SERVER, HOST, "eager"))
    with pytest.raises(KeyboardInterrupt):
        driver.run(cut, tmp_path, interrupted, lambda said: None, keep)
    assert seen == [1]
    why = "the minutes of the run are over; what was found until then counts"
    told = json.loads(report.files[1].read_text("utf-8"))
    assert told["left_out"] == [{"what": "server, host, eager", "why": why}]
    assert [row["part"] for row in told["rows"]] == [RATE]


def test_a_child_that_does_not_end_or_fails_is_told_and_ends_nothing(tmp_path: Path) -> None:
    began: list[str] = []
    late = replace(PLAN, tasks=(HOST, SERVER), task_minutes=0.0)
    found = driver.run(late, tmp_path, lambda plan, folder, lines: lines.fact("served", folder.name), began.append)
    assert [one.what for one in found.left] == [HOST]
    assert "did not end within 0 minutes" in found.left[0].why
    assert found.facts["served"] == "server"
    assert began == [f"measuring: {HOST}", f"measuring: {SERVER}"]
    assert "seconds" in found.facts["during each task"][HOST]
