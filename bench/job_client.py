"""Asks servers that draw for pictures, over plain HTTP and kept connections; knows no figures."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bench import client
from bench.errors import BenchError
from bench.job_wish import wish

TIMEOUT_SECONDS = 150.0
WAIT_SECONDS = 120
JSON = {"Content-Type": "application/json"}


class Drawer(Protocol):
    """Somebody who draws a picture a call."""

    def draw(self, seed: int) -> bytes:
        """Return the PNG of this seed."""

    def renew(self) -> None:
        """Connect anew: servers close connections on which nothing was asked for a while."""

    def close(self) -> None:
        """Close the connection."""


class Line:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def ask(self, method: str, path: str, body: object = None, *, wanted: int = 200) -> bytes:
        """Return what is answered; fail when the status is another than `wanted`."""
        self.send(method, path, body)
        return self.read(wanted)

    def send(self, method: str, path: str, body: object = None) -> None:
        """Ask, and do not wait."""
        said = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, said, JSON if said else {})

    def read(self, wanted: int = 200) -> bytes:
        """Return what is answered to what was sent."""
        return self._answer(wanted)[1]

    def status(self, *wanted: int) -> int:
        """Return with which of these statuses what was sent is answered."""
        return self._answer(*wanted)[0]

    def _answer(self, *wanted: int) -> tuple[int, bytes]:
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status not in wanted:
            raise BenchError(f"answered with status {answer.status} instead of {wanted}: {content[:300]!r}")
        return answer.status, content

    def renew(self) -> None:
        """Connect anew."""
        self._connection.close()
        self._connection.connect()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Ours:
    """A client of ours: posts, then waits for the picture."""

    def __init__(self, port: int) -> None:
        self._line = Line(port)

    def draw(self, seed: int) -> bytes:
        """Return the PNG of this seed."""
        job = job_id(self._line.ask("POST", "/generate", wish(seed), wanted=202))
        return _png(self._line.ask("GET", f"/image/{job}?wait={WAIT_SECONDS}"))

    def renew(self) -> None:
        """Connect anew."""
        self._line.renew()

    def close(self) -> None:
        """Close the connection."""
        self._line.close()


class LitServe:
    """A client of LitServe: its answer is the picture."""

    def __init__(self, port: int, wish: Callable[[int], dict[str, Any]] = wish) -> None:
        """`wish` returns what is asked for, by its seed."""
        self._line = Line(port)
        self._wish = wish

    def draw(self, seed: int) -> bytes:
        """Return the PNG of this seed."""
        return _png(self._line.ask("POST", "/predict", self._wish(seed)))

    def renew(self) -> None:
        """Connect anew."""
        self._line.renew()

    def close(self) -> None:
        """Close the connection."""
        self._line.close()


def job_id(accepted: bytes) -> str:
    """Return the id in the answer of `POST /generate`."""
    answer: dict[str, Any] = json.loads(accepted)
    return str(answer["job_id"])


def at_once(drawers: Sequence[Drawer], seeds: Sequence[int]) -> float:
    """Let each drawer draw one of the seeds, all at once; return the seconds until the last is done."""
    failures: list[Exception] = []

    def draw(drawer: Drawer, seed: int) -> Callable[[], None]:
        def run() -> None:
            try:
                drawer.draw(seed)
            except (BenchError, OSError, http.client.HTTPException) as error:
                failures.append(error)

        return run

    threads = [threading.Thread(target=draw(*pair)) for pair in zip(drawers, seeds, strict=True)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise BenchError(f"a job of several at once failed: {failures[0]!r}") from failures[0]
    return seconds


def _png(content: bytes) -> bytes:
    if not content.startswith(client.PNG):
        raise BenchError(f"answered something else than a picture: {content[:120]!r}")
    return content
