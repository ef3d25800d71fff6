"""What the measurements of jobs are made of: small real servers and files; nothing here is timed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bench import certificate, client, job_contenders, job_memory, job_race, job_submits, job_syncs, jobs
from bench.cores import choose
from bench.disk import Appended, quantile
from bench.errors import BenchError
from bench.job_client import Ours, at_once
from bench.job_contenders import LITSERVE, OURS, RAW, Places
from bench.job_health import Answered
from bench.job_race import Seen, Times
from bench.job_syncs import Syncs
from bench.plan import QUICK, Stage
from bench.processes import running
from bench.report import Part, Row, Table, render

ROOT = Path(__file__).resolve().parents[2]
TRACE = """\
700 fdatasync(12</tmp/x/jobs.sqlite-wal>) = 0
700 fsync(14</tmp/x/outputs/a.png.part> <unfinished ...>
701 fdatasync(12</tmp/x/jobs.sqlite-wal> <unfinished ...>
700 <... fsync resumed>) = 0
701 <... fdatasync resumed>) = 0
700 fsync(15</tmp/x/outputs>) = 0
"""


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    pair = certificate.make(tmp_path)
    plan = replace(QUICK, memory_jobs=50)
    return Stage(ROOT, tmp_path, pair, client.trust(pair.certificate), choose(), plan)


def raced(ours: list[float], raw: list[float], syncs: Syncs | None = None) -> jobs.Raced:
    rates = [1000 / one for one in raw]
    times = {
        RAW: Times(raw, rates, rates, raw),
        OURS: Times(ours, [1000 / one for one in ours], rates, ours),
        LITSERVE: Times([2 * one for one in raw], [500 / one for one in raw], rates, raw),
    }
    seen = Seen(times, [Appended(1000, 1.0, 2.0) for _ in raw], [0.0 for _ in raw], 10)
    return jobs.Raced(seen, syncs, Answered([1.0, 2.0]), Answered([1.0]))


def table(*rows: Row) -> str:
    return render(Table((), [Part(tuple(rows), contenders=jobs.COLUMNS)]))


def test_what_is_beyond_a_raw_call_is_taken_round_by_round() -> None:
    told = table(*jobs._race_rows(raced([206.0, 408.0, 306.0], [200.0, 400.0, 300.0], Syncs(4.0, 2.0))))
    assert "| 1 client, a job beyond a raw call, ms | 6.0 (6.0-8.0) |" in told
    assert "**2.00** (goal 5.00 or less: met)" not in told
    assert "that less the journal's syncs, ms | **2.00 (2.00-4.00)** (goal 5.00 or less: met)" in told
    assert "% of it | **2.0 (2.0-3.0)** (goal 3.0 or less: met)" in told
    assert "| syncs a job, of the journal / of pictures | 4.0 / 2.0 |" in told
    assert "1 client, jobs a second" in told
    assert "(goal 1.0 or more: met)" in told


def test_too_much_is_missed_and_a_disturbed_race_is_not_judged() -> None:
    slow = raced([230.0], [200.0], Syncs(4.0, 2.0))
    assert "goal 5.00 or less: MISSED" in table(*jobs._race_rows(slow))
    slow.seen.foreign[:] = [0.5]
    assert "MISSED" not in table(*jobs._race_rows(slow))
    assert "less the journal's syncs" not in table(*jobs._race_rows(raced([230.0], [200.0])))


def test_the_health_of_a_server_that_draws() -> None:
    assert "**2.0** (goal 20.0 or less: met)" in table(*jobs._health_rows(raced([1.0], [1.0])))
    assert quantile([1.0, 2.0, 3.0], 0.99) == 3.0


def test_syncs_are_told_apart_by_their_file() -> None:
    assert job_syncs.parse(TRACE, Path("/tmp/x/jobs.sqlite"), 2) == Syncs(1.0, 1.0)
    with pytest.raises(BenchError, match="no sync"):
        job_syncs.parse("", Path("/tmp/x/jobs.sqlite"), 2)


def test_every_answered_job_must_be_in_the_journal() -> None:
    job_submits.check({"a", "b"}, {"a", "b", "c"}, 1)
    with pytest.raises(BenchError, match="1 jobs were answered with 202 and are not in the journal"):
        job_submits.check({"a", "b"}, {"a", "c"}, 1)
    with pytest.raises(BenchError, match="holds 4"):
        job_submits.check({"a", "b"}, {"a", "b", "c", "d"}, 1)


def test_pixels_are_those_of_the_picture_whatever_packed_them() -> None:
    files = [io.BytesIO(), io.BytesIO()]
    picture = Image.new("RGB", (2, 1), (1, 2, 3))
    picture.save(files[0], "PNG", compress_level=0)
    picture.save(files[1], "PNG", compress_level=9)
    assert {job_race.pixels(file.getvalue()) for file in files} == {bytes([1, 2, 3, 1, 2, 3])}


def test_a_server_with_a_crayon_sees_every_job_through(stage: Stage) -> None:
    grown = job_memory.measure(stage)
    assert (grown.early_jobs, grown.jobs) == (5, 50)
    assert 12 <= grown.drawn <= 50
    assert grown.late.rss_kib > 10_000
    assert "memory growth between the two" in table(*jobs._memory_rows(grown))


def test_a_pipeline_that_is_not_built_in_time_is_the_benchs_own_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_contenders, "LOAD_SECONDS", 0.01)  # no interpreter imports torch in that
    with pytest.raises(BenchError, match=r"the small pipeline could not be built within 0\.01 s"):
        job_contenders.build_model(stage)


@pytest.mark.torture
def test_ours_draws_what_the_loop_draws(stage: Stage) -> None:
    models, places = job_contenders.build_model(stage), Places(stage.folder / "drawing")
    program = job_contenders.ours(stage, places, models)
    with (
        job_contenders.raw_calls(stage, models / "small") as raw,
        running(program, job_contenders.listening) as server,
    ):
        clients = [Ours(program.port) for _ in range(2)]
        racer = job_race.Racer(OURS, server.pid, clients)
        job_race.check_same_pictures(raw, [racer])
        assert at_once(clients, [5, 6]) > 0
        for one in clients:
            one.close()
    assert len(job_submits.ids_in(places.journal)) == 5
