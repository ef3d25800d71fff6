"""The thread that writes: whatever goes wrong in it, nobody waits for ever, and nobody is told what is not so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import cast

import pytest

from minimon_server.logs import Lines, LogSink
from minimon_server.scores import writer
from minimon_server.scores.ledger import Entry, Ledger, LedgerBroken, LedgerFull
from minimon_server.scores.writer import Writer

ENTRY = Entry(b"{}", "mnm_" + "0" * 24, None)


class Disk:
    """In a ledger's place: raises what it is told to raise."""

    def __init__(self) -> None:
        self.writing: Exception | None = None
        self.saving: Exception | None = None
        self.saved = asyncio.Event()
        self.tried: asyncio.Queue[None] = asyncio.Queue()
        self.found_room = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def append(self, _: Sequence[Entry]) -> None:
        if self.writing:
            raise self.writing

    def try_room(self) -> None:
        self.loop.call_soon_threadsafe(self.tried.put_nowait, None)
        self.append([])
        self.loop.call_soon_threadsafe(self.found_room.set)

    def save_checkpoint(self) -> None:
        self.loop.call_soon_threadsafe(self.saved.set)
        if self.saving:
            raise self.saving


def writer_on(disk: Disk) -> Writer:
    log = Lines(LogSink(os.open(os.devnull, os.O_WRONLY)), level="info", as_json=True, secrets=()).logger()
    return Writer(cast("Ledger", disk), log)


async def append_until_refused(one: Writer) -> None:
    async with asyncio.timeout(10):
        while True:  # the first may yet be written before the mistake is noted
            await one.append(ENTRY)


def test_a_mistake_over_a_checkpoint_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_SECONDS", 0.0)

    async def scene() -> None:
        disk = Disk()
        disk.saving = RuntimeError("unforeseen")
        one = writer_on(disk)
        await one.append(ENTRY)
        await disk.saved.wait()
        with pytest.raises(LedgerBroken, match="unforeseen"):
            await append_until_refused(one)
        assert await one.close()

    asyncio.run(scene())


def test_after_a_full_disk_it_is_ready_again_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not ready is sent none."""
    monkeypatch.setattr(writer, "_RETRY_SECONDS", 0.01)

    async def scene() -> None:
        disk = Disk()
        disk.writing = LedgerFull("No space left on device")
        one = writer_on(disk)
        with pytest.raises(LedgerFull):
            await one.append(ENTRY)
        assert one.full
        async with asyncio.timeout(10):
            await disk.tried.get()
            await disk.tried.get()
            assert one.full
            disk.writing = None
            await disk.found_room.wait()
        assert await one.close()
        assert not one.full

    asyncio.run(scene())


def test_whoever_comes_after_the_end_is_told_so() -> None:
    async def scene() -> None:
        one = writer_on(Disk())
        assert await one.close()
        with pytest.raises(LedgerBroken, match="the server is ending"):
            async with asyncio.timeout(10):
                await one.append(ENTRY)

    asyncio.run(scene())
