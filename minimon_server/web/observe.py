"""The outermost layer: an id, one log line and one count for each request, errors told. Decides nothing about them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minimon_server.errors import MinimonError
from minimon_server.logs import Lines
from minimon_server.web.problems import problem
from minimon_server.web.tally import Tally

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._~+/=-]{1,64}")
LOGGED_BODY_BYTES: Final = 4096
LOGGED_PATH_CHARACTERS: Final = 512
SAFE_IN_PATH: Final = "!$&'()*+,;=:@/%~-._"


class TellErrors:
    """ASGI middleware: whatever is raised below becomes an answer, and its cause part of the request's log line."""

    def __init__(self, app: ASGIApp, *, tally: Tally) -> None:
        self._app = app
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http" or "minimon.status" in scope:
                raise
            told = error if isinstance(error, MinimonError) else MinimonError()
            if told.status == 500:
                note(scope, exception=error.__cause__ or error)
            elif told.status > 500:
                # Known and told of where it began: a trace a request would fill what is left of a disk.
                note(scope, reason=told.detail.en)
            self._tally.errors[told.code] += 1
            await problem(told, scope)(scope, receive, send)


def note(scope: Scope, **fields: object) -> None:
    """Add fields to the log line of this request; a handler may call it as often as it likes."""
    scope["minimon.notes"].update(fields)


class Observe:
    """ASGI middleware: `X-Request-ID` in and out, one log line a request, unexpected errors told once."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        lines: Lines,
        tally: Tally,
        new_id: Callable[[], str],
        log_bodies: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._lines = lines
        self._tally = tally
        self._new_id = new_id
        self._log_bodies = log_bodies
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "minimon.refused" in scope:  # by the edge, which has told so, before this was begun
            return
        began = self._clock()
        request_id = scope["minimon.request_id"] = self._request_id(scope)
        scope["minimon.notes"] = {}
        extra = [(b"x-request-id", request_id.encode("ascii")), (b"x-content-type-options", b"nosniff")]

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start" and "minimon.refused" not in scope:
                scope["minimon.status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        if self._log_bodies:
            receive = await _recorded(scope, receive)
        try:
            await self._app(scope, receive, observed_send)
        except Exception as error:
            # Half an answer is out already. The server closes the connection, which is all that can be done.
            note(scope, exception=error, cut=True)
        finally:
            self._tell(scope, request_id, self._clock() - began)

    def _request_id(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                return str(value, "ascii")
        return self._new_id()

    def _tell(self, scope: Scope, request_id: str, seconds: float) -> None:
        client = scope.get("client")
        notes: dict[str, Any] = scope["minimon.notes"]
        status: int | None = scope.get("minimon.status")  # None: the client went away before there was an answer
        refused: MinimonError | None = scope.get("minimon.refused")  # by the edge, in the middle of the body
        if refused and status is None:
            status, notes["refused"] = refused.status, refused.detail.en
            self._tally.errors[refused.code] += 1
        self._tally.request(scope, status, seconds)
        fields = {
            "id": request_id,
            "method": scope["method"],
            "path": logged_path(scope),
            "status": status,
            "ms": int(seconds * 100_000) / 100,
            "client": client[0] if client else None,
            **notes,
        }
        self._lines.tell("error" if "exception" in notes else "info", "request", fields)


def logged_path(scope: Scope) -> str:
    """Return the path as the client sent it, without its query, with anything that could break a line quoted."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    return _quoted(raw[:LOGGED_PATH_CHARACTERS])


@lru_cache(maxsize=256)
def _quoted(path: bytes) -> str:
    return quote(path, safe=SAFE_IN_PATH)


async def _recorded(scope: Scope, receive: Receive) -> Receive:
    """Read the first part of the body for the log, and return a `receive` that gives it again."""
    first: Message | None = await receive()
    assert first is not None
    if body := first.get("body"):
        note(scope, request_body=body[:LOGGED_BODY_BYTES].decode("utf-8", "backslashreplace"))

    async def replayed_receive() -> Message:
        nonlocal first
        message, first = first, None
        return message if message is not None else await receive()

    return replayed_receive
