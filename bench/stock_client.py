"""Asks one server over one kept TLS connection and takes the time of it; counts what `/metrics` tells. Judges nothing.

A bare socket, so that what is timed is the server and not a library of the client.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import time

from bench import client
from bench.errors import BenchError

TIMEOUT_SECONDS = 120.0
MOST_HEAD = 65_536
CHUNK = 262_144
IDLE_SECONDS = 2.0  # servers close connections on which nothing was asked for 5


class TimedLine:
    """One kept connection to 127.0.0.1."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._socket, self._used = self._connected(), time.monotonic()

    def get(self, path: str) -> tuple[float, bytes]:
        """Return the milliseconds from sending to the answer's last byte, and its body; fail for any but a 200.

        Connects anew before, untimed, where nothing was asked for a while.
        """
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._socket.close()
            self._socket = self._connected()
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii")
        began = time.perf_counter()
        self._socket.sendall(request)
        head, body = self._head()
        length = length_of(path, head)
        pieces, got = [body], len(body)
        while got < length:
            pieces.append(self._some())
            got += len(pieces[-1])
        took, self._used = time.perf_counter() - began, time.monotonic()
        if got > length:
            raise BenchError(f"{path} was answered with more than its {length} bytes")
        return 1000 * took, b"".join(pieces)

    def stock(self) -> int:
        """Return how many creatures are kept, of all rarities; before the model is warm, too."""
        return self.counted("minimon_stock")

    def counted(self, name: str) -> int:
        """Return a metric of `/metrics`, added up over its labels; fail when there is none of this name."""
        return added_up(self.get("/metrics")[1].decode("utf-8"), name)

    def check_tls(self) -> None:
        """Fail unless this is TLS 1.3."""
        if self._socket.version() != "TLSv1.3":
            raise BenchError(f"the connection is {self._socket.version()}, not TLSv1.3")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _connected(self) -> ssl.SSLSocket:
        bare = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS)
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(bare, server_hostname="127.0.0.1")

    def _head(self) -> tuple[bytes, bytes]:
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._some()
            if len(got) > MOST_HEAD and b"\r\n\r\n" not in got:
                raise BenchError("an answer has no end of its head")
        head, _, body = got.partition(b"\r\n\r\n")
        return head, body

    def _some(self) -> bytes:
        some = self._socket.recv(CHUNK)
        if not some:
            raise BenchError("the server closed a connection within an answer")
        return some


def length_of(path: str, head: bytes) -> int:
    """Return the length of the body of a good answer; fail for any other."""
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if status.split(" ")[1] != "200" or not fields.get("content-length", "").isdigit():
        raise BenchError(f"{path} was answered with {status!r} and {fields}")
    return int(fields["content-length"])


def added_up(metrics: str, name: str) -> int:
    """Return one metric of a text in Prometheus' format, added up over its labels; fail when it is not there."""
    lines = [line for line in metrics.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    if not lines:
        raise BenchError(f"/metrics has no {name}")
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def check_creature(name: str, body: bytes) -> bytes:
    """Return the PNG of an answer; fail when it is not a creature."""
    client.check_generated(name, client.Answer(200, body, "TLSv1.3", ""))
    return base64.b64decode(json.loads(body)["imageBase64"])
