"""What the tests of the edge share: a real listener on a port of its own, and raw bytes sent to it. Tests nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from minimon_server.web.edge import Edge, Limits
from minimon_server.web.serve import Listener
from tests.support import Bench, app_under_test

PATIENCE = 20.0
SHORT = Limits(head_seconds=0.3, body_seconds=0.3, stall_seconds=0.3, connections=20)
LONG = Limits()
END = b"\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"

Exchange = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def listening(app: object, bench: Bench, limits: Limits) -> AsyncIterator[int]:
    """Serve an ASGI application on a port of its own, with the real listener."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none", server_header=False)  # type: ignore[arg-type]
    listener = Listener(config, Edge(limits, bench.edge_lines, bench.tally), grace=1)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        task = asyncio.create_task(listener.serve(sockets=[bound]))
        await listener.up.wait()
        try:
            yield bound.getsockname()[1]
        finally:
            listener.should_exit = listener.force_exit = True
            await asyncio.wait_for(task, PATIENCE)


async def exchange(port: int, *pieces: bytes) -> bytes:
    """Send pieces, and return all that comes until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), PATIENCE)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def on_server(tmp_path: Path, limits: Limits, scene: Callable[[int], Awaitable[None]], app: object = None) -> Bench:
    """Run a scene against the application, and return what it was run on."""
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}) as bench:

        async def run() -> None:
            async with listening(app or bench.app, bench, limits) as port:
                await scene(port)

        asyncio.run(run())
        bench.text()
        return bench


async def reader_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, then answer with its length: what a route with a body does."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"%d" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
