"""Jobs that begin with pictures, without the web: handed to the engine, kept for as long as they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from minimon_server.engines.messages import Hires, InputPicture, IpAdapterUse, NormalPicture
from minimon_server.errors import InvalidRequest
from minimon_server.jobs.errors import JobsUnavailable, NoRoom
from minimon_server.jobs.job import State
from minimon_server.jobs.records import read_job, written_record, written_request
from minimon_server.jobs.worker import NO_INPUT
from tests.hostile_pictures import plain, saved
from tests.jobs.scene import VirtualClock, request, until
from tests.jobs.working import Studio, sqlite_store, studio

CAT = saved(plain(8, 8), "PNG")


def play(folder: Path, scene: Callable[[Studio], Awaitable[None]]) -> None:
    """Let a scene happen in a studio over the journal of `folder`."""

    async def run() -> None:
        clock = VirtualClock()
        store = sqlite_store(folder, clock)
        try:
            async with studio(folder, store, clock) as at:
                await scene(at)
        finally:
            store.close()

    asyncio.run(run())


def kept(at: Studio) -> list[str]:
    return sorted(path.name for path in (at.folder / "inputs").glob("*"))


def test_the_engine_gets_the_files_and_they_go_when_the_job_has_ended(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        cat = await at.jobs.inputs.read("init_image", CAT)
        mask = await at.jobs.inputs.read("mask", saved(plain(8, 8).convert("L"), "JPEG"))
        asked = request(prompt="gated", init_image=cat.picture, mask=mask.picture, strength=0.75)
        async with at.jobs.inputs.held([cat, mask]):
            job = await at.submit(asked)
        await at.jobs.sweep()
        assert len(kept(at)) == 2
        await until(lambda: at.engine.waiting)
        await at.jobs.sweep()
        assert len(kept(at)) == 2
        for _ in range(10):
            at.engine.gate.release()
        assert (await at.ended(job.id)).state is State.SUCCESS
        assert at.engine.inputs == [{cat.picture.digest: cat.png, mask.picture.digest: mask.png}]
        await at.jobs.sweep()
        assert kept(at) == []

    play(tmp_path, scene)


def test_a_cancelled_job_and_one_that_was_not_accepted_leave_no_picture(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        cat = await at.jobs.inputs.read("init_image", CAT)
        await at.submit(request(prompt="gated"))
        async with at.jobs.inputs.held([cat]):
            job = await at.submit(request(init_image=cat.picture, strength=1.0))
        await at.jobs.cancel(job.id)
        await at.jobs.sweep()
        assert kept(at) == []
        async with at.jobs.inputs.held([cat]):
            assert len(kept(at)) == 1  # and then the queue turns out to be full
        await at.jobs.sweep()
        assert kept(at) == []

    play(tmp_path, scene)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_a_picture_that_is_lost_fails_its_job_once_and_says_why(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    async def scene(at: Studio) -> None:
        cat = await at.jobs.inputs.read("init_image", CAT)
        first = await at.submit(request(prompt="gated"))
        async with at.jobs.inputs.held([cat]):
            job = await at.submit(request(init_image=cat.picture, strength=1.0))
        damage(at.folder / "inputs" / kept(at)[0])
        for _ in range(10):
            at.engine.gate.release()
        ended = await at.ended(job.id)
        assert (ended.state, ended.error, ended.attempt) == (State.FAILURE, NO_INPUT, 0)
        assert (await at.ended(first.id)).state is State.SUCCESS
        assert (await at.ended((await at.submit(request())).id)).state is State.SUCCESS

    play(tmp_path, scene)


def test_what_is_refused_and_what_there_is_no_room_for(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await at.jobs.inputs.read("init_image", b"GIF89a")
        assert [mistake.field for mistake in refused.value.fields] == ["init_image"]
        large = bytes(1 << 21)
        held = NormalPicture(InputPicture(sha256(large).hexdigest(), 1, 1), large)
        with pytest.raises(NoRoom) as caught:
            async with at.jobs.inputs.held([held]):
                raise AssertionError("there is room for a mebibyte only")
        assert caught.value.headers["Retry-After"] == "30"
        (at.folder / "inputs").write_bytes(b"a file where the folder should be")
        with pytest.raises(JobsUnavailable):
            async with at.jobs.inputs.held([await at.jobs.inputs.read("mask", CAT)]):
                raise AssertionError("nothing can be written")

    play(tmp_path, scene)


def test_a_request_is_written_and_read_back_whole_and_an_old_one_still_is(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        pictures = [InputPicture(letter * 64, 640, 480) for letter in "ab"]
        asked = request(init_image=pictures[0], mask=pictures[1], strength=0.5, hires=Hires(128, 96, 20, 0.7))
        asked = replace(asked, ip_adapter=IpAdapterUse("plus", InputPicture("c" * 64, 320, 240), 0.6))
        for one in (asked, request()):
            job = await at.submit(one)
            row = (job.id, job.number, job.state.value, int(job.fence))
            assert read_job(*row, written_request(job), written_record(job)) == job
            old = orjson.loads(written_request(job))
            for name in ("init_image", "mask", "strength", "hires", "ip_adapter"):
                del old[name]  # as it was written before these were known
            found = read_job(*row, orjson.dumps(old), written_record(job)).request
            assert (found.inputs, found.strength, found.hires, found.ip_adapter) == ((), None, None, None)
            assert found.prompt == one.prompt

    play(tmp_path, scene)
