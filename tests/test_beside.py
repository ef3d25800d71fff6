"""Work that hangs for ever costs its own threads, and nobody else's."""

from __future__ import annotations

import asyncio
import threading

import pytest

from minimon_server.beside import Crew

PATIENCE = 20.0


def test_work_that_hangs_holds_up_those_who_ask_for_the_same_and_no_longer_than_they_wait() -> None:
    async def scene() -> None:
        crew, go_on = Crew("slow", at_once=2, patience=PATIENCE), threading.Event()
        began = threading.Semaphore(0)

        def stuck() -> str:
            began.release()
            assert go_on.wait(PATIENCE)
            return "done"

        first = [asyncio.create_task(crew.do(stuck)) for _ in range(2)]
        for _ in first:
            assert await asyncio.to_thread(began.acquire, timeout=PATIENCE)
        crew.patience = 0.01
        with pytest.raises(TimeoutError):
            await crew.do(stuck)
        assert not began.acquire(blocking=False)  # no third thread hangs
        go_on.set()
        assert await asyncio.gather(*first) == ["done", "done"]
        crew.patience = PATIENCE
        assert await crew.do(stuck) == "done"

    asyncio.run(scene())


def test_what_work_raises_is_told_to_whoever_asked() -> None:
    async def scene() -> None:
        crew = Crew("broken", at_once=1, patience=PATIENCE)

        def broken() -> None:
            raise OSError("no disk")

        for _ in range(2):
            with pytest.raises(OSError, match="no disk"):
                await crew.do(broken)

    asyncio.run(scene())
