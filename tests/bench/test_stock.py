"""The part about the stock: what counts as a hit, how figures are judged, and that both servers give what is asked."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import certificate, client, stock, stock_contenders, stock_race
from bench.contenders import Contender
from bench.cores import choose
from bench.errors import BenchError
from bench.job_health import Answered
from bench.plan import QUICK, Stage
from bench.report import Part, Table, render
from bench.stock_client import TimedLine, added_up, length_of
from bench.stock_contenders import EMBEDDED, Drawer
from bench.stock_race import Seen

ROOT = Path(__file__).resolve().parents[2]
METRICS = """\
# HELP minimon_stock Creatures kept ready.
minimon_stock{rarity="F"} 3.0
minimon_stock{rarity="S+"} 1.0
minimon_stock_given_total{rarity="F"} 7.0
minimon_stock_discarded_total 2.0
"""


def stage_in(folder: Path, root: Path = ROOT) -> Stage:
    pair = certificate.make(folder)
    plan = replace(QUICK, stock_rounds=1, stock_hits=8)
    return Stage(root, folder, pair, client.trust(pair.certificate), choose(), plan)


def seen(full: float, static: float, refilling: float, foreign: float = 0.0) -> Seen:
    one = [Answered([value / 2, value / 2, value]) for value in (full, static, refilling)]
    return Seen([one[0]], [one[1]], [one[2]], [5], [foreign], [(100, 90)], 11)


def told(found: Seen) -> str:
    return render(Table((), [Part(stock.rows(found), contenders=stock.COLUMNS)]))


def test_the_goals() -> None:
    met = told(seen(1.5, 1.0, 10.0))
    assert "| a stock hit, p99, ms | 1.50 | 1.00 | 1.50 |" in met
    assert "p99 over the static backend's | **1.50** (goal 1.50 or less: met) |" in met
    assert "while the stock is refilled, p99, ms | **10.00** (goal 10.00 or less: met) |" in met
    missed = told(seen(1.6, 1.0, 10.1))
    assert missed.count("MISSED") == 2
    disturbed = told(seen(1.6, 1.0, 10.1, foreign=0.5))
    assert disturbed.count("NOT JUDGED") == 2
    assert "MISSED" not in disturbed


def test_metrics_are_added_up_over_their_labels_and_no_other_name_is() -> None:
    assert added_up(METRICS, "minimon_stock") == 4
    assert added_up(METRICS, "minimon_stock_given_total") == 7
    assert added_up(METRICS, "minimon_stock_discarded_total") == 2
    with pytest.raises(BenchError, match="no minimon_stock_giv"):
        added_up(METRICS, "minimon_stock_giv")


def test_only_a_good_answer_has_a_length() -> None:
    assert length_of("/", b"HTTP/1.1 200 OK\r\nContent-Length: 12") == 12
    for head in (b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 12", b"HTTP/1.1 200 OK\r\nserver: x"):
        with pytest.raises(BenchError, match="was answered with"):
            length_of("/", head)


def test_the_embedded_model_draws_where_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "models" / EMBEDDED
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    drawing = stock_contenders.drawer(stage_in(tmp_path, root=tmp_path))
    assert (drawing.folder, drawing.side) == (folder, 128)
    assert "SDXL_STEPS" not in drawing.settings()


def test_the_shelf_holds_twice_what_a_round_takes() -> None:
    assert [8 * stock_contenders.shelf(hits) for hits in (1, 8, 60, 200)] == [8, 16, 120, 400]


def crayon(stage: Stage) -> Contender:
    """Return the server with a stock, drawn by the tests' crayon, more slowly than hits are asked for."""
    ours = stock_contenders.ours(stage, Drawer(stage.folder / "tiny", 64, 1, "a crayon"))
    env = {**ours.program.env, "SDXL_TURBO_MODEL": "tiny", "CRAYON_STEP_SECONDS": "0.3"}
    argv = (sys.executable, "-m", "tests.e2e.drawing_server")
    return replace(ours, program=replace(ours.program, argv=argv, env=env))


@pytest.mark.torture
def test_every_hit_of_a_real_race_comes_out_of_the_stock(tmp_path: Path) -> None:
    stage = stage_in(tmp_path)
    found = stock.race(stage, crayon(stage))
    assert found.asked == 9 + 8 + stock_race.HEAD_START
    assert [len(one.ms) for one in (*found.full, *found.static, *found.refilling)] == [8, 8, 8]
    assert told(found).count("| a stock hit, p") == 3


def test_a_hit_that_was_none_fails_the_race() -> None:
    class Told(TimedLine):
        def __init__(self) -> None:
            """Connect to nobody."""

        def counted(self, name: str) -> int:
            return {"minimon_stock_given_total": 19, "minimon_creatures_on_demand_total": 1}[name]

    with pytest.raises(BenchError, match="of 20 creatures asked for, 19 came out of the stock, 1 were drawn on demand"):
        stock_race.check_hits(Told(), 20)
