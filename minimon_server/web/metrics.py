"""`GET /metrics`: what was counted, as Prometheus or OpenMetrics text. Counts nothing itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from minimon_server import __version__
from minimon_server.creatures.breaker import State
from minimon_server.creatures.naming import NameSource
from minimon_server.errors import Text
from minimon_server.logs import LogSink
from minimon_server.scores.certify import Scores
from minimon_server.settings import Settings
from minimon_server.web.gate import Cost, allowance
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.readiness import Readiness
from minimon_server.web.tally import BOUNDS, Series, Tally

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily
Source = Callable[[], Iterable[Family]]

_ENDS: Final = [*(str(bound) for bound in BOUNDS), "+Inf"]

GUIDE: Final = Guide(
    summary=Text("Les compteurs, pour Prometheus.", "The counters, for Prometheus."),
    detail=Text(
        "Requêtes par route, méthode et classe de statut ; durées par route ; erreurs par code, dont les refus de "
        "limite et de jeton ; créatures par rareté ; noms par source, et pourquoi un nom distant a manqué ; "
        "lignes de journal perdues ; mémoire et âge du processus. OpenMetrics pour qui le demande par `Accept`.",
        "Requests by route, method and class of status; durations by route; errors by code, refusals of limit and "
        "token among them; creatures by rarity; names by source, and why a remote one was missing; log "
        "lines lost; memory and age of the process. OpenMetrics for whoever asks for it by `Accept`.",
    ),
    answers=(
        Answer(Text("Les compteurs.", "The counters."), {"text/plain": "text", "application/openmetrics-text": "text"}),
    ),
    samples=("-k {token}{base}/metrics",),
)


class Metrics:
    """Asks every source when it is scraped; a later part adds its own source where the application is made."""

    def __init__(self, sources: Sequence[Source]) -> None:
        # A registry of our own: what some library puts into the global one is not ours to publish.
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        for source in sources:
            self._registry.register(_Asked(source))

    async def answer(self, request: Request) -> Response:
        """Answer one request in the format that its `Accept` asks for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        headers = {"Cache-Control": "no-store", "Content-Type": media_type, "Vary": "Accept"}
        return Response(encode(self._registry), headers=headers)


class _Asked(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Family]:
        """Return what the source counts now."""
        return self._source()


def usual(tally: Tally, settings: Settings, names: NameSource, readiness: Readiness) -> list[Source]:
    """Return the sources that every application has."""
    return [counted(tally), limits(tally, settings), named(tally, names), state(readiness)]


def counted(tally: Tally) -> Source:
    """Return the source that tells a tally."""

    def families() -> Iterator[Family]:
        yield _requests(tally)
        yield _durations(tally)
        errors = CounterMetricFamily("minimon_errors", "Answers that told an error, by its code.", labels=["code"])
        for code, count in tally.errors.items():
            errors.add_metric([code], count)
        yield errors
        creatures = CounterMetricFamily("minimon_creatures", "Creatures made, by rarity.", labels=["rarity"])
        for rarity, count in tally.creatures.items():
            creatures.add_metric([rarity], count)
        yield creatures

    return families


def limits(tally: Tally, settings: Settings) -> Source:
    """Return the source that tells how many connections there are, and what is allowed."""
    allowed = {
        "connections": settings.max_connections,
        "creations_per_minute": allowance(Cost.CREATE, settings.rate_limit_per_min),
        "reads_per_minute": allowance(Cost.READ, settings.rate_limit_per_min),
    }

    def families() -> Iterator[Family]:
        yield GaugeMetricFamily("minimon_connections", "Connections that are open.", value=tally.connections)
        yield CounterMetricFamily(
            "minimon_connections_refused", "Connections beyond the limit, closed at once.", value=tally.turned_away
        )
        most = GaugeMetricFamily(
            "minimon_limit", "Connections on each listener; requests of an address (0: no limit).", labels=["of"]
        )
        for name, count in allowed.items():
            most.add_metric([name], count)
        yield most

    return families


def named(tally: Tally, names: NameSource) -> Source:
    """Return the source that tells who named the creatures, and why it was not who should have."""

    def families() -> Iterator[Family]:
        given = CounterMetricFamily("minimon_names", "Creatures made, by who named them.", labels=["source"])
        given.add_metric(["local"], sum(tally.creatures.values()) - tally.remote_names)
        given.add_metric(["remote"], tally.remote_names)
        yield given
        kept = CounterMetricFamily(
            "minimon_name_fall_backs", "Local names in place of remote ones, by reason.", labels=["reason"]
        )
        for reason, count in names.fall_backs.items():
            kept.add_metric([reason.value], count)
        yield kept
        if names.breaker is not None:
            breaker = GaugeMetricFamily(
                "minimon_name_breaker", "1 for the state of the breaker before the name server.", labels=["state"]
            )
            for one in State:
                breaker.add_metric([one.value], int(one is names.breaker))
            yield breaker

    return families


def state(readiness: Readiness) -> Source:
    """Return the source that tells what this server is: its version, and whether it is ready."""

    def families() -> Iterator[Family]:
        yield InfoMetricFamily("minimon_build", "The program.", value={"version": __version__})
        yield GaugeMetricFamily("minimon_ready", "1 while /ready answers 200.", value=int(readiness.is_ready))

    return families


def log(sink: LogSink) -> Source:
    """Return the source that tells how many log lines nobody could be given."""

    def families() -> Iterator[Family]:
        yield CounterMetricFamily(
            "minimon_log_lines_lost", "Log lines lost: nobody read them, or too slowly.", value=sink.lost_lines
        )

    return families


def scores(part: Scores) -> Source:
    """Return the source that tells of certified scores and their ledger."""

    def families() -> Iterator[Family]:
        yield CounterMetricFamily("minimon_scores_certified", "Scores certified.", value=part.certified)
        yield CounterMetricFamily("minimon_scores_replayed", "Answers given again for a key.", value=part.replayed)
        yield CounterMetricFamily("minimon_ledger_syncs", "Batches written and synced.", value=part.batches)
        yield GaugeMetricFamily("minimon_ledger_records", "Records in the ledger.", value=part.records)
        yield GaugeMetricFamily("minimon_ledger_up", "1 while scores can be certified.", value=int(not part.trouble))

    return families


def _requests(tally: Tally) -> Family:
    family = CounterMetricFamily(
        "minimon_http_requests",
        "Requests, by route, method and class of status.",
        labels=["route", "method", "status"],
    )
    counts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for (route, method, status), series in tally.series.items():
        counts[route, method, f"{status // 100}xx" if status else "none"] += sum(series.buckets)
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family


def _durations(tally: Tally) -> Family:
    family = HistogramMetricFamily(
        "minimon_http_request_duration_seconds", "Seconds from request to the end of its answer.", labels=["route"]
    )
    routes: defaultdict[str, list[Series]] = defaultdict(list)
    for (route, _, _), series in tally.series.items():
        routes[route].append(series)
    for route, found in sorted(routes.items()):
        buckets = accumulate(map(sum, zip(*(series.buckets for series in found), strict=True)))
        family.add_metric(
            [route], list(zip(_ENDS, buckets, strict=True)), sum_value=sum(series.seconds for series in found)
        )
    return family
