"""Turns rows of measurements into one Markdown table and puts it into a document; measures nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
DOUBT = "NOT JUDGED, see below"
EMPTY = f"# Measurements\n\n{BEGIN}\n{END}\n"


@dataclass(frozen=True)
class Figure:
    """The median of several measurements of one thing, and how far they lie apart."""

    median: float
    low: float
    high: float
    digits: int = 0
    in_turn: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Iterable[float], digits: int = 0) -> Figure:
        """Take the median, the least and the greatest of some values."""
        in_turn = tuple(values)
        return cls(statistics.median(in_turn), min(in_turn), max(in_turn), digits, in_turn)

    def over(self, other: Figure) -> float:
        """Return how many times the other this is: the median of the ratios, round by round.

        Contenders take turns, so the rounds of one number were measured side by side: a machine whose speed drifts
        drifts in both, and the ratio keeps still where that of the medians would not.
        """
        if len(self.in_turn) != len(other.in_turn) or not all(other.in_turn):
            return self.median / other.median
        return statistics.median(one / another for one, another in zip(self.in_turn, other.in_turn, strict=True))

    def text(self) -> str:
        """Return the median, with the range behind it where there is one."""
        median, low, high = (f"{value:,.{self.digits}f}" for value in (self.median, self.low, self.high))
        return median if self.low == self.high else f"{median} ({low}-{high})"


@dataclass(frozen=True)
class Target:
    """What our own figure must reach, or stay under where less is better; `aim` is what we would like."""

    limit: float
    aim: float | None = None
    at_most: bool = False

    def text(self, value: float, digits: int) -> str:
        """Return what was wanted, and whether it was met."""
        wanted = f"goal {self.limit:,.{digits}f} or {'less' if self.at_most else 'more'}: {self._verdict(value)}"
        if self.aim is None:
            return f"({wanted})"
        return f"({wanted}; aim {self.aim:,.{digits}f}: {'met' if self._meets(value, self.aim) else 'missed'})"

    def _verdict(self, value: float) -> str:
        return "met" if self._meets(value, self.limit) else "MISSED"

    def _meets(self, value: float, wanted: float) -> bool:
        return value <= wanted if self.at_most else value >= wanted


@dataclass(frozen=True)
class Row:
    """One thing measured, by contender; `goals` holds the least ratio wanted against a peer, `target` what is wanted.

    A goal is not judged when the figure of ours or of that peer is doubtful.
    """

    measured: str
    cells: Mapping[str, Figure | str]
    compared: bool = False
    goals: Mapping[str, float] = field(default_factory=dict)
    doubtful: frozenset[str] = frozenset()
    target: Target | None = None


@dataclass(frozen=True)
class Part:
    """What one subject brings; `contenders` are its own columns, where it is not measured beside the usual ones."""

    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """The whole result: the first contender is ours, the others its peers. Parts with columns of their own follow."""

    contenders: Sequence[str]
    parts: Sequence[Part]

    @property
    def skipped(self) -> tuple[str, ...]:
        """What could not be measured, and why."""
        return tuple(text for part in self.parts for text in part.skipped)


def render(table: Table) -> str:
    """Return the table, with a table for each part that has columns of its own, and the notes under each."""
    usual = [part for part in table.parts if not part.contenders]
    groups = [(tuple(table.contenders), usual)] if usual else []
    groups += [(part.contenders, [part]) for part in table.parts if part.contenders]
    return "\n".join(_table(contenders, parts) for contenders, parts in groups)


def _table(contenders: Sequence[str], parts: Sequence[Part]) -> str:
    ours, *peers = contenders
    heading = ["measured", *contenders, *(f"{ours} / {peer}" for peer in peers)]
    lines = [_line(heading), _line(["---"] + ["---:"] * (len(heading) - 1))]
    for part in parts:
        for row in part.rows:
            cells = [_own(row, ours), *(_cell(row.cells.get(name)) for name in peers)]
            lines.append(_line([row.measured, *cells, *(_ratio(row, ours, peer) for peer in peers)]))
    remarks = [f"- SKIPPED: {text}" for part in parts for text in part.skipped]
    remarks += [f"- {text}" for part in parts for text in part.notes]
    return "\n".join([*lines, "", *remarks]).rstrip() + "\n"


def put(path: Path, text: str) -> None:
    """Replace what stands between the two markers of a document, which is made if it is not there."""
    old = path.read_text("utf-8") if path.exists() else EMPTY
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(between(old, text), encoding="utf-8")


def between(document: str, text: str) -> str:
    """Return the document with the text in place of all that stood between the markers."""
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise BenchError(f"the document needs one line {BEGIN} and after it one line {END}")
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{rest.split(END)[1]}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Figure | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else value.text()


def _own(row: Row, ours: str) -> str:
    """Return our own figure, and whether it meets its target."""
    cell, text = row.cells.get(ours), _cell(row.cells.get(ours))
    if row.target is None or not isinstance(cell, Figure):
        return text
    return f"**{text}** {DOUBT if ours in row.doubtful else row.target.text(cell.median, cell.digits)}"


def _ratio(row: Row, ours: str, peer: str) -> str:
    """Return how many times the peer's figure ours is, and whether that meets the goal."""
    one, other = row.cells.get(ours), row.cells.get(peer)
    if not row.compared or not isinstance(one, Figure) or not isinstance(other, Figure) or not other.median:
        return "-"
    ratio = one.over(other)
    goal = row.goals.get(peer)
    if goal is None:
        return f"{ratio:.2f}"
    verdict = "met" if ratio >= goal else "MISSED"
    if {ours, peer} & row.doubtful:
        verdict = DOUBT
    return f"**{ratio:.2f}** (goal {goal:.1f} or more: {verdict})"
