"""Hits of the stock beside the static backend, in turns: with a full stock, and while it is refilled. Judges nothing.

With a full stock a hit is what a player meets who comes after a while: the engine rests when it is asked for, and
begins to draw the next one while the answer is on its way. Before each hit the stock is waited for.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from bench.client import GENERATE
from bench.errors import BenchError
from bench.job_health import Answered
from bench.job_race import Foreign
from bench.plan import Stage
from bench.race import FOREIGN_LIMIT
from bench.stock_client import TimedLine

LOOK_SECONDS = 0.005
# Less than any drawing takes: so many are taken that the stock never fills up meanwhile.
PAUSE_SECONDS = 0.01
HEAD_START = 3  # creatures that are taken before the first hit that counts while the stock is refilled
FILL_SECONDS = 600.0  # without a new creature, nobody draws


@dataclass(frozen=True)
class Side:
    """A server in the race: its process, the connection that is timed, another one to look at it."""

    pid: int
    line: TimedLine
    look: TimedLine


@dataclass
class Seen:
    """All of the race, round by round."""

    full: list[Answered] = field(default_factory=list)
    static: list[Answered] = field(default_factory=list)
    refilling: list[Answered] = field(default_factory=list)
    refilled: list[int] = field(default_factory=list)  # creatures drawn while hits were timed
    foreign: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)  # bytes of an answer: ours, static
    asked: int = 0  # of the stock

    @property
    def disturbed(self) -> bool:
        """Whether other programs used so much of the core that the figures say little."""
        return statistics.median(self.foreign) > FOREIGN_LIMIT


def run(stage: Stage, ours: Side, static: Side) -> Seen:
    """Race for all rounds; one hit of each before every round does not count."""
    seen, full = Seen(), ours.look.counted("minimon_stock_wanted")
    for _ in range(stage.plan.stock_rounds):
        with Foreign(stage.cores.server, (ours.pid, static.pid), seen.foreign):
            _full_round(seen, ours, static, full, stage.plan.stock_hits)
            _refilling_round(seen, ours, full, stage.plan.stock_hits)
    return seen


def until_full(look: TimedLine, full: int) -> None:
    """Return when so many creatures are kept; fail when no more are added."""
    most, until = -1, time.monotonic() + FILL_SECONDS
    while (found := look.stock()) < full:
        if found > most:
            most, until = found, time.monotonic() + FILL_SECONDS
        if time.monotonic() > until:
            raise BenchError(f"the stock holds {found} of {full} creatures, and nobody draws more")
        time.sleep(LOOK_SECONDS)


def _full_round(seen: Seen, ours: Side, static: Side, full: int, hits: int) -> None:
    """Ask both in turns, each time when the stock is full; the static one first, while nobody draws."""
    times: tuple[list[float], list[float]] = [], []
    for number in range(hits + 1):
        until_full(ours.look, full)
        static.look.get("/metrics")  # as ours was
        other, answered = static.line.get(GENERATE)
        own, body = ours.line.get(GENERATE)
        seen.sizes.append((len(body), len(answered)))
        if number:
            times[0].append(own)
            times[1].append(other)
    seen.asked += hits + 1
    seen.full.append(Answered(times[0]))
    seen.static.append(Answered(times[1]))


def _refilling_round(seen: Seen, ours: Side, full: int, hits: int) -> None:
    """Ask ours alone, faster than anybody draws, while the engine is at work; fail where the stock was full again."""
    until_full(ours.look, full)
    before = _refilled(ours)
    for _ in range(HEAD_START):
        ours.line.get(GENERATE)
    while (began := _refilled(ours)) == before:
        time.sleep(LOOK_SECONDS)
    taken = []
    for _ in range(hits):
        taken.append(ours.line.get(GENERATE)[0])
        time.sleep(PAUSE_SECONDS)
    if ours.look.stock() >= full:
        raise BenchError(f"the stock was full again after {hits} creatures were taken: it was not being refilled")
    seen.asked += hits + HEAD_START
    seen.refilling.append(Answered(taken))
    seen.refilled.append(_refilled(ours) - began)


def _refilled(ours: Side) -> int:
    return ours.look.counted("minimon_stock_refilled_total")


def check_hits(look: TimedLine, asked: int) -> None:
    """Fail unless every answer of `asked` came out of the stock, and none was drawn while its client waited."""
    given, drawn = look.counted("minimon_stock_given_total"), look.counted("minimon_creatures_on_demand_total")
    if (given, drawn) != (asked, 0):
        raise BenchError(f"of {asked} creatures asked for, {given} came out of the stock, {drawn} were drawn on demand")
