"""Measures the memory of the server at rest and after many answers; judges nothing but growth.

The answers go over connections that stay open from the first to the last, so that what is seen is
what answers cost, and not what new connections do. Memory is read while the server is at rest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import client, contenders, proc
from bench.cores import pinned
from bench.load import CONNECTIONS
from bench.plan import Stage
from bench.proc import Memory
from bench.processes import running
from bench.report import Part, Row

GROWTH_KIB = 2048
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Seen:
    """What a server holds after so many answers."""

    answers: int
    memory: Memory


def measure(stage: Stage) -> Part:
    """Read the memory of ours after one answer and after two greater numbers of them."""
    ours = contenders.ours(stage)
    with pinned(stage.cores.load), running(ours.program, ours.ready, stage.cores.server) as server:
        client.check_generated(ours.name, client.ask(ours.program.port, client.GENERATE, stage.context)[0])
        seen = [_look(server.pid, 1)]
        with client.kept(ours.program.port, stage.context, CONNECTIONS) as connections:
            answers = 0
            for wanted in stage.plan.memory_answers:
                while answers < wanted:
                    client.press(connections, client.GENERATE)
                    answers += len(connections)
                seen.append(_look(server.pid, answers))
    note = f"Memory: RSS / PSS of ours, at rest; the same {CONNECTIONS} connections over TLS throughout."
    return Part(rows(seen), (note,))


def _look(pid: int, answers: int) -> Seen:
    """Read the memory once the server has come to rest."""
    time.sleep(SETTLE_SECONDS)
    return Seen(answers, proc.memory(pid))


def rows(seen: Sequence[Seen]) -> tuple[Row, ...]:
    """Return what was seen, and the growth between the last two, which is flagged when RSS grew too much.

    PSS is not judged: it also rises when another program that shares libraries with the server ends.
    """
    early, late = seen[-2:]
    rss = late.memory.rss_kib - early.memory.rss_kib
    pss = late.memory.pss_kib - early.memory.pss_kib
    flag = f" **GROWTH**, over {GROWTH_KIB:,}" if rss > GROWTH_KIB else ""
    growth = Row(
        f"memory growth, {early.answers:,} to {late.answers:,} answers, KiB",
        {contenders.OURS: f"{rss:+,} / {pss:+,}{flag}"},
    )
    return (*map(_row, seen), growth)


def _row(seen: Seen) -> Row:
    answers = "1 answer" if seen.answers == 1 else f"{seen.answers:,} answers"
    cell = f"{seen.memory.rss_kib:,} / {seen.memory.pss_kib:,}"
    return Row(f"memory after {answers}, KiB", {contenders.OURS: cell})
