"""Looking up models beside the event loop: shared by those who ask meanwhile, never older than the question."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from minimon_server.engines.model_info import ModelInfo
from minimon_server.jobs.errors import ModelNotAvailable
from minimon_server.jobs.model_looks import SILENT, ModelLooks
from tests.jobs.scene import PATIENCE, until

MODEL = ModelInfo("tiny", "Tiny", 64, 64, 4, 1.0)


class Disk:
    """A folder whose every look waits until it is let go."""

    def __init__(self) -> None:
        self.there = [MODEL]
        self.begun = 0
        self.at_once = 0
        self.most_at_once = 0
        self.gate = threading.Semaphore(0)
        self.broken = False

    def look(self) -> Sequence[ModelInfo]:
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        found = list(self.there)
        assert self.gate.acquire(timeout=PATIENCE)
        self.at_once -= 1
        if self.broken:
            raise ZeroDivisionError("a mistake of ours")
        return found


def test_an_answer_is_never_older_than_the_question_and_one_look_is_for_all_who_wait() -> None:
    async def scene() -> None:
        disk = Disk()
        looks = ModelLooks(disk.look)
        early = [asyncio.create_task(looks.now()) for _ in range(10)]
        await until(lambda: disk.begun == 1)
        disk.there = [MODEL, ModelInfo("new", "New", 64, 64, 4, 1.0)]
        late = [asyncio.create_task(looks.now()) for _ in range(10)]
        await asyncio.sleep(0.01)
        disk.gate.release(2)
        assert [list(found) for found in await asyncio.gather(*early)] == [["tiny"]] * 10
        assert [list(found) for found in await asyncio.gather(*late)] == [["tiny", "new"]] * 10
        assert (disk.begun, disk.most_at_once) == (2, 1)
        disk.there = []
        disk.gate.release()
        assert await looks.now() == {}

    asyncio.run(scene())


def test_a_disk_that_does_not_answer_is_told_and_asked_again() -> None:
    async def scene() -> None:
        disk = Disk()
        looks = ModelLooks(disk.look, patience=0.05)
        for _ in range(3):
            with pytest.raises(ModelNotAvailable) as told:
                await looks.now()
            assert told.value.detail == SILENT
            assert told.value.headers["Retry-After"]
        assert disk.begun == 1  # one thread waits for it, not one for each who asked
        disk.gate.release(10)
        await until(lambda: disk.at_once == 0)
        assert list(await ModelLooks(disk.look).now()) == ["tiny"]
        looks._patience = PATIENCE
        assert list(await looks.now()) == ["tiny"]

    asyncio.run(scene())


def test_who_goes_takes_nobody_along_and_a_mistake_is_told_to_each() -> None:
    async def scene() -> None:
        disk = Disk()
        looks = ModelLooks(disk.look)
        going, staying = asyncio.create_task(looks.now()), asyncio.create_task(looks.now())
        await until(lambda: disk.begun == 1)
        going.cancel()
        disk.gate.release()
        assert list(await staying) == ["tiny"]
        disk.broken = True
        disk.gate.release()
        told = await asyncio.gather(looks.now(), looks.now(), return_exceptions=True)
        assert [type(one) for one in told] == [ZeroDivisionError] * 2
        disk.broken = False
        disk.gate.release()
        assert list(await looks.now()) == ["tiny"]

    asyncio.run(scene())


def test_a_disk_that_never_answers_holds_up_no_end() -> None:
    answers, has_answered = threading.Event(), threading.Event()

    def look() -> Sequence[ModelInfo]:
        answers.wait(PATIENCE)
        has_answered.set()
        return [MODEL]

    async def scene() -> None:
        with pytest.raises(ModelNotAvailable):
            await ModelLooks(look, patience=0.05).now()

    asyncio.run(scene())
    assert not has_answered.is_set()
    answers.set()
