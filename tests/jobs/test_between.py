"""Creatures between the steps of a job: who goes first, who gets what share, and every way in which that can end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from minimon_server.engines.messages import Deliver, DrawRequest, EngineLost, NotNow, Progress, Report
from minimon_server.jobs.job import State
from minimon_server.jobs.sqlite_store import SqliteStore
from minimon_server.jobs.store import Lease
from tests.jobs.scene import PATIENCE, Sketcher, VirtualClock, request, until
from tests.jobs.working import Studio, draw, sqlite_store, studio

Scene = Callable[[Studio], Awaitable[None]]
BEFORE_STEPS = 2  # reports: loading, and ready to draw


class Roomy(Sketcher):
    """Draws between steps, each creature in `seconds` of the test's clock, and remembers the order of everything."""

    def __init__(self, clock: VirtualClock, seconds: float = 0.0) -> None:
        super().__init__()
        self.is_roomy = True
        self.order: list[str] = []
        self._clock = clock
        self._seconds = seconds

    def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        self.order.append(f"{len(requests)} drawn")
        super().draw_together(requests, reports, deliver)
        self._clock.seconds += self._seconds

    def _tell(self, request: DrawRequest, report: Report, progress: Progress) -> None:
        if progress.phase == "drawing" and "gated" in request.prompt:
            self.order.append(f"step {progress.current}")
        super()._tell(request, report, progress)


def play(folder: Path, scene: Scene, make: Callable[[VirtualClock], Roomy] = Roomy) -> None:
    async def run() -> None:
        clock = VirtualClock()
        store = sqlite_store(folder, clock, lease=Lease(loading=1000.0, drawing=100.0))
        try:
            async with studio(folder, store, clock, make(clock)) as at:
                at.interactive.batch = 2
                await scene(at)
        finally:
            store.close()

    asyncio.run(run())


async def passed(at: Studio, reports: int) -> None:
    """Let so many reports of what is gated pass, and return when it waits before the next."""
    for _ in range(reports):
        at.engine.gate.release()
        assert await asyncio.to_thread(at.engine.arrived.acquire, timeout=PATIENCE)


def lost(at: Studio) -> bool:
    return at.worker.has_lost_its_job


def order(at: Studio) -> list[str]:
    assert isinstance(at.engine, Roomy)
    return at.engine.order


async def begun(at: Studio, steps: int = 5) -> str:
    """Begin a job and stop it before its first step is told."""
    job = await at.submit(request(prompt="gated", steps=steps))
    assert await asyncio.to_thread(at.engine.arrived.acquire, timeout=PATIENCE)
    await passed(at, BEFORE_STEPS)
    return job.id


def finish(at: Studio) -> None:
    for _ in range(100):
        at.engine.gate.release()


def test_players_go_between_the_steps_of_a_job_one_batch_after_each(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await begun(at)
        creatures = [draw(at, f"creature {number}") for number in range(5)]
        await until(lambda: at.interactive.waiting == 5)
        finish(at)
        await asyncio.gather(*creatures)
        assert (await at.ended(job)).state is State.SUCCESS
        parts = ["step 0", "step 1", "2 drawn", "step 2", "2 drawn", "step 3", "1 drawn", "step 4", "step 5"]
        assert order(at) == parts

    play(tmp_path, scene)


def test_the_job_keeps_half_of_the_time(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await begun(at, steps=6)
        creatures = [draw(at, f"creature {number}") for number in range(4)]
        await until(lambda: at.interactive.waiting == 4)
        await passed(at, 1)  # the first two have been drawn, in ten seconds
        at.clock.seconds += 4
        await passed(at, 1)
        assert order(at)[-2:] == ["step 2", "step 3"]
        at.clock.seconds += 6
        finish(at)
        await asyncio.gather(*creatures)
        ended = await at.ended(job)
        assert order(at)[:6] == ["step 0", "step 1", "2 drawn", "step 2", "step 3", "2 drawn"]
        assert ended.state is State.SUCCESS
        assert at.jobs.pace.mean() == 10  # what the job itself took: the creatures' time is none of its own

    play(tmp_path, scene, lambda clock: Roomy(clock, 10.0))


def test_the_lease_of_a_job_that_waits_for_creatures_does_not_run_out(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await begun(at)
        running = draw(at, "gated creature")
        await until(lambda: at.interactive.waiting == 1)
        await passed(at, 1)
        assert isinstance(at.store, SqliteStore)
        leases = at.store._leases
        for _ in range(3):  # each report of the creature comes after most of a lease
            at.clock.seconds += 90
            await passed(at, 1)
            await until(lambda: leases[job] == at.clock.seconds + 100)
        assert not lost(at)
        at.clock.seconds += 301
        assert lost(at)  # a creature that hangs between two steps is seen, too
        finish(at)
        await running

    play(tmp_path, scene)


def test_a_cancelled_job_and_a_player_who_leaves_stop_between_steps(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await begun(at)
        leaving, staying = draw(at, "gated creature"), draw(at, "creature")
        await until(lambda: at.interactive.waiting == 2)
        await passed(at, 1)  # the creature's first report
        leaving.cancel()
        await asyncio.wait({leaving})
        await at.jobs.cancel(job)
        finish(at)
        await staying
        assert (await at.ended(job)).state is State.REVOKED
        assert [one.prompt for one in at.engine.drawn] == ["creature"]
        assert order(at).count("step 2") == 0  # it was not drawn any further

    play(tmp_path, scene)


def test_without_room_they_wait_for_the_end_of_the_job(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        at.engine.is_roomy = False
        job = await begun(at)
        creatures = [draw(at, f"creature {number}") for number in range(3)]
        await until(lambda: at.interactive.waiting == 3)
        finish(at)
        await asyncio.gather(*creatures)
        await at.ended(job)
        assert order(at) == [*(f"step {number}" for number in range(6)), "2 drawn", "1 drawn"]
        assert [one.prompt for one in at.engine.drawn][1:] == [f"creature {number}" for number in range(3)]

    play(tmp_path, scene)


def test_what_breaks_between_two_steps_is_drawn_alone_after_the_job(tmp_path: Path) -> None:
    async def scene(at: Studio) -> None:
        job = await begun(at)
        creatures = [draw(at, "creature"), draw(at, "crash")]
        await until(lambda: at.interactive.waiting == 2)
        finish(at)
        found = await asyncio.gather(*creatures, return_exceptions=True)
        assert [isinstance(one, Exception) for one in found] == [False, True]
        ended = await at.ended(job)
        assert (ended.state, ended.attempt) == (State.SUCCESS, 1)

    play(tmp_path, scene)


def test_what_there_was_no_room_for_after_all_is_drawn_after_the_job(tmp_path: Path) -> None:
    class Narrow(Roomy):
        def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
            if "step 5" in self.order:
                super().draw_together(requests, reports, deliver)
            else:
                deliver(0, NotNow())

    async def scene(at: Studio) -> None:
        job = await begun(at)
        creature = draw(at)
        await until(lambda: at.interactive.waiting == 1)
        finish(at)
        await creature
        assert (await at.ended(job)).state is State.SUCCESS
        assert order(at)[-1] == "1 drawn"

    play(tmp_path, scene, Narrow)


def test_a_device_that_is_lost_between_two_steps_is_told_to_both(tmp_path: Path) -> None:
    class Lost(Roomy):
        def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
            raise EngineLost("the device is gone")

    async def scene(at: Studio) -> None:
        job = await begun(at)
        creature = draw(at)
        await until(lambda: at.interactive.waiting == 1)
        finish(at)
        with pytest.raises(EngineLost):
            await creature
        await until(lambda: at.worker.loss.reason is not None and not at.worker.is_drawing)
        assert (await at.jobs.get(job)).state is State.PENDING

    play(tmp_path, scene, Lost)
