"""What every `Executor` must do with the jobs of a store, whatever draws for it: a class to be subclassed. Knows none.

An executor passes by subclassing `ExecutorContract` with a `make` of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minimon_server.engines.files import png_size
from minimon_server.engines.messages import NO_INPUTS, Drawn, DrawRequest, Engine, Report
from minimon_server.engines.on_demand import pack
from minimon_server.jobs.events import Events
from minimon_server.jobs.executor import Executor
from minimon_server.jobs.job import Job, State
from minimon_server.jobs.pictures import PictureStore
from minimon_server.jobs.sqlite_store import SqliteStore
from minimon_server.jobs.store import JobStore, Lease
from tests.jobs.contract import begun, cancelled
from tests.jobs.scene import Sketcher, VirtualClock, draft, job_id, picture_file, request, until
from tests.jobs.working import ended, sqlite_store

LEASE = Lease(loading=100.0, drawing=10.0)


class Counting(Sketcher):
    """Counts how many drawings are on their way at once."""

    at_once = 0
    most_at_once = 0

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return super().draw(request, report, inputs)
        finally:
            self.at_once -= 1


@dataclass
class Shop:
    """An executor at work, and what is around it."""

    executor: Executor
    store: SqliteStore
    clock: VirtualClock
    engine: Counting
    folder: Path
    task: asyncio.Task[None]
    ended: bool = field(default=False)

    async def accept(self, name: str, prompt: str = "a dragon") -> str:
        """Accept a job, and return its id."""
        return (await self.store.accept(draft(name, asked=request(prompt=prompt)))).id

    async def found(self, which: str) -> Job:
        """Return a job as it is now."""
        job = await self.store.get(which)
        assert job is not None
        return job

    async def drawing(self, reports: int = 1) -> None:
        """Return when the engine waits before its next report, after letting it pass `reports` - 1 times."""
        for number in range(reports):
            if number:
                self.engine.gate.release()
            await asyncio.to_thread(self.engine.arrived.acquire)

    def let_go(self) -> None:
        """Let the engine pass whatever it waits at."""
        for _ in range(1000):
            self.engine.gate.release()

    def draws(self) -> bool:
        """Return whether a job is being drawn that was not told to stop."""
        return self.executor.is_drawing

    def has_lost(self) -> bool:
        """Return whether the job that is being drawn is no longer its own."""
        return self.executor.has_lost_its_job

    async def end(self, seconds: float) -> None:
        """End the executor."""
        self.ended = True
        await self.executor.end(self.task, seconds)

    def files(self) -> list[str]:
        """Return the names of all files in the image store."""
        return sorted(path.name for path in (self.folder / "outputs").iterdir())


Scene = Callable[[Shop], Awaitable[None]]


class ExecutorContract:
    """Claims, stops, ends."""

    def make(self, store: JobStore, pictures: PictureStore, events: Events, engine: Engine) -> Executor:
        """Return an executor that draws with `engine` and does not run yet; at its end it waits 1 s at most."""
        raise NotImplementedError

    def play(self, folder: Path, scene: Scene, *waiting: str) -> None:
        """Run a scene on an executor before whose start jobs with these prompts wait, named "0", "1" and so on."""

        async def run() -> None:
            clock, engine = VirtualClock(), Counting()
            store = sqlite_store(folder, clock, lease=LEASE)
            pictures = PictureStore(folder / "outputs", pack)
            pictures.prepare()
            for number, prompt in enumerate(waiting):
                await store.accept(draft(number, asked=request(prompt=prompt)))
            executor = self.make(store, pictures, Events(), engine)
            shop = Shop(executor, store, clock, engine, folder, asyncio.create_task(executor.run()))
            try:
                await scene(shop)
            finally:
                shop.let_go()
                if not shop.ended:
                    await shop.end(0)
                await until(lambda: not engine.at_once)
                store.close()

        asyncio.run(run())

    def test_it_draws_what_waits_and_what_comes_one_at_a_time_in_the_order_of_the_store(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            assert shop.executor.pace.mean() is None
            later = await shop.accept("later", "the fourth")
            for which in (*(job_id(number) for number in range(3)), later):
                job = await ended(shop.store, which)
                assert (job.state, job.attempt, job.interrupted) == (State.SUCCESS, 1, 0)
                for picture in job.pictures:
                    assert png_size((tmp_path / "outputs" / picture.name).read_bytes()) == (4, 4)
            assert [one.prompt for one in shop.engine.drawn] == ["the first", "the second", "the third", "the fourth"]
            assert shop.engine.most_at_once == 1
            assert shop.executor.loaded == request().stack
            await until(lambda: not shop.draws() and shop.executor.pace.mean() is not None)

        self.play(tmp_path, scene, "the first", "the second", "the third")

    def test_a_cancel_stops_its_job_and_no_other(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing(reports=3)
            assert shop.draws()
            await cancelled(shop.store, job_id(2))
            shop.executor.stop(job_id(2))
            shop.executor.stop(job_id("never"))
            assert shop.draws()
            await cancelled(shop.store, job_id(0))
            shop.executor.stop(job_id(0))
            assert not shop.draws()
            shop.engine.gate.release()
            done = await ended(shop.store, job_id(1))
            assert (done.state, done.attempt) == (State.SUCCESS, 1)
            assert [(await shop.found(job_id(number))).state for number in (0, 2)] == [State.REVOKED] * 2
            assert [one.prompt for one in shop.engine.drawn] == ["a dragon"]
            assert shop.files() == [f"{done.id}.1.png"]

        self.play(tmp_path, scene, "gated", "a dragon", "another")

    def test_a_cancel_that_it_is_not_told_of_lasts_and_leaves_no_picture(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing(reports=3)
            await cancelled(shop.store, job_id(0))
            shop.let_go()
            done = await ended(shop.store, job_id(1))
            await until(lambda: shop.files() == [f"{done.id}.1.png"])
            assert (await shop.found(job_id(0))).state is State.REVOKED

        self.play(tmp_path, scene, "gated", "a dragon")

    def test_a_job_that_was_taken_from_it_is_stopped_and_may_be_taken_anew(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing(reports=3)
            shop.clock.seconds += 11
            assert [job.id for job in (await shop.store.sweep()).expired] == [job_id(0)]
            shop.executor.lose(job_id("never"))
            assert not shop.has_lost()
            shop.executor.lose(job_id(0))
            assert shop.has_lost()
            shop.let_go()
            done = await ended(shop.store, job_id(0))
            assert (done.state, done.attempt, done.interrupted) == (State.SUCCESS, 2, 1)
            assert shop.files() == [f"{done.id}.2.png"]
            await until(lambda: not shop.has_lost())

        self.play(tmp_path, scene, "gated")

    def test_who_comes_too_late_changes_nothing(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing(reports=3)
            shop.clock.seconds += 11
            await shop.store.sweep()
            other = await begun(shop.store, "another")
            done = await shop.store.complete(other.id, other.fence, [picture_file(other)])
            shop.let_go()  # it draws to the end, whatever it is told
            await ended(shop.store, job_id(1))
            assert await shop.found(job_id(0)) == done
            await until(lambda: shop.files() == [f"{job_id(1)}.1.png"])

        self.play(tmp_path, scene, "gated stubborn", "a dragon")

    def test_drained_it_ends_what_runs_and_claims_no_more(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing()
            shop.executor.drain()
            shop.let_go()
            await until(shop.task.done)
            assert shop.task.exception() is None
            assert (await shop.found(job_id(0))).state is State.SUCCESS
            assert (await shop.found(job_id(1))).state is State.PENDING
            assert (await shop.found(job_id(1))).claims == 0

        self.play(tmp_path, scene, "gated", "a dragon")

    def test_what_is_given_back_waits_again_and_nothing_is_counted(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing(reports=3)
            shop.executor.drain()
            shop.executor.give_back()
            shop.engine.gate.release()
            await until(shop.task.done)
            job = await shop.found(job_id(0))
            assert (job.state, job.worker, job.interrupted, job.stumbled) == (State.PENDING, None, 0, 0)
            assert shop.files() == []

        self.play(tmp_path, scene, "gated")

    def test_at_the_end_the_running_job_has_its_time(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing()
            ending = asyncio.create_task(shop.end(60))
            shop.let_go()
            await ending
            assert shop.task.done()
            assert (await shop.found(job_id(0))).state is State.SUCCESS
            assert (await shop.found(job_id(1))).state is State.PENDING

        self.play(tmp_path, scene, "gated", "a dragon")

    def test_after_its_time_it_is_given_back_and_what_is_drawn_still_comes_too_late(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.drawing(reports=3)
            await shop.end(0)
            assert shop.task.done()
            back = await shop.found(job_id(0))
            assert (back.state, back.interrupted, back.stumbled) == (State.PENDING, 0, 0)
            shop.let_go()
            await until(lambda: not shop.engine.at_once)
            await shop.store.sweep()
            assert await shop.found(job_id(0)) == back
            assert shop.files() == []

        self.play(tmp_path, scene, "gated stubborn")

    def test_an_end_with_nothing_to_do_ends(self, tmp_path: Path) -> None:
        async def scene(shop: Shop) -> None:
            await shop.end(60)
            assert shop.task.done()
            which = await shop.accept("late")
            assert (await shop.found(which)).state is State.PENDING

        self.play(tmp_path, scene)
