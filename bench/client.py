"""Asks a server over HTTPS and checks what it answers; measures no rates."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

GENERATE = "/v1/generate"
HEALTH = "/health"
TIMEOUT_SECONDS = 5.0
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Answer:
    """One answer and how it was protected on the way."""

    status: int
    body: bytes
    tls: str
    cipher: str


def trust(certificate: Path) -> ssl.SSLContext:
    """Return a TLS context that accepts this one certificate and nothing else."""
    return ssl.create_default_context(cafile=str(certificate))


def ask(port: int, path: str, context: ssl.SSLContext, times: int = 1, body: bytes | None = None) -> list[Answer]:
    """Ask for a path a number of times over one kept connection; a body, which is JSON, is posted."""
    method, headers = ("GET", {}) if body is None else ("POST", {"Content-Type": "application/json"})
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.connect()
        wire = connection.sock
        cipher = wire.cipher() if isinstance(wire, ssl.SSLSocket) else None
        tls, suite = (cipher[1], cipher[0]) if cipher else ("none", "none")
        answers = []
        for _ in range(times):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answers.append(Answer(response.status, response.read(), tls, suite))
        return answers
    finally:
        connection.close()


@contextmanager
def kept(port: int, context: ssl.SSLContext, count: int) -> Iterator[list[http.client.HTTPSConnection]]:
    """Give some connections that stay open until the end."""
    connections = [
        http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context) for _ in range(count)
    ]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def press(connections: Sequence[http.client.HTTPSConnection], path: str) -> None:
    """Ask once on every connection, all at the same time; fail on an answer that is not a good one."""
    for connection in connections:
        connection.request("GET", path)
    for connection in connections:
        response = connection.getresponse()
        response.read()
        if response.status != http.HTTPStatus.OK:
            raise BenchError(f"{path} was answered with status {response.status}")


def ready(path: str, context: ssl.SSLContext) -> Callable[[int], bool]:
    """Return a question: does the server on this port answer the path with 200?"""

    def answers(port: int) -> bool:
        try:
            return ask(port, path, context)[0].status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    return answers


def check_generated(name: str, answer: Answer) -> None:
    """Fail unless the answer is a picture in JSON, sent over TLS 1.3."""
    if answer.status != http.HTTPStatus.OK or answer.tls != "TLSv1.3":
        raise BenchError(f"{name} answered with status {answer.status} over {answer.tls}")
    try:
        content = json.loads(answer.body)
        picture = base64.b64decode(content["imageBase64"], validate=True)
        complete = {"id", "name", "rarity"} <= set(content["metadata"]) and bool(content["generatedAt"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BenchError(f"{name} answered something else than a generated picture: {error!r}") from error
    if not (complete and picture.startswith(PNG)):
        raise BenchError(f"{name} answered an incomplete picture: {answer.body[:120]!r}")
