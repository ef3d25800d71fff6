"""Measures /v1/generate over TLS 1.3 for the server and its peers: who takes part, and the rows of the table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import client, contenders, load, race
from bench.contenders import Contender, Prepared
from bench.errors import ToolMissingError
from bench.load import Shape
from bench.plan import Stage
from bench.processes import running
from bench.race import Entry, Result, Round
from bench.report import Figure, Part, Row

GOALS = {contenders.PLAIN: 2.0, contenders.NGINX: 0.8, contenders.NGINX_ONE: 0.8}
SHAPE = Shape(client.GENERATE)

Results = dict[str, Result]


def measure(stage: Stage) -> Part:
    """Start all contenders, load them in turn, and return their figures."""
    try:
        load.find()
    except ToolMissingError as missing:
        return Part(skipped=(f"/v1/generate: {missing}",))
    with ExitStack() as stack:
        entries, skipped = _enter_all(stage, stack)
        results = race.run(stage, entries)
    rows = (*_rows(results), *_check_rows(entries, results))
    return Part(rows, _notes(stage, entries, results), skipped)


def _enter_all(stage: Stage, stack: ExitStack) -> tuple[list[Entry], tuple[str, ...]]:
    """Start every contender that can be started; the prepared answer comes from ours."""

    def enter(contender: Contender) -> tuple[Entry, Sequence[client.Answer]]:
        server = stack.enter_context(running(contender.program, contender.ready, stage.cores.server))
        answers = client.ask(contender.program.port, client.GENERATE, stage.context, stage.plan.samples)
        for answer in answers:
            client.check_generated(contender.name, answer)
        sizes = tuple(len(answer.body) for answer in answers)
        return Entry(contender, server.pid, sizes, answers[0].cipher, SHAPE), answers

    first, answers = enter(contenders.ours(stage))
    prepared = Prepared.of(answer.body for answer in answers)
    entries, skipped = [first], []
    others: tuple[Callable[[], Contender], ...] = (
        lambda: contenders.plain_fastapi(stage),
        lambda: contenders.nginx(stage, prepared),
        lambda: contenders.nginx(stage, prepared.nearest_to_the_mean(), contenders.NGINX_ONE),
        lambda: contenders.bare_asgi(stage, prepared),
    )
    for make in others:
        try:
            entries.append(enter(make())[0])
        except ToolMissingError as missing:
            skipped.append(str(missing))
    return entries, tuple(skipped)


def _rows(results: Results) -> tuple[Row, ...]:
    def row(what: str, digits: int, pick: Callable[[Round], float], *, judged: bool = False) -> Row:
        figures: dict[str, Figure | str] = {
            name: Figure.of((pick(one) for one in result.rounds), digits) for name, result in results.items()
        }
        doubtful = frozenset(name for name, result in results.items() if race.doubt(name, result))
        return Row(f"/v1/generate, {what}", figures, compared=True, goals=GOALS if judged else {}, doubtful=doubtful)

    return (
        row("answers a second", 0, lambda one: one.load.per_second, judged=True),
        row("MB a second", 1, lambda one: one.load.megabytes_per_second),
        row("p50, ms", 2, lambda one: one.load.p50_ms),
        row("p99, ms", 2, lambda one: one.load.p99_ms),
        row("bytes an answer", 0, lambda one: one.load.bytes_per_answer),
        row("server's processor time an answer, ms", 3, lambda one: 1000 * one.server_seconds / one.load.answers),
    )


def _check_rows(entries: Sequence[Entry], results: Results) -> tuple[Row, ...]:
    """Show who was at the limit, who disturbed, and that those who log wrote a line for every answer."""
    busy: dict[str, Figure | str] = {}
    foreign: dict[str, Figure | str] = {}
    lines: dict[str, Figure | str] = {}
    for entry in entries:
        name, log = entry.contender.name, entry.contender.request_log
        result = results[name]
        busy[name] = f"{result.server_busy:.0%} / {result.generator_busy:.0%}"
        foreign[name] = Figure.of((100 * one.foreign for one in result.rounds), 0)
        lines[name] = f"{_lines(log) / (result.answers + len(entry.sizes)):.2f}" if log else "off"
    return (
        Row("/v1/generate, core busy, server / load generator", busy),
        Row("/v1/generate, other programs meanwhile, % of a core", foreign),
        Row("/v1/generate, log lines an answer", lines),
    )


def _lines(path: Path) -> int:
    with path.open("rb") as log:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: log.read(1 << 20), b""))


def _notes(stage: Stage, entries: Sequence[Entry], results: Results) -> tuple[str, ...]:
    plan, total = stage.plan, sum(result.answers for result in results.values())
    ciphers = ", ".join(sorted({entry.cipher for entry in entries}))
    notes = [
        f"/v1/generate: wrk, keep-alive, {load.CONNECTIONS} connections, {plan.rounds} rounds of "
        f"{plan.round_seconds} s for each contender in turn after one of {plan.warm_up_seconds} s that does not "
        f"count; median (least-greatest) of the rounds; TLS 1.3, {ciphers}; {total:,} answers, none of them "
        "refused, no socket error.",
        f"Rounds in which other programs used more than {race.FOREIGN_LIMIT:.0%} of a core are left out and repeated, "
        f"for all contenders alike, {plan.spare_rounds} times at most.",
        "All servers on one core, the load generator on another; a ratio is the median of the ratios "
        "round by round; for times, memory and bytes less is better.",
        f'"{contenders.NGINX}" and "{contenders.BARE}" send one answer of ours for each picture, as often as we do; '
        f'"{contenders.NGINX_ONE}" sends the one of about the mean size, which never leaves the processor\'s cache.',
    ]
    if stage.cores.shared:
        notes.append("Only one core was there: the servers and the load generator shared it.")
    notes += [text for name, result in results.items() if (text := race.doubt(name, result))]
    sizes = [statistics.median(one.load.bytes_per_answer for one in result.rounds) for result in results.values()]
    if max(sizes) > 1.1 * min(sizes):
        notes.append("The contenders' answers differ in size by more than 10 %: compare MB a second too.")
    return tuple(notes)
