"""What is wanted on one H200, and whether it was met. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bench.gpu.modes import Mode
from bench.gpu.paths import BASE, TURBO, TURBO_DRAFT
from bench.gpu.plan import PLAIN
from bench.gpu.rows import Found, Row
from bench.gpu.served import RATE, STACK, SWITCH
from minimon_server.engines.sdxl_side_by_side import WIDEST

CARD: Final = "H200"
SIZES: Final = "sdxl"
Outcome = Literal["met", "MISSED", "not judged", "not measured"]
Pick = Callable[[Iterable[Row]], list[tuple[float, Row]]]


@dataclass(frozen=True)
class Goal:
    """A figure that is wanted: at most or at least `limit`, the best of the rows that `pick` gives.

    Rows that the server cannot be set to draw as are not among them, and no batch that it never draws.
    """

    what: str
    limit: float
    unit: str
    at_most: bool
    pick: Pick

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'<=' if self.at_most else '>='} {self.limit:g} {self.unit}"


@dataclass(frozen=True)
class Verdict:
    """What became of a goal; `value` and `mode` are those of the best row."""

    what: str
    wanted: str
    outcome: Outcome
    value: float | None
    mode: str
    why: str = ""

    def text(self) -> str:
        """Return one line for people."""
        figure = "" if self.value is None else f": {self.value:,.2f} ({self.mode})"
        return f"{self.what}, {self.wanted}{figure}: {self.outcome}{f', {self.why}' if self.why else ''}"


def _is_served(name: str) -> bool:
    return name != PLAIN and Mode.parse(name).is_served


def _ms(part: str, batch: int, kind: Callable[[str], bool] = _is_served) -> Pick:
    return lambda rows: [
        (one.median, one) for one in rows if one.part == part and one.batch == batch and kind(one.mode)
    ]


def _per_second(part: str) -> Pick:
    return lambda rows: [
        (1000 * one.batch / one.median, one)
        for one in rows
        if one.part == part and one.batch <= WIDEST and _is_served(one.mode)
    ]


def _value(part: str) -> Pick:
    return lambda rows: [(one.median, one) for one in rows if one.part == part]


def _in_16_bits(mode: str) -> bool:
    return _is_served(mode) and Mode.parse(mode).quantisation is None


def _in_fp8(mode: str) -> bool:
    return _is_served(mode) and Mode.parse(mode).quantisation in ("fp8", "fp8-weight")


GOALS: Final = (
    Goal("Turbo 512x512, full VAE, batch 1", 12, "ms", True, _ms(TURBO, 1)),
    Goal("Turbo 512x512, full VAE, raw", 110, "pictures/s", False, _per_second(TURBO)),
    Goal("Turbo 512x512, full VAE, through HTTPS", 90, "pictures/s", False, _value(RATE)),
    Goal("Turbo 512x512, draft decoder, raw", 250, "pictures/s", False, _per_second(TURBO_DRAFT)),
    Goal("SDXL 1024x1024, 30 steps, guided, bf16", 950, "ms", True, _ms(BASE, 1, _in_16_bits)),
    Goal("SDXL 1024x1024, 30 steps, guided, fp8", 750, "ms", True, _ms(BASE, 1, _in_fp8)),
    Goal("change of stack", 150, "ms", True, _value(STACK)),
    Goal("warm switch of model", 500, "ms", True, _value(SWITCH)),
)


def judge(found: Found, sizes: str, goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """Return what became of each goal; on another card, or at other sizes, figures stand without a judgement."""
    card = str(found.facts.get("machine", {}).get("card", "an unknown card"))
    return [_verdict(goal, found.rows, card, sizes) for goal in goals]


def _verdict(goal: Goal, rows: Sequence[Row], card: str, sizes: str) -> Verdict:
    figures = goal.pick(rows)
    if not figures:
        return Verdict(goal.what, goal.wanted, "not measured", None, "", "see what was left out")
    value, row = (min if goal.at_most else max)(figures, key=lambda one: one[0])
    mode = f"{row.mode}, batch {row.batch}"
    if sizes != SIZES:
        return Verdict(goal.what, goal.wanted, "not judged", value, mode, f"the networks are those of `{sizes}`")
    if CARD not in card:
        return Verdict(goal.what, goal.wanted, "not judged", value, mode, f"the goal is for one {CARD}, this is {card}")
    met = value <= goal.limit if goal.at_most else value >= goal.limit
    return Verdict(goal.what, goal.wanted, "met" if met else "MISSED", value, mode)
