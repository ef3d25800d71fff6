"""The edge, byte by byte over real sockets: what is refused, with which status, and what may not last."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from minimon_server.web.edge import BODY_BYTES, HEAD_BYTES, HEAD_FIELDS, Limits
from tests.web.edge_scene import END, GET, LONG, PATIENCE, SHORT, exchange, on_server, reader_app, status_of

REFUSED = {
    "no host": (400, b"GET / HTTP/1.1" + END),
    "two hosts": (400, GET + b"Host: y" + END),
    "an unreadable host": (400, b"GET / HTTP/1.1\r\nHost: a b/../c" + END),
    "a host with a path": (400, b"GET / HTTP/1.1\r\nHost: evil.example/x" + END),
    "an absolute target": (400, b"GET http://evil.example/ HTTP/1.1\r\nHost: x" + END),
    "an authority as target": (400, b"GET evil.example:80 HTTP/1.1\r\nHost: x" + END),
    "an at sign as target": (400, b"GET @evil HTTP/1.1\r\nHost: x" + END),
    "two slashes": (400, b"GET //evil.example/x HTTP/1.1\r\nHost: x" + END),
    "an asterisk": (400, b"OPTIONS * HTTP/1.1\r\nHost: x" + END),
    "connect": (400, b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x" + END),
    "nul in the path": (400, b"GET /%00 HTTP/1.1\r\nHost: x" + END),
    "crlf in the path": (400, b"GET /a%0d%0aX:1 HTTP/1.1\r\nHost: x" + END),
    "delete in the path": (400, b"GET /%7f HTTP/1.1\r\nHost: x" + END),
    "a backslash": (400, b"GET /..\\x HTTP/1.1\r\nHost: x" + END),
    "a raw control character": (400, b"GET /a\x01 HTTP/1.1\r\nHost: x" + END),
    "a raw byte": (400, b"GET /\xe9 HTTP/1.1\r\nHost: x" + END),
    "length and encoding": (400, GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked" + END + b"0" + END),
    "two lengths": (400, GET + b"Content-Length: 3\r\nContent-Length: 4" + END + b"abc"),
    "a negative length": (400, GET + b"Content-Length: -1" + END),
    "a length of letters": (400, GET + b"Content-Length: x" + END),
    "an odd encoding": (400, GET + b"Transfer-Encoding: xchunked" + END),
    "a broken chunk": (400, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked" + END + b"zz\r\n"),
    "bare line feeds": (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    "a folded field": (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c" + END),
    "a blank before the colon": (400, GET + b"A : b" + END),
    "a field without a colon": (400, GET + b"nonsense" + END),
    "nul in a field": (400, GET + b"A: \x00" + END),
    "no HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + END),
    "an unknown version": (400, b"GET / HTTP/9.9\r\nHost: x" + END),
    "HTTP/2 by prior knowledge": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "too many fields": (431, GET + b"".join(b"A%d: b\r\n" % n for n in range(HEAD_FIELDS)) + b"\r\n"),
    "a long field": (431, GET + b"A: " + b"b" * HEAD_BYTES + END),
    "a long target": (431, b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: x" + END),
    "an endless field": (431, GET + b"A: " + b"b" * 3 * HEAD_BYTES),
    "an endless target": (431, b"GET /" + b"a" * 3 * HEAD_BYTES),
    "a large body announced": (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16385" + END),
    "a huge length": (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999" + END),
    "a large body in chunks": (
        413,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked" + END + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 5,
    ),
}


@pytest.mark.parametrize(("status", "sent"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_before_any_handler(tmp_path: Path, status: int, sent: bytes) -> None:
    reached = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])
        await reader_app(scope, receive, send)

    async def scene(port: int) -> None:
        answer = await exchange(port, sent)
        assert status_of(answer) == status, answer
        head, _, body = answer.partition(END)
        assert b"connection: close" in head
        assert b"application/problem+json" in head
        assert body.startswith(b'{"type"')

    bench = on_server(tmp_path, LONG, scene, app)
    assert not reached or b"POST" in sent  # what is wrong with chunks shows when the handler waits for them already
    (line,) = bench.lines()
    assert (line["event"], line["status"]) == ("request", status)
    assert line["refused"]
    (((route, _, counted), series),) = bench.tally.series.items()
    assert (route, counted, sum(series.buckets)) == ("edge", status, 1)
    assert sum(bench.tally.errors.values()) == 1
    assert bench.tally.connections == 0


ACCEPTED = {
    "a plain request": b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close" + END,
    "HTTP/1.0 without a host": b"GET /health HTTP/1.0" + END,
    "a host with a port": b"GET /health HTTP/1.1\r\nHost: localhost:22222\r\nConnection: close" + END,
    "an IPv6 host": b"GET /health HTTP/1.1\r\nHost: [::1]:22222\r\nConnection: close" + END,
    "an empty line before": b"\r\nGET /health HTTP/1.1\r\nHost: x\r\nConnection: close" + END,
    "just enough fields": GET
    + b"".join(b"A%d: b\r\n" % n for n in range(HEAD_FIELDS - 2))
    + b"Connection: close"
    + END,
    "a large head": GET + b"A: " + b"b" * (HEAD_BYTES - 200) + b"\r\nConnection: close" + END,
    "an upgrade that nobody offers": GET + b"Connection: Upgrade\r\nUpgrade: h2c" + END,
}


@pytest.mark.parametrize("sent", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_it_is_served(tmp_path: Path, sent: bytes) -> None:
    async def scene(port: int) -> None:
        answer = await exchange(port, sent)
        assert status_of(answer) == 200, answer
        assert answer.endswith(b'"backend":"files"}')

    on_server(tmp_path, LONG, scene)


def test_a_body_of_the_greatest_size_is_taken_whole(tmp_path: Path) -> None:
    async def scene(port: int) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d" % BODY_BYTES + END
        assert (await exchange(port, head, b"x" * BODY_BYTES)).endswith(END + b"16384")

    on_server(tmp_path, LONG, scene, reader_app)


SLOW = {
    "silence": ((), 0),
    "empty lines": ((b"\r\n", b"\r\n"), 0),
    "half a request line": ((b"GET /hea",), 408),
    "half a head": ((GET + b"A: b\r\n",), 408),
    "a body that does not come": ((b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5" + END, b"ab"), 408),
    "a chunk that does not come": (
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked" + END, b"5\r\nab"),
        408,
    ),
    "an answer first, then silence": ((GET + b"\r\n",), 200),
    "an answer first, then half a head": ((GET + b"\r\n", GET), 200),
    "an answer first, then empty lines": ((GET + b"\r\n", b"\r\n"), 200),
}


@pytest.mark.parametrize(("pieces", "status"), SLOW.values(), ids=SLOW.keys())
def test_nothing_waits_for_ever(tmp_path: Path, pieces: tuple[bytes, ...], status: int) -> None:
    async def scene(port: int) -> None:
        answer = await exchange(port, *pieces)  # returns only because the server closes
        assert status_of(answer) == status

    on_server(tmp_path, SHORT, scene, None if status == 200 else reader_app)


def test_a_client_that_drips_is_cut_off_all_the_same(tmp_path: Path) -> None:
    async def scene(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = asyncio.create_task(reader.read())
        for byte in GET * 1000:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert status_of(await answer) in (0, 408)
        writer.close()

    on_server(tmp_path, SHORT, scene)


def test_a_client_that_does_not_read_is_let_go(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while (await asyncio.wait_for(receive(), 0.001))["type"] != "http.disconnect":
                pass
        except TimeoutError:
            pass
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
        ended.set()

    async def scene(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(GET + b"\r\n")
        await asyncio.wait_for(ended.wait(), PATIENCE)
        writer.transport.abort()

    on_server(tmp_path, SHORT, scene, app)


def test_there_are_only_so_many_connections(tmp_path: Path) -> None:
    async def scene(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SHORT.connections)]
        assert await exchange(port) == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        while status_of(await exchange(port, GET + b"Connection: close" + END)) != 200:
            pass  # until the server has seen that the others left

    on_server(tmp_path, Limits(connections=20), scene)


def test_a_bad_second_request_does_not_spoil_the_answer_to_the_first(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await reader_app(scope, receive, send)

    async def scene(port: int) -> None:
        waiting = asyncio.create_task(exchange(port, GET + b"\r\n", b"GET @evil HTTP/1.1\r\nHost: x" + END))
        await asyncio.sleep(0.05)
        release.set()
        answer = await waiting
        assert status_of(answer) == 200
        assert answer.count(b"HTTP/1.1 ") == 1

    on_server(tmp_path, LONG, scene, app)


def test_refusals_speak_the_language_of_the_client(tmp_path: Path) -> None:
    async def scene(port: int) -> None:
        request = b"GET /%%00 HTTP/1.1\r\nHost: x\r\nAccept-Language: %b" + END
        assert b"Bad request" in await exchange(port, request % b"en")
        assert "Requête illisible".encode() in await exchange(port, request % b"fr")

    on_server(tmp_path, LONG, scene)


def test_many_requests_in_one_breath_are_many_requests(tmp_path: Path) -> None:
    requests = (GET + b"\r\n") * 600 + GET + b"Connection: close" + END
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d" % BODY_BYTES + END + b"x" * BODY_BYTES

    async def scene(port: int) -> None:
        for cut in (len(requests) - 3, len(requests) // 2 + 5, 17_001):
            answer = await exchange(port, requests[:cut], requests[cut:])
            assert answer.count(b"HTTP/1.1 200") == 601
        answer = await exchange(port, body + GET[:1], GET[1:] + b"Connection: close" + END)
        assert answer.count(b"HTTP/1.1 200") == 2

    on_server(tmp_path, LONG, scene, reader_app)


def test_refusals_have_an_id_that_the_log_knows(tmp_path: Path) -> None:
    async def scene(port: int) -> None:
        answer = await exchange(port, b"POST /here HTTP/1.1\r\nHost: x\r\nContent-Length: 20000" + END)
        answers.append(answer)

    answers: list[bytes] = []
    (line,) = on_server(tmp_path, LONG, scene).lines()
    assert (line["method"], line["path"], line["client"]) == ("POST", "/here", "127.0.0.1")
    assert line["ms"] >= 0
    assert b"x-request-id: %b" % line["id"].encode() in answers[0]
    assert b'"requestId":"%b"' % line["id"].encode() in answers[0]
