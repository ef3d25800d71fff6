"""The parts about switches and steps: every contender does what it is measured at, and drift is in no ratio."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bench import step_costs
from bench.report import Figure
from bench.step_costs import EVALUATIONS, Pair, by_turns
from bench.switch_models import build
from bench.switches import FLOOR, LIBRARY, OURS, _rows, _took
from minimon_server.logs import Lines, LogSink
from tests import small_pipeline


def test_a_machine_that_slows_down_is_in_both_and_in_no_ratio() -> None:
    speed, order = iter(range(1, 10_000)), list[str]()
    now = [1.0]

    def taking(name: str, ms: float) -> float:
        if len(order) % (2 * EVALUATIONS) == 0:
            now[0] = float(next(speed))  # ever slower, from one contender's round to the next
        order.append(name)
        return ms * now[0]

    pairs = {
        "one": Pair(lambda: taking("bare", 10.0), lambda: taking("worn", 10.0)),
        "two": Pair(lambda: taking("bare", 10.0), lambda: taking("worn", 13.0)),
    }
    took = by_turns(pairs, 4)
    assert [worn / bare for bare, worn in took["one"]] == [1.0] * 4
    assert [worn / bare for bare, worn in took["two"]] == pytest.approx([1.3] * 4)
    assert took["one"][0][0] == 30.0  # the first round is the third time that the speed changes, after both of one more
    firsts = order[:: 2 * EVALUATIONS][::2]
    assert firsts == ["bare", "worn", "bare", "worn", "bare"]
    assert all(one != other for one, other in zip(order[0::2], order[1::2], strict=True))


def test_one_evaluation_that_something_else_held_up_is_not_the_rounds() -> None:
    spent = iter([10.0, 99.0, *[10.0] * (EVALUATIONS - 2)] * 2)
    took = by_turns({"one": Pair(lambda: next(spent), lambda: 10.0)}, 1)
    assert took == {"one": [(10.0, 10.0)]}


def test_two_rounds_of_new_models_do_not_count_and_each_is_made_ready_for() -> None:
    seen: list[tuple[str, int]] = []

    def call(turn: int) -> float:
        seen.append(("call", turn))
        return float(turn)

    assert _took({"one": call}, 3, lambda turn: seen.append(("before", turn))) == {"one": [0.0, 1.0, 2.0]}
    assert seen == [(what, turn) for turn in range(-2, 3) for what in ("before", "call")]


def test_a_step_has_a_ratio_beside_both_its_times() -> None:
    torch.set_num_threads(1)
    bare, worn = small_pipeline.unet().eval(), small_pipeline.unet().eval()
    rows = list(step_costs.rows({OURS: (bare, worn), LIBRARY: (worn, bare)}, 8, 2))
    assert [set(row.cells) for row in rows] == [{OURS, LIBRARY}] * 3
    for who in (OURS, LIBRARY):
        without, stacked, ratio = (row.cells[who] for row in rows)
        assert isinstance(without, Figure)
        assert isinstance(stacked, Figure)
        assert isinstance(ratio, Figure)
        pairs = zip(without.in_turn, stacked.in_turn, strict=True)
        assert list(ratio.in_turn) == [other / one for one, other in pairs]
        assert min(without.low, stacked.low) > 0
    assert rows[2].target is not None


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
    warm = [{OURS}, {OURS, FLOOR}, {OURS}]
    assert [set(row.cells) for row in rows] == [floor, *warm, beside, floor, floor, beside, beside, beside]
    for row in rows:
        for cell in row.cells.values():
            assert isinstance(cell, Figure)
            assert cell.low > 0 or "beyond" in row.measured
