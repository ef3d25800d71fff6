"""What the edge refuses is told once: one log line like any request's, one count, and no answer of others is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from minimon_server.web.app import request_ids
from minimon_server.web.edge import Limits
from minimon_server.web.observe import Observe
from tests.support import Bench, app_under_test
from tests.web.edge_scene import END, GET, LONG, SHORT, exchange, listening, reader_app, status_of

CHUNKED = b"POST /here?secret=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked" + END


def observed(tmp_path: Path, limits: Limits, *pieces: bytes) -> tuple[bytes, list[dict[str, Any]], Bench]:
    """Send pieces to a handler that reads bodies, as the application observes it; return answer, log and counts."""

    async def run(bench: Bench) -> bytes:
        app = Observe(reader_app, lines=bench.edge_lines, tally=bench.tally, new_id=request_ids(), log_bodies=False)
        async with listening(app, bench, limits) as port:
            return await exchange(port, *pieces)

    with app_under_test(tmp_path) as bench:
        answer = asyncio.run(run(bench))
        return answer, bench.lines(), bench


def test_a_body_that_does_not_come_is_one_line_with_the_id_of_its_request(tmp_path: Path) -> None:
    answer, (line,), bench = observed(tmp_path, SHORT, CHUNKED, b"5\r\nab")
    assert status_of(answer) == line["status"] == 408
    assert (line["event"], line["method"], line["path"]) == ("request", "POST", "/here")
    assert line["refused"] == "The request did not arrive in time."
    assert b"x-request-id: %b" % line["id"].encode() in answer
    assert bench.tally.errors["REQUEST_TIMEOUT"] == 1
    assert [status for _, _, status in bench.tally.series] == [408]


def test_a_body_that_is_too_large_is_one_line_however_it_arrives(tmp_path: Path) -> None:
    chunks = (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 5
    for turn, pieces in enumerate([(CHUNKED + chunks,), (CHUNKED, chunks)]):
        answer, lines, bench = observed(tmp_path / str(turn), LONG, *pieces)
        assert status_of(answer) == 413
        assert [(line["status"], line["path"]) for line in lines] == [(413, "/here")]
        assert b"x-request-id: %b" % lines[0]["id"].encode() in answer
        assert bench.tally.errors["PAYLOAD_TOO_LARGE"] == 1


def test_a_bad_body_behind_a_request_under_way_does_not_spoil_its_answer(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] == "GET"
        await release.wait()
        await reader_app(scope, receive, send)

    async def scene(bench: Bench) -> bytes:
        async with listening(app, bench, LONG) as port:
            waiting = asyncio.create_task(exchange(port, GET + b"\r\n" + CHUNKED + b"zz\r\n"))
            while not bench.tally.series:  # noqa: ASYNC110 - the refusal has no event to wait for
                await asyncio.sleep(0.01)
            release.set()
            return await waiting

    with app_under_test(tmp_path) as bench:
        answer = asyncio.run(scene(bench))
        (line,) = bench.lines()
    assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (200, 1)
    assert (line["path"], line["status"], line["refused"]) == ("/here", None, "This is not a readable HTTP request.")


def test_connections_are_counted_while_they_last_and_when_there_are_too_many(tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        async with listening(bench.app, bench, Limits(connections=2)) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            assert await exchange(port) == b""
            assert bench.tally.turned_away == 1
            assert bench.tally.connections == 2
            text = bench.client.get("/metrics").text
            for _, writer in held:
                writer.close()
        for sample in ("connections 2.0", "connections_refused_total 1.0", 'limit{of="connections"} 2048.0'):
            assert f"minimon_{sample}\n" in text
        for sample in ('limit{of="creations_per_minute"} 60.0', 'limit{of="reads_per_minute"} 600.0'):
            assert f"minimon_{sample}\n" in text

    with app_under_test(tmp_path) as bench:
        asyncio.run(scene(bench))
        assert bench.tally.connections == 0
        assert [line["event"] for line in bench.lines()] == ["too many connections", "request"]
