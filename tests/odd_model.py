"""A name server that does whatever a test wants: answers well, badly, slowly, endlessly, or not at all."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

Talk = Callable[["OddModel", "Line"], bool]


class Line(socketserver.StreamRequestHandler):
    """One connection: reads requests, and answers each as the server is told at that moment."""

    server: Any

    def handle(self) -> None:
        """Answer until the behaviour or the client ends the connection."""
        with suppress(OSError):
            while self._read() and self.server.model.behaviour(self.server.model, self):
                pass

    def _read(self) -> bool:
        head: dict[str, str] = {}
        first = self.rfile.readline().decode("latin-1").strip()
        if not first:
            return False
        while text := self.rfile.readline().decode("latin-1").strip():
            name, _, value = text.partition(":")
            head[name.lower()] = value.strip()
        body = self.rfile.read(int(head.get("content-length", 0)))
        self.server.model.asked.append((first, head, json.loads(body)))
        return True

    def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.wfile.write(data)

    def answer(self, body: bytes, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bool:
        """Send a whole answer; return True, so that the connection stays."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        self.say(head.encode() + body)
        return True


class OddModel:
    """The server, on a port of its own in threads of its own; `behaviour` may be changed at any time."""

    def __init__(self, behaviour: Talk) -> None:
        self.behaviour = behaviour
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128
            model = self

        self._server = Server(("127.0.0.1", 0), Line)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL holds."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"


def chat(content: object) -> bytes:
    """Return an answer of /chat/completions in which the model has written `content`."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": message}]}).encode()


def writes(content: object) -> Talk:
    """The model writes `content`."""
    return lambda _, line: line.answer(chat(content))


def answers(body: bytes, status: str = "200 OK", kind: str = "application/json", more: str = "") -> Talk:
    """The server answers with these bytes."""
    return lambda _, line: line.answer(body, status, kind, more)


def says(data: bytes) -> Talk:
    """The server sends these bytes, whatever HTTP thinks of them, and closes."""

    def talk(_: OddModel, line: Line) -> bool:
        line.say(data)
        return False

    return talk


def hangs(model: OddModel, _: Line) -> bool:
    """The server reads the question and says nothing."""
    model.ended.wait()
    return False


def drips(model: OddModel, line: Line) -> bool:
    """The server sends a right answer, one byte a second."""
    body = chat('{"name": "Floraclaw"}')
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body:
        line.say(bytes([byte]))
        if model.ended.wait(1):
            break
    return False


def never_ends(model: OddModel, line: Line) -> bool:
    """The server sends for as long as somebody reads."""
    line.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not model.ended.is_set():
        line.say(b" " * 65536)
    return False
