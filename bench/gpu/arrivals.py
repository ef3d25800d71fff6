"""Asks a server for pictures over HTTPS: all clients at once without a pause, or as strangers arrive. Knows no rows."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import Any, Final

from bench.errors import BenchError

TIMEOUT_SECONDS: Final = 150.0
WAIT_SECONDS: Final = 60
PATIENCE_SECONDS: Final = 1800.0  # a first picture waits for its model, and until its size is compiled
FAILURES: Final = (BenchError, OSError, http.client.HTTPException)


class Client:
    """One kept connection over TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._wire = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)

    def draw(self, wish: dict[str, Any]) -> bytes:
        """Ask for a picture and wait for it, asking again while it is not there; return its file.

        Of several (`count`) all are fetched, and the first is returned.
        """
        _, accepted = self._ask("POST", "/generate", json.dumps(wish).encode(), HTTPStatus.ACCEPTED)
        path = f"/image/{json.loads(accepted)['job_id']}?wait={WAIT_SECONDS}"
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            status, file = self._ask("GET", path, None, HTTPStatus.OK, HTTPStatus.ACCEPTED)
            if status == HTTPStatus.OK:
                for number in range(2, int(wish.get("count", 1)) + 1):
                    self._ask("GET", f"{path}&n={number}", None, HTTPStatus.OK)
                return file
        raise BenchError(f"{path}: no picture within {PATIENCE_SECONDS:.0f} s")

    def _ask(self, method: str, path: str, body: bytes | None, *wanted: int) -> tuple[int, bytes]:
        self._wire.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = self._wire.getresponse()
        content = answer.read()
        if answer.status not in wanted:
            raise BenchError(f"{path}: answered with status {answer.status}: {content[:300]!r}")
        return answer.status, content

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()


@dataclass
class Waited:
    """What came of a load: how long each job was waited for, in seconds, and how long all of it took."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    whole: float = 0.0

    @property
    def per_second(self) -> float:
        """Pictures a second."""
        return len(self.seconds) / self.whole if self.whole else 0.0


class Clients:
    """Some clients, each a thread with its connection; requests differ by their seeds alone."""

    def __init__(self, port: int, context: ssl.SSLContext, number: int, wish: dict[str, Any]) -> None:
        self._own = threading.local()
        self._made: list[Client] = []
        self._make: Callable[[], Client] = partial(Client, port, context)
        self._wish, self._number = wish, number
        self._seeds = count(1)
        self._pool = ThreadPoolExecutor(number)
        self._closed = False

    def crowd(self, seconds: float, most: int) -> Waited:
        """Let every client ask again as soon as it has its picture, for some seconds or so many jobs."""
        left, until = count(), time.monotonic() + seconds

        def ask() -> list[float]:
            took = []
            while not self._closed and time.monotonic() < until and next(left) < most:
                took.append(self._drawn(time.monotonic()))
            return took

        return self._gather([self._pool.submit(ask) for _ in range(self._number)])

    def strangers(self, offsets: Sequence[float]) -> Waited:
        """Let jobs arrive at these seconds from now; each is waited for from its arrival, ready clients or not."""
        began, running = time.monotonic(), list[Future[list[float]]]()
        for offset in offsets:
            time.sleep(max(0.0, began + offset - time.monotonic()))
            running.append(self._pool.submit(self._alone, began + offset))
        return self._gather(running)

    def close(self) -> None:
        """Close every connection and ask for nothing more; waits for no job that an interrupt left under way.

        Its thread ends with the server, which is compiling for minutes perhaps.
        """
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in self._made:
            client.close()

    def _alone(self, due: float) -> list[float]:
        return [self._drawn(due)]

    def _drawn(self, since: float) -> float:
        client: Client | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = self._make()
            self._made.append(client)
        client.draw(seeded(self._wish, next(self._seeds)))
        return time.monotonic() - since

    def _gather(self, running: Sequence[Future[list[float]]]) -> Waited:
        waited, began = Waited(), time.monotonic()
        for one in running:
            try:
                waited.seconds += one.result()
            except FAILURES as failure:
                waited.failures.append(f"{type(failure).__name__}: {failure}")
        waited.whole = time.monotonic() - began
        return waited


def seeded(wish: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return a wish with a seed; without, where it is for several pictures.

    What a seed gives is exact: pictures that were asked for by theirs are never drawn side by side.
    """
    return wish if wish.get("count", 1) > 1 else {**wish, "seed": seed}


def poisson(rate: float, seconds: float, most: int, numbers: random.Random) -> list[float]:
    """Return the seconds at which strangers arrive, `rate` a second on the whole: pauses are exponential.

    No later than `seconds`, and no more than `most`.
    """
    if rate <= 0:
        raise BenchError(f"nobody arrives at {rate} a second")
    found: list[float] = []
    at = numbers.expovariate(rate)
    while at < seconds and len(found) < most:
        found.append(at)
        at += numbers.expovariate(rate)
    return found


def one_by_one(client: Client, wishes: Sequence[dict[str, Any]]) -> list[float]:
    """Ask for one after the other; return the seconds of each."""
    took = []
    for wish in wishes:
        began = time.perf_counter()
        client.draw(wish)
        took.append(time.perf_counter() - began)
    return took
