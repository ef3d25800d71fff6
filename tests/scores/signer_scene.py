"""Signers with real processes and a log that can be read back, for the tests of both their lives and deaths."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from minimon_server.logs import Lines, LogSink
from minimon_server.scores.signer import ProcessSigner
from minimon_server.scores.signing import SigningKey
from tests.scores.openssl import private_pem

PATIENCE = 60.0


def key_of(kind: str) -> SigningKey:
    return SigningKey(serialization.load_pem_private_key(private_pem(kind), None))


def is_running(process: int) -> bool:
    """Return whether a process lives; one that has ended and that nobody has asked about (Z) does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Log:
    """Lines of log in a file, which can be read back."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log"
        self.sink = LogSink(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND))
        self.lines = Lines(self.sink, level="INFO", as_json=True)

    def text(self) -> str:
        self.sink.flush()
        return self.path.read_text()


@asynccontextmanager
async def signing(key: SigningKey, log: Log, **options: float) -> AsyncIterator[ProcessSigner]:
    found = ProcessSigner(key, log.lines, **options)
    await found.start()
    try:
        yield found
    finally:
        await found.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (another process is waited for)
            await asyncio.sleep(0.01)


async def outcomes(*calls: Coroutine[Any, Any, bytes]) -> list[bytes | BaseException]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*calls, return_exceptions=True)
