"""The listeners: sockets, one start and one end for all of them. Knows nothing of what is served."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

from minimon_server.errors import StartupError
from minimon_server.logs import Lines
from minimon_server.web.edge import Edge, EdgeProtocol

BACKLOG: Final = 2048


@dataclass(frozen=True, slots=True)
class Binding:
    """Where one listener stands: host, port, the setting that chose the port, and its TLS context if it has one."""

    host: str
    port: int
    setting: str
    tls: ssl.SSLContext | None


class Listener(uvicorn.Server):
    """One uvicorn server of several: signals and the application's lifespan are not its business."""

    def __init__(self, config: uvicorn.Config, edge: Edge, grace: int) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._edge, self._grace = edge, grace
        self._leaving: Callable[[Listener], None] = lambda _: None

    async def serve_until_the_end(self, sockets: list[socket.socket], leaving: Callable[[Listener], None]) -> None:
        """Serve; call `leaving` when this listener takes no more connections, whatever the reason; never raise."""
        self._leaving = leaving
        try:
            await self.serve(sockets=sockets)
        except Exception as error:
            self._edge.lines.tell("error", "a listener has failed", {"port": self.config.port, "exception": error})
        finally:
            leaving(self)

    async def main_loop(self) -> None:
        """Do what uvicorn does while it listens; a failure there ends this listener as gently as a signal would."""
        try:
            await super().main_loop()
        except Exception as error:
            self._edge.lines.tell("error", "a listener has failed", {"port": self.config.port, "exception": error})
        finally:
            self._leaving(self)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `serve`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and say so.

        As uvicorn does it, but that a TLS handshake has a deadline: before its end no protocol is there to set one.
        """
        config, edge = self.config, self._edge
        patience = edge.limits.head_seconds if config.ssl else None
        loop = asyncio.get_running_loop()
        self.servers = []
        for listening in sockets or ():
            server = await loop.create_server(
                lambda: EdgeProtocol(config, self.server_state, {}, edge=edge),
                sock=listening,
                ssl=config.ssl,
                backlog=config.backlog,
                ssl_handshake_timeout=patience,
                ssl_shutdown_timeout=edge.limits.stall_seconds if config.ssl else None,
            )
            self.servers.append(server)
        self.started = True
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does; after the grace nobody holds the end up who does not send or does not read."""
        over = asyncio.get_running_loop().call_later(self._grace, self._end_of_grace)
        await super().shutdown(sockets)
        over.cancel()
        self.abort()

    def _end_of_grace(self) -> None:
        cut = len(self.server_state.connections)
        if cut:
            self._edge.lines.tell("warning", "the grace is over", {"port": self.config.port, "cut": cut})
        self.abort()

    def abort(self) -> None:
        """End every connection at once."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def bind(binding: Binding) -> list[socket.socket]:
    """Return listening sockets for every address of the host; raise `StartupError` naming the setting."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(binding.host, binding.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((item[0], item[4]) for item in found):
            dual = family == socket.AF_INET6 and binding.host == "::" and socket.has_dualstack_ipv6()
            bound.append(socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=dual))
    except OSError as error:
        for listening in bound:
            listening.close()
        where = f"{binding.host} port {binding.port}"
        wrong_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        way_out = "MINIMON_HOST names the address" if wrong_host else f"{binding.setting} chooses another port"
        raise StartupError([f"cannot listen on {where}: {error.strerror}; {way_out}"], exit_status=1) from error
    return bound


async def serve(
    app: Starlette,
    bindings: Sequence[Binding],
    *,
    edge: Edge,
    grace: int,
    ready: Callable[[], None],
    ending: Callable[[], None],
    hurry: Callable[[], None] = lambda: None,
    over: Callable[[], Awaitable[None]],
    beside: Sequence[Coroutine[Any, Any, None]] = (),
) -> bool:
    """Serve `app` on every binding until SIGINT or SIGTERM, until `over` returns, or until one listener ends.

    `ready` is called once all listen, `ending` when the end begins. Running requests get `grace` seconds; a second
    signal ends them, and calls `hurry`. What runs `beside` is cancelled. Return whether a signal came; raise
    `StartupError` when a listener began the end.
    """
    with contextlib.ExitStack() as until_the_end:
        listeners = [_listener(app, binding, edge, grace) for binding in bindings]
        held = [bind(binding) for binding in bindings]
        for group in held:
            for item in group:
                until_the_end.enter_context(contextlib.closing(item))
        async with app.router.lifespan_context(app):
            end = _End(listeners, hurry)
            tasks = [
                asyncio.create_task(listener.serve_until_the_end(group, end.begin))
                for listener, group in zip(listeners, held, strict=True)
            ]
            companions = [asyncio.create_task(_told(one, edge.lines)) for one in (*beside, end.after(over))]
            until_the_end.enter_context(end.of_signals())  # what the lifespan ends is hastened by a second one, too
            try:
                await _until_up(listeners, end.begun)
                if not end.begun.done():
                    ready()
                await end.begun
                ending()
            finally:
                for listener in listeners:
                    listener.should_exit = True
                await asyncio.gather(*tasks)
                await _cancel(companions)
    return end.was_asked()


def _listener(app: Starlette, binding: Binding, edge: Edge, grace: int) -> Listener:
    tls = binding.tls
    config = uvicorn.Config(
        app,
        host=binding.host,
        port=binding.port,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        # Handlers see that their client is gone when the grace is over; whoever does not mind is cancelled then.
        timeout_graceful_shutdown=grace + 1,
    )
    return Listener(config, edge, grace)


async def _until_up(listeners: Sequence[Listener], end: asyncio.Future[Listener | None]) -> None:
    """Return when every listener listens, or when the end begins before that."""

    async def everyone() -> None:
        for listener in listeners:
            await listener.up.wait()

    waiting = asyncio.create_task(everyone())
    either: list[asyncio.Future[Any]] = [waiting, end]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _told(companion: Coroutine[Any, Any, None], lines: Lines) -> None:
    try:
        await companion
    except Exception as error:
        lines.tell("error", "what runs beside the listeners has ended", {"exception": error})


class _End:
    """The one end of all listeners: by a signal, a listener that goes, or its time; hastened by a second signal."""

    def __init__(self, listeners: Sequence[Listener], hurry: Callable[[], None]) -> None:
        self._listeners, self._hurry = listeners, hurry
        self._signals = 0
        # Who began it; None: a signal, or its time had come.
        self.begun: asyncio.Future[Listener | None] = asyncio.get_running_loop().create_future()

    def begin(self, listener: Listener | None) -> None:
        """Begin it, unless it has begun."""
        if not self.begun.done():
            self.begun.set_result(listener)

    def was_asked(self) -> bool:
        """Return whether a signal asked for it, however it began; raise `StartupError` when a listener began it."""
        if gone := self.begun.result():
            told = f"the listener on port {gone.config.port} has ended, and the server with it"
            raise StartupError([told], exit_status=1)
        return self._signals > 0

    async def after(self, over: Callable[[], Awaitable[None]]) -> None:
        """Begin it when `over` returns."""
        await over()
        self.begin(None)

    @contextlib.contextmanager
    def of_signals(self) -> Generator[None, None, None]:
        """Handle SIGINT and SIGTERM, here and nowhere else."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        self._signals += 1
        self.begin(None)
        if self._signals > 1:
            for listener in self._listeners:
                listener.force_exit = True
                listener.abort()
            self._hurry()
