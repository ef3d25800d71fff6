"""What `/metrics` says: right in form, true in number, and no client can make it grow."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from minimon_server.creatures.rarity import RARITIES
from minimon_server.logs import LogSink
from minimon_server.web.metrics import log
from minimon_server.web.tally import BOUNDS
from tests.support import Bench, app_under_test


def scraped(bench: Bench, **headers: str) -> dict[str, Metric]:
    answer = bench.client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in read_text(answer.text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float | None:
    family = families[name.removesuffix("_total")]
    found = [one.value for one in family.samples if one.name == name and one.labels == labels]
    assert len(found) <= 1
    return found[0] if found else None


def test_requests_are_counted_by_route_method_and_class(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        for path in ("/v1/generate", "/v1/generate?seed=1", "/v1/generate?seed=x", "/health"):
            bench.client.get(path)
        bench.client.head("/health")
        families = scraped(bench)
        name = "minimon_http_requests_total"
        assert value(families, name, route="/v1/generate", method="GET", status="2xx") == 2
        assert value(families, name, route="/v1/generate", method="GET", status="4xx") == 1
        assert value(families, name, route="/health", method="GET", status="2xx") == 1
        assert value(families, name, route="/health", method="HEAD", status="2xx") == 1
        made = [value(families, "minimon_creatures_total", rarity=rarity) or 0 for rarity in RARITIES]
        assert sum(made) == 2
        assert value(families, "minimon_errors_total", code="INVALID_REQUEST") == 1
        assert value(families, "minimon_ready") == 1
        started = value(families, "process_start_time_seconds")
        assert started is not None
        assert started > 1.7e9


def test_a_histogram_is_whole(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        for _ in range(3):
            bench.client.get("/v1/generate")
        samples = scraped(bench)["minimon_http_request_duration_seconds"].samples
        ours = [one for one in samples if one.labels["route"] == "/v1/generate"]
        buckets = [(float(one.labels["le"]), one.value) for one in ours if one.name.endswith("_bucket")]
        assert [end for end, _ in buckets] == [*BOUNDS, float("inf")]
        assert [count for _, count in buckets] == sorted(count for _, count in buckets)
        (count,) = [one.value for one in ours if one.name.endswith("_count")]
        (seconds,) = [one.value for one in ours if one.name.endswith("_sum")]
        assert buckets[-1][1] == count == 3
        assert seconds > 0


def test_no_client_makes_it_grow(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        for number in range(30):
            bench.client.get(f"/nowhere/{number}")
            bench.client.request(f"BREW{number}", f"/cup/{number}")
            bench.client.request("PUT", "/v1/generate")
        samples = scraped(bench)["minimon_http_requests"].samples
        assert {(one.labels["route"], one.labels["method"]): one.value for one in samples} == {
            ("unmatched", "GET"): 30,
            ("unmatched", "other"): 30,
            ("unmatched", "PUT"): 30,
        }


def test_refusals_are_counted(tmp_path: Path) -> None:
    tokens = {"MINIMON_BEARER_TOKEN": "t", "MINIMON_PLAY_TOKEN": "p", "MINIMON_RATE_LIMIT_PER_MIN": "3"}
    with app_under_test(tmp_path, tokens) as bench:
        assert bench.client.get("/v1/generate").status_code == 401
        assert bench.client.get("/v1/generate?seed=1", headers={"Authorization": "Bearer p"}).status_code == 403
        assert bench.client.get("/metrics").status_code == 401
        statuses = [bench.client.get("/v1/generate", headers={"Authorization": "Bearer t"}).status_code for _ in "abc"]
        families = scraped(bench, Authorization="Bearer t")
        assert value(families, "minimon_errors_total", code="UNAUTHORIZED") == 2
        assert value(families, "minimon_errors_total", code="FORBIDDEN") == 1
        assert value(families, "minimon_errors_total", code="RATE_LIMITED") == statuses.count(429) > 0
        # What was refused is still a request of its route, and made no creature.
        name = "minimon_http_requests_total"
        refused = value(families, name, route="/v1/generate", method="GET", status="4xx")
        assert refused == 2 + statuses.count(429)
        assert sum(value(families, "minimon_creatures_total", rarity=rarity) or 0 for rarity in RARITIES) == (
            statuses.count(200)
        )


def test_openmetrics_for_whoever_asks(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        answer: httpx2.Response = bench.client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        families = read_openmetrics(answer.text)  # type: ignore[no-untyped-call]
        assert {family.name for family in families} >= {"minimon_creatures", "minimon_build"}


def test_lost_log_lines_are_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = LogSink(writing)
    try:
        sink.write(b"the reader is gone")
        assert sink.flush()
        sink.write(b"nobody will read this")
        (family,) = log(sink)()
        assert [one.value for one in family.samples] == [1]
    finally:
        sink.close()
        os.close(writing)
