"""The table as Markdown, its ratios and goals, and its place between two markers of a document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.memory import Seen, rows
from bench.proc import Memory
from bench.report import BEGIN, END, Figure, Part, Row, Table, Target, between, put, render

RATE = Row(
    "answers a second",
    {"ours": Figure.of([3000.4, 2900, 3100]), "slow": Figure.of([1000]), "fast": Figure.of([4000])},
    compared=True,
    goals={"slow": 2.0, "fast": 0.8},
)


def test_figures() -> None:
    assert Figure.of([3, 1, 2]).text() == "2 (1-3)"
    assert Figure.of([1234.567], digits=2).text() == "1,234.57"


def test_a_table_with_ratios_and_goals() -> None:
    part = Part((RATE, Row("log lines", {"ours": "1.00", "slow": "off"})), ("How it was measured.",))
    assert render(Table(("ours", "slow", "fast"), (part,))) == (
        "| measured | ours | slow | fast | ours / slow | ours / fast |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| answers a second | 3,000 (2,900-3,100) | 1,000 | 4,000 "
        "| **3.00** (goal 2.0 or more: met) | **0.75** (goal 0.8 or more: MISSED) |\n"
        "| log lines | 1.00 | off | - | - | - |\n"
        "\n"
        "- How it was measured.\n"
    )


def test_a_doubtful_figure_meets_no_goal() -> None:
    text = render(Table(("ours", "slow", "fast"), (Part((replace(RATE, doubtful=frozenset({"slow"})),)),)))
    assert "**3.00** (goal 2.0 or more: NOT JUDGED, see below)" in text
    assert "**0.75** (goal 0.8 or more: MISSED)" in text


def test_targets_of_our_own() -> None:
    rate = Row("rate", {"ours": Figure.of([3500]), "slow": "1"}, target=Target(3000, 4000))
    slow = Row("p99, ms", {"ours": Figure.of([50.01], 2)}, target=Target(50, 30, at_most=True))
    doubted = replace(rate, doubtful=frozenset({"ours"}), target=Target(9000))
    text = render(Table(("ours", "slow"), (Part((rate, slow, doubted)),)))
    assert "| rate | **3,500** (goal 3,000 or more: met; aim 4,000: missed) | 1 | - |" in text
    assert "| p99, ms | **50.01** (goal 50.00 or less: MISSED; aim 30.00: missed) | - | - |" in text
    assert "| rate | **3,500** NOT JUDGED, see below | 1 | - |" in text


def test_a_part_with_columns_of_its_own_is_a_table_of_its_own() -> None:
    other = Part((Row("sync", {"ours": Figure.of([2]), "disk": Figure.of([4])}, compared=True),), ("Last.",))
    text = render(
        Table(("ours", "slow", "fast"), (replace(other, contenders=("ours", "disk")), Part((RATE,), ("A.",))))
    )
    assert text.startswith("| measured | ours | slow | fast |")
    assert text.endswith(
        "- A.\n\n| measured | ours | disk | ours / disk |\n| --- | ---: | ---: | ---: |\n"
        "| sync | 2 | 4 | 0.50 |\n\n- Last.\n"
    )
    alone = render(Table(("ours", "slow"), (replace(other, contenders=("ours", "disk")),)))
    assert alone.startswith("| measured | ours | disk |")


def test_what_was_skipped_is_said_loudly() -> None:
    table = Table(("ours", "slow"), (Part((RATE,), ("A note.",), ("nginx is missing",)), Part()))
    assert table.skipped == ("nginx is missing",)
    assert "- SKIPPED: nginx is missing\n- A note.\n" in render(table)


def test_a_missing_peer_leaves_its_cells_empty() -> None:
    row = Row("answers a second", {"ours": Figure.of([1])}, compared=True, goals={"slow": 2.0})
    assert "| answers a second | 1 | - | - |" in render(Table(("ours", "slow"), (Part((row,)),)))


@pytest.mark.parametrize(("late", "flagged"), [(32_048, False), (32_049, True)])
def test_growth_is_flagged_over_two_mib(late: int, flagged: bool) -> None:
    seen = [Seen(1, Memory(20_000, 1)), Seen(20_000, Memory(30_000, 1)), Seen(100_000, Memory(late, 1))]
    growth = rows(seen)[-1]
    assert growth.measured == "memory growth, 20,000 to 100,000 answers, KiB"
    assert ("GROWTH" in str(growth.cells["ours"])) is flagged


def test_text_goes_between_the_markers() -> None:
    document = f"# Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n"
    once = between(document, "new\n")
    assert once == f"# Before\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter\n"
    assert between(once, "new") == once


@pytest.mark.parametrize("document", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_document_without_the_markers_is_refused(document: str) -> None:
    with pytest.raises(BenchError, match="bench:begin"):
        between(document, "new")


def test_a_document_is_made_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "bench.md"
    put(path, "first")
    put(path, "second")
    text = path.read_text("utf-8")
    assert "second" in text
    assert "first" not in text


def test_a_ratio_is_taken_round_by_round() -> None:
    # The machine became half as fast after the first round: side by side, ours is always twice the other.
    ours, other = Figure.of([10, 5, 5]), Figure.of([5, 2.5, 2.5])
    assert ours.over(other) == 2
    drifting = Figure.of([10, 10, 5]).over(Figure.of([5, 2.5, 2.5]))
    assert drifting == 2
    assert Figure.of([8, 10]).over(Figure.of([3])) == 3
