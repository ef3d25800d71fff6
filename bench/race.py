"""Loads several running servers in turn and sorts out disturbed rounds; starts none and judges none.

Other programs on the two cores slow the fastest servers most, which would flatter the slower ones. What they use
is therefore measured in every round, and a round with too much of it is repeated. The kernel's own threads are no
other programs: what they do, they do for whoever writes to the disk.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import load, proc
from bench.contenders import Contender
from bench.errors import BenchError
from bench.load import Load, Shape
from bench.plan import Stage

SIZE_LEEWAY = 2048
FOREIGN_LIMIT = 0.1
BUSY = 0.9


@dataclass(frozen=True)
class Entry:
    """One server in the race: its process, the sizes its answers may have, the cipher it agreed on, what is asked."""

    contender: Contender
    pid: int
    sizes: tuple[int, ...]
    cipher: str
    shape: Shape


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
    """All rounds of one server: those that count, and of all `tries`, the first included, the number of answers."""

    rounds: tuple[Round, ...]
    answers: int
    tries: int

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


def run(stage: Stage, entries: Sequence[Entry], beside: Callable[[], None] | None = None) -> dict[str, Result]:
    """Load the servers one after the other, round by round; a first, short round does not count.

    `beside` measures something else in every round, while no server is loaded.
    """
    plan, spare = stage.plan, stage.plan.spare_rounds
    tried: dict[str, list[Round]] = {entry.contender.name: [] for entry in entries}
    warm_up = {entry.contender.name: _round(stage, entry, plan.warm_up_seconds).load.answers for entry in entries}
    for _ in range(plan.rounds):
        if beside:
            beside()
        for entry in entries:
            rounds = tried[entry.contender.name]
            rounds.append(_round(stage, entry, plan.round_seconds))
            while rounds[-1].disturbed and spare > 0:
                spare -= 1
                rounds.append(_round(stage, entry, plan.round_seconds))
    return {
        name: Result(
            counted(rounds, plan.rounds), warm_up[name] + sum(one.load.answers for one in rounds), 1 + len(rounds)
        )
        for name, rounds in tried.items()
    }


def counted(rounds: Sequence[Round], wanted: int) -> tuple[Round, ...]:
    """Return the undisturbed rounds, or the least disturbed ones when fewer than half of those wanted are left."""
    calm = tuple(one for one in rounds if not one.disturbed)
    if 2 * len(calm) >= wanted:
        return calm
    return tuple(sorted(rounds, key=lambda one: one.foreign)[:wanted])


def doubt(name: str, result: Result) -> str:
    """Return what speaks against the answers a second of a contender, if anything does."""
    if result.disturbed:
        return f'"{name}" was disturbed by other programs: compare the processor time an answer, or repeat.'
    if result.generator_busy >= BUSY > result.server_busy:
        return f'"{name}" was not at its limit, the load generator was: compare the processor time an answer.'
    return ""


def _round(stage: Stage, entry: Entry, seconds: int) -> Round:
    cores, name = stage.cores, entry.contender.name
    used = {cores.server, cores.load}
    server, kernel, both = proc.cpu_seconds(entry.pid), proc.kernel_seconds(), proc.busy_seconds(used)
    done = load.run(name, entry.contender.url(entry.shape.path), seconds, cores.load, entry.shape)
    both = proc.busy_seconds(used) - both
    kernel = proc.kernel_seconds() - kernel
    server = proc.cpu_seconds(entry.pid) - server
    _check_size(entry, done)
    return Round(done, server, max(0.0, (both - kernel - server) / done.seconds - done.busy))


def _check_size(entry: Entry, done: Load) -> None:
    """Fail when answers under load are not as long as the ones that were looked at."""
    low, high = min(entry.sizes) * 0.98, (max(entry.sizes) + SIZE_LEEWAY) * 1.02
    if not low <= done.bytes_per_answer <= high:
        raise BenchError(
            f"{entry.contender.name} sent {done.bytes_per_answer:.0f} bytes an answer under load, "
            f"but {min(entry.sizes)} to {max(entry.sizes)} when asked one by one"
        )
