"""The race of those who draw: the loop of raw calls, ours, LitServe, in turns, one client and then several at once.

All of them are on one core, the client is on the other. Starts no server; judges nothing.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from bench import disk, proc
from bench.cores import pinned
from bench.disk import Appended
from bench.errors import BenchError
from bench.job_client import Drawer, at_once
from bench.job_contenders import RAW, Raw
from bench.plan import Stage
from bench.race import FOREIGN_LIMIT

AT_ONCE = 8
DISK_SECONDS = 0.5
# A page of SQLite in its write-ahead log, with the head of its frame; a commit of a job writes a few.
PAGE = bytes(4096 + 24)
PAGES_A_COMMIT = 3


@dataclass
class Times:
    """What one contender came to, round by round: of a job alone, of several at once, of both."""

    median_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    queue_per_second: list[float] = field(default_factory=list)
    processor_ms: list[float] = field(default_factory=list)


@dataclass
class Seen:
    """All of the race."""

    times: dict[str, Times]
    disk: list[Appended] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    jobs: int = 0

    @property
    def disturbed(self) -> bool:
        """Whether other programs used so much of the core that the figures say little."""
        return statistics.median(self.foreign) > FOREIGN_LIMIT

    def beyond_raw_ms(self, name: str) -> list[float]:
        """Return what a job took beyond a raw call, round by round: both were measured side by side."""
        pairs = zip(self.times[name].median_ms, self.times[RAW].median_ms, strict=True)
        return [one - raw for one, raw in pairs]


@dataclass(frozen=True)
class Racer:
    """A server in the race: what it is called, its process, its clients, the first of which is also alone."""

    name: str
    pid: int
    clients: Sequence[Drawer]


def run(stage: Stage, raw: Raw, racers: Sequence[Racer]) -> Seen:
    """Race round by round, after one picture of each that is compared, and so warms all of them up."""
    check_same_pictures(raw, racers)
    seen = Seen({name: Times() for name in (RAW, *(racer.name for racer in racers))})
    pids = (raw.pid, *(racer.pid for racer in racers))
    seeds = iter(range(1000, 10_000_000))
    for _ in range(stage.plan.job_rounds):
        with pinned(stage.cores.server):
            seen.disk.append(disk.append(stage.folder / "disk", PAGE * PAGES_A_COMMIT, DISK_SECONDS))
        alone, several = list(islice(seeds, stage.plan.jobs_a_round)), list(islice(seeds, AT_ONCE))
        with Foreign(stage.cores.server, pids, seen.foreign):
            with _used(raw.pid, seen.times[RAW], len(alone) + len(several)):
                _raw_round(seen.times[RAW], raw, alone, several)
            for racer in racers:
                with _used(racer.pid, seen.times[racer.name], len(alone) + len(several)):
                    _round(seen.times[racer.name], racer, alone, several)
        seen.jobs += (len(alone) + len(several)) * (1 + len(racers))
    return seen


def check_same_pictures(raw: Raw, racers: Sequence[Racer]) -> None:
    """Fail unless all draw the same pixels for the same seed."""
    for seed in (1, 2):
        wanted = pixels(raw.draw([seed])[0][1])
        for racer in racers:
            for client in racer.clients[: 1 if seed == 1 else None]:
                if pixels(client.draw(seed)) != wanted:
                    raise BenchError(f"{racer.name} draws another picture than {RAW}")


def pixels(png: bytes) -> bytes:
    """Return the bare pixels of a PNG file."""
    from PIL import Image  # comes with what draws

    return Image.open(io.BytesIO(png)).convert("RGB").tobytes()


def _raw_round(times: Times, raw: Raw, alone: list[int], several: list[int]) -> None:
    _note(times, [seconds for seconds, _ in raw.draw(alone)])
    began = time.perf_counter()
    raw.draw(several)
    times.queue_per_second.append(len(several) / (time.perf_counter() - began))


def _round(times: Times, racer: Racer, alone: list[int], several: list[int]) -> None:
    client = racer.clients[0]
    for one in racer.clients:
        one.renew()
    _note(times, [_timed(partial(client.draw, seed)) for seed in alone])
    times.queue_per_second.append(len(several) / at_once(racer.clients, several))


def _note(times: Times, seconds: Sequence[float]) -> None:
    times.median_ms.append(1000 * statistics.median(seconds))
    times.per_second.append(len(seconds) / sum(seconds))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def _used(pid: int, times: Times, jobs: int) -> Iterator[None]:
    """Note the processor time that a process and its children use for each of some jobs."""
    before = proc.cpu_seconds(pid)
    yield
    times.processor_ms.append(1000 * (proc.cpu_seconds(pid) - before) / jobs)


class Foreign:
    """Adds to a list which share of a core others than some processes used while this was open."""

    def __init__(self, core: int, pids: Sequence[int], shares: list[float]) -> None:
        self._core, self._pids, self._shares = core, pids, shares

    def _used(self) -> float:
        own = sum(proc.cpu_seconds(pid) for pid in self._pids)
        return proc.busy_seconds({self._core}) - proc.kernel_seconds() - own

    def __enter__(self) -> None:
        self._began, self._before = time.perf_counter(), self._used()

    def __exit__(self, *_: object) -> None:
        passed = time.perf_counter() - self._began
        self._shares.append(max(0.0, self._used() - self._before) / passed)
