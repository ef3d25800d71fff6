"""A bare ASGI function that sends prepared bytes, as the limit to measure; owns no measuring.

The bytes come from the files in the folder MINIMON_BENCH_BODIES, read when the program starts, picked at random.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def make_app() -> App:
    """Read the bytes once and return the function that sends them."""
    paths = sorted(Path(os.environ["MINIMON_BENCH_BODIES"]).iterdir())
    kept: dict[bytes, bytes] = {}
    answers = [_messages(kept.setdefault(body, body)) for body in (path.read_bytes() for path in paths)]

    async def app(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        start, rest = random.choice(answers)
        await send(start)
        await send(rest)

    return app


def _messages(body: bytes) -> tuple[Message, Message]:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
    start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
    return start, {"type": "http.response.body", "body": body}
