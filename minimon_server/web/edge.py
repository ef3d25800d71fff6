"""The edge: what must hold before a request reaches the application. Answers refusals itself; knows no routes.

uvicorn's httptools protocol parses; this class stands around it and adds what it lacks: deadlines, sizes, and targets
that can mean only one thing. llhttp itself refuses Content-Length with Transfer-Encoding, bare LF and obs-fold.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, cast

import httptools
import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from minimon_server.errors import BadRequest, HeadersTooLarge, MinimonError, PayloadTooLarge, RequestTimeout
from minimon_server.logs import Lines
from minimon_server.web.observe import logged_path
from minimon_server.web.problems import last_answer
from minimon_server.web.tally import Tally
from minimon_server.web.target import check_host, check_target
from minimon_server.web.wire import GatheringTransport

HEAD_BYTES: Final = 16 * 1024
HEAD_FIELDS: Final = 100
BODY_BYTES: Final = 16 * 1024


class Phase(Enum):
    """What the connection is in the middle of: a head or a body, which have deadlines, or neither."""

    HEAD = 1
    BODY = 2
    QUIET = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much: seconds for the head, the body and a client that does not read; connections at once."""

    head_seconds: float = 10.0
    body_seconds: float = 30.0
    stall_seconds: float = 30.0
    connections: int = 2048
    body_bytes: Callable[[bytes, bytes], int] = lambda _method, _target: BODY_BYTES


@dataclass(frozen=True, slots=True)
class Edge:
    """What every connection must keep to, and where it is told and counted when one does not."""

    limits: Limits
    lines: Lines
    tally: Tally


class EdgeProtocol(HttpToolsProtocol):
    """One connection: uvicorn's protocol with the edge around it.

    A request that arrives whole in one piece, as most do, starts no timer.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        edge: Edge,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._edge, self._limits = edge, edge.limits
        self._wire: GatheringTransport
        self._phase = self._timed = Phase.QUIET
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._head_bytes = 0
        self._began_here = self._head_is_whole = False
        self._body_left = self._body_here = 0
        self._refused = False

    # the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin a connection, or end it at once when there are too many."""
        self._wire = GatheringTransport(transport, self.loop, self._limits.stall_seconds)
        super().connection_made(cast("asyncio.Transport", self._wire))
        self._began = self.loop.time()
        self._edge.tally.connections += 1
        if len(self.connections) > self._limits.connections:
            self._refused = True
            self._edge.tally.turned_away += 1
            client = self.client[0] if self.client else None
            self._edge.lines.tell("warning", "too many connections", {"client": client})
            self._wire.abort()
        else:
            self._watch(Phase.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._edge.tally.connections -= 1
        self._watch(Phase.QUIET)
        _cancel(self._stall)
        self._wire.lost()
        super().connection_lost(exc)
        # After a reset uvicorn leaves its own timer running, which would hold the connection's buffers for seconds.
        self._unset_keepalive_if_required()

    def eof_received(self) -> None:
        """Hand over what is here: the client will send no more, and the transport closes when this returns."""
        self._wire.flush()

    def pause_writing(self) -> None:
        """Note that the client does not read; it may do so only for so long."""
        super().pause_writing()
        self._stall = self.loop.call_later(self._limits.stall_seconds, self._wire.abort)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        _cancel(self._stall)
        super().resume_writing()

    # what comes in

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client; whatever is wrong with them ends the connection."""
        self._unset_keepalive_if_required()
        if self._refused:
            return
        self._began_here, self._body_here = False, 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request was handed on as the plain request that it also is; what follows it will not be HTTP.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, MinimonError) else BadRequest())
            return
        if self._phase is Phase.HEAD:
            self._head_bytes += self._of_this_head(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HeadersTooLarge())
                return
        # Between requests a client may send empty lines (RFC 9112, section 2.2), but not for ever.
        waiting = self._phase is Phase.QUIET and not self._under_way()
        self._watch(Phase.HEAD if waiting else self._phase)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._phase = Phase.HEAD
        self._began = self.loop.time()
        self._head_bytes = 0
        self._began_here, self._head_is_whole = True, False

    def on_headers_complete(self) -> None:
        """Check a whole head, and hand the request on."""
        self._head_is_whole = True
        size, hosts, length, encodings = len(self.url), [], 0, []
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            if name == b"host":
                hosts.append(value)
            elif name == b"content-length":
                length = int(value)  # llhttp has seen that these are digits
            elif name == b"transfer-encoding":
                encodings.append(value.lower())
        if size > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            raise HeadersTooLarge
        check_target(self.url)
        check_host(hosts, self.parser.get_http_version())
        if encodings not in ([], [b"chunked"]):
            # llhttp refuses others too, but only after the request was handed on.
            raise BadRequest
        self._body_left = self._limits.body_bytes(self.parser.get_method(), self.url)
        if length > self._body_left:
            raise PayloadTooLarge(limit=self._body_left)
        self._phase = Phase.BODY
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, as long as it fits."""
        self._body_left -= len(body)
        self._body_here += len(body)
        if self._body_left < 0:
            raise PayloadTooLarge(limit=self._limits.body_bytes(self.parser.get_method(), self.url))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole: from here on the time is ours."""
        self._phase = Phase.QUIET
        super().on_message_complete()

    def _of_this_head(self, data: bytes) -> int:
        """Return how much of what came last belongs to the unfinished head: not what ended before it began."""
        if not self._began_here:
            return len(data)
        return max(0, len(data) - (data.rfind(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else 0) - self._body_here)

    # refusals

    def _refuse(self, error: MinimonError) -> None:
        """Close the connection, with the error as its last answer unless another answer stands in the way."""
        self._refused = True
        self._watch(Phase.QUIET)
        under_way, in_body = self._under_way(), self._phase is Phase.BODY
        if under_way and (self.pipeline or not in_body):
            # Requests before this one are being answered: let theirs be the last answers.
            self._tell(error, None)
            if in_body:
                self.pipeline.popleft()
            self.cycle.keep_alive = False
            return
        if in_body and self.cycle.response_started:
            self._tell(error, None)
        elif under_way and "minimon.request_id" in self.cycle.scope:
            self._answer(error, cast("Scope", self.cycle.scope))  # whoever gave it the id tells of it, too
        else:
            self._answer(error, self._tell(error, error.status))
        if under_way:
            cast("Scope", self.cycle.scope)["minimon.refused"] = error
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._wire.close()

    def on_response_complete(self) -> None:
        """Go on with the next request, or end if what came after this one was refused."""
        super().on_response_complete()
        if self._refused and not self.pipeline:
            self._wire.close()

    def _under_way(self) -> bool:
        """Return whether a request has no whole answer yet; uvicorn has no cycle before the first request."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _answer(self, error: MinimonError, scope: Scope) -> None:
        self._wire.write(last_answer(error, scope, self.server_state.default_headers))

    def _tell(self, error: MinimonError, status: int | None) -> Scope:
        """Count and log what no handler will see; return the scope that its answer is told in."""
        method = path = None
        if self._head_is_whole:  # who asked for what is known
            method = self.parser.get_method().decode("ascii")
            path = logged_path({"raw_path": self.url.partition(b"?")[0]})
        seconds = self.loop.time() - self._began
        self._edge.tally.refused(error.code, method, status, seconds)
        fields = {
            "id": secrets.token_hex(8),
            "method": method,
            "path": path,
            "status": status,
            "ms": int(seconds * 100_000) / 100,
            "client": self.client[0] if self.client else None,
            "refused": error.detail.en,
        }
        self._edge.lines.tell("info", "request", fields)
        return {"headers": self.headers or [], "minimon.request_id": fields["id"]}

    # time

    def _watch(self, phase: Phase) -> None:
        """Let the clock run for this phase; a phase that goes on keeps the deadline that it began with."""
        if phase is self._timed:
            return
        self._timed = phase
        _cancel(self._timer)
        if phase is Phase.HEAD:
            self._timer = self.loop.call_later(self._limits.head_seconds, self._too_late)
        elif phase is Phase.BODY:
            self._timer = self.loop.call_later(self._limits.body_seconds, self._too_late)

    def _too_late(self) -> None:
        if self._phase is Phase.QUIET:
            self._wire.close()  # not a word was said: there is nothing to answer
        else:
            self._refuse(RequestTimeout())


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
