"""An engine that is lost: what becomes of its job, of those that wait, and of those that come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from minimon_server.engines.messages import NO_INPUTS, Drawn, DrawRequest, EngineLost, Progress, Report
from minimon_server.errors import Text
from minimon_server.jobs.job import State
from minimon_server.jobs.loss import STUCK, STUCK_SECONDS, Loss, gone
from minimon_server.jobs.store import Lease
from minimon_server.web import job_faces
from tests.jobs.scene import PATIENCE, Sketcher, VirtualClock, quiet, request, until
from tests.jobs.working import Studio, sqlite_store, studio


class Fragile(Sketcher):
    """Loses its device at a prompt that holds "lost"; cannot let go of it while `holding`."""

    holding = False

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        if "lost" in request.prompt:
            self._tell(request, report, Progress("drawing", 0, request.steps))
            raise EngineLost("the device is gone")
        return super().draw(request, report, inputs)

    def close(self) -> None:
        if self.holding:
            self.arrived.release()
            assert self.gate.acquire(timeout=PATIENCE)
        super().close()


def play(folder: Path, scene: Callable[[Studio], Awaitable[None]], engine: Sketcher) -> None:
    async def run() -> None:
        clock = VirtualClock()
        store = sqlite_store(folder, clock, lease=Lease(loading=100.0, drawing=10.0))
        try:
            async with studio(folder, store, clock, engine) as at:
                await scene(at)
        finally:
            store.close()

    asyncio.run(run())


def test_its_job_is_put_back_and_nothing_else_is_begun(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job, waiting = await at.submit(request(prompt="lost")), await at.submit(request())
        await asyncio.wait_for(at.jobs.loss.wait(), PATIENCE)
        await until(lambda: not at.worker.is_drawing)
        found, left = await at.jobs.get(job.id), await at.jobs.get(waiting.id)
        assert (found.state, found.interrupted, found.attempt) == (State.PENDING, 1, 1)
        assert (left.state, left.claims) == (State.PENDING, 0)
        assert job_faces.check(at.jobs).trouble == gone("the device is gone")
        assert job_faces.check(at.jobs).facts["engine"] == "lost"
        at.jobs.stop()
        assert (await at.submit(request(prompt="comes now"))).state is State.PENDING

    play(tmp_path, scene, Fragile())


def test_the_second_time_its_job_fails_with_the_engines_words(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        await at.submit(request(prompt="lost"))
        await at.jobs.loss.wait()
        await until(lambda: not at.worker.is_drawing)

    play(tmp_path, scene, Fragile())

    async def once_more(at: Studio) -> None:
        await at.jobs.loss.wait()
        (job,) = await at.jobs.list(10, frozenset(State))
        failed = await at.ended(job.id)
        assert (failed.state, failed.error, failed.attempt) == (State.FAILURE, "the device is gone", 2)

    play(tmp_path, once_more, Fragile())


def test_an_engine_that_cannot_be_closed_is_lost(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        at.worker.close_seconds = 0.01
        engine.holding = True
        job = await at.submit(request(prompt="crash"))
        await asyncio.wait_for(at.jobs.loss.wait(), PATIENCE)
        assert at.jobs.loss.reason == STUCK
        assert (await at.ended(job.id)).state is State.FAILURE
        engine.holding = False
        engine.gate.release()

    engine = Fragile()
    play(tmp_path, scene, engine)


def test_who_asks_again_and_again_does_not_prolong_the_lease_of_an_engine_that_hangs(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await at.submit(request(prompt="gated"))
        for _ in range(2):
            await asyncio.to_thread(at.engine.arrived.acquire)
            at.engine.gate.release()
        await asyncio.to_thread(at.engine.arrived.acquire)
        running = await at.jobs.get(job.id)
        await until(lambda: at.jobs.standing(running).steps is not None)
        await asyncio.sleep(0.05)  # the last heartbeat is over
        for _ in range(11):
            at.clock.seconds += 1
            at.jobs.standing(running)
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        await at.jobs.sweep()
        assert (await at.jobs.get(job.id)).state is State.PENDING
        assert at.worker.has_lost_its_job

    play(tmp_path, scene, Sketcher())


def test_only_an_engine_that_stays_silent_is_lost() -> None:
    loss = Loss(quiet())

    def looked(lost: bool, now: float) -> Text | None:
        loss.look(lost, now)
        return loss.reason

    assert looked(True, 100.0) is None
    assert looked(True, 100.0 + STUCK_SECONDS - 0.1) is None
    assert looked(False, 200.0) is None  # it has noticed
    assert looked(True, 300.0) is None
    assert looked(True, 300.1) is None
    assert looked(True, 300.0 + STUCK_SECONDS) == STUCK
    loss.tell(gone("something else"))
    assert loss.reason == STUCK  # the first counts


def test_who_hangs_is_lost_and_the_end_waits_for_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = VirtualClock()
        store = sqlite_store(tmp_path, clock, lease=Lease(loading=100.0, drawing=10.0))
        async with studio(tmp_path, store, clock) as at:
            at.worker.stop_seconds = 0.0
            job = await at.submit(request(prompt="gated stubborn"))
            await asyncio.to_thread(at.engine.arrived.acquire)
            at.engine.gate.release()
            await asyncio.to_thread(at.engine.arrived.acquire)
            at.engine.gate.release()
            await asyncio.to_thread(at.engine.arrived.acquire)
            clock.seconds += 11
            await at.jobs.sweep()
            assert at.worker.has_lost_its_job
            at.jobs.loss.look(True, 0.0)
            at.jobs.loss.look(True, STUCK_SECONDS)
            await asyncio.wait_for(at.jobs.end(3600), PATIENCE)
            found = await at.store.get(job.id)
            assert found is not None
            assert (found.state, found.interrupted) == (State.PENDING, 1)

    asyncio.run(scene())
