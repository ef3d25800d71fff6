"""Loads several running servers in turn and sorts out disturbed rounds; starts none and judges none.

Other programs on the two cores slow the fastest servers most, which would flatter the slower ones. What they use
is therefore measured in every round, and a round with too much of it is repeated.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench import client, load, proc
from bench.contenders import Contender
from bench.errors import BenchError
from bench.load import Load
from bench.plan import Stage

SIZE_LEEWAY = 2048
FOREIGN_LIMIT = 0.1


@dataclass(frozen=True)
class Entry:
    """One server in the race: its process, the sizes its answers may have, the cipher it agreed on."""

    contender: Contender
    pid: int
    sizes: tuple[int, ...]
    cipher: str


@dataclass(frozen=True)
class Round:
    """What one round of load came to, what it cost the server, and the share of a core that others used."""

    load: Load
    server_seconds: float
    foreign: float

    @property
    def disturbed(self) -> bool:
        """Whether other programs used so much that the round says little."""
        return self.foreign > FOREIGN_LIMIT


@dataclass(frozen=True)
class Result:
    """All rounds of one server; `rounds` are the ones that count, `answers` is the number in all of them."""

    rounds: tuple[Round, ...]
    answers: int

    @property
    def disturbed(self) -> bool:
        """Whether the rounds that count are disturbed ones, for want of better."""
        return any(one.disturbed for one in self.rounds)

    @property
    def server_busy(self) -> float:
        """The share of its core that the server used."""
        return statistics.median(one.server_seconds / one.load.seconds for one in self.rounds)

    @property
    def generator_busy(self) -> float:
        """The share of its core that the load generator used."""
        return statistics.median(one.load.busy for one in self.rounds)


def run(stage: Stage, entries: Sequence[Entry]) -> dict[str, Result]:
    """Load the servers one after the other, round by round; a first, short round does not count."""
    plan, spare = stage.plan, stage.plan.spare_rounds
    tried: dict[str, list[Round]] = {entry.contender.name: [] for entry in entries}
    warm_up = {entry.contender.name: _round(stage, entry, plan.warm_up_seconds).load.answers for entry in entries}
    for _ in range(plan.rounds):
        for entry in entries:
            rounds = tried[entry.contender.name]
            rounds.append(_round(stage, entry, plan.round_seconds))
            while rounds[-1].disturbed and spare > 0:
                spare -= 1
                rounds.append(_round(stage, entry, plan.round_seconds))
    return {
        name: Result(counted(rounds, plan.rounds), warm_up[name] + sum(one.load.answers for one in rounds))
        for name, rounds in tried.items()
    }


def counted(rounds: Sequence[Round], wanted: int) -> tuple[Round, ...]:
    """Return the undisturbed rounds, or the least disturbed ones when fewer than half of those wanted are left."""
    calm = tuple(one for one in rounds if not one.disturbed)
    if 2 * len(calm) >= wanted:
        return calm
    return tuple(sorted(rounds, key=lambda one: one.foreign)[:wanted])


def _round(stage: Stage, entry: Entry, seconds: int) -> Round:
    cores, name = stage.cores, entry.contender.name
    server, both = proc.cpu_seconds(entry.pid), proc.busy_seconds({cores.server, cores.load})
    done = load.run(name, entry.contender.url(client.GENERATE), seconds, cores.load)
    both = proc.busy_seconds({cores.server, cores.load}) - both
    server = proc.cpu_seconds(entry.pid) - server
    _check_size(entry, done)
    return Round(done, server, max(0.0, (both - server) / done.seconds - done.busy))


def _check_size(entry: Entry, done: Load) -> None:
    """Fail when answers under load are not as long as the ones that were looked at."""
    low, high = min(entry.sizes) * 0.98, (max(entry.sizes) + SIZE_LEEWAY) * 1.02
    if not low <= done.bytes_per_answer <= high:
        raise BenchError(
            f"{entry.contender.name} sent {done.bytes_per_answer:.0f} bytes an answer under load, "
            f"but {min(entry.sizes)} to {max(entry.sizes)} when asked one by one"
        )
