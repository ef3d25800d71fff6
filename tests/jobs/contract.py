"""What every `JobStore` must do, whatever it is made of: claims, fences, heartbeats, ends, keys. Knows none.

A store passes by subclassing `StoreContract` with an `open` of its own, and those of the other `contract_*` files too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from minimon_server.engines.messages import Stack
from minimon_server.jobs.job import Fence, Job, State
from minimon_server.jobs.store import (
    Bounds,
    Ended,
    Fenced,
    JobStore,
    KeyInUse,
    KeyMismatch,
    Lease,
    Verdict,
)
from tests.jobs.scene import STACKED, VirtualClock, draft, job_id, picture_file, request, until

Scene = Callable[[JobStore, VirtualClock], Awaitable[None]]
LEASE = Lease(loading=100.0, drawing=10.0)


class Contract:
    """Opens a store for one scene."""

    def open(
        self, folder: Path, clock: VirtualClock, bounds: Bounds, lease: Lease
    ) -> AbstractAsyncContextManager[JobStore]:
        """Return the store as it is in `folder`; what was running when it was last closed counts as interrupted."""
        raise NotImplementedError

    def play(self, folder: Path, scene: Scene, bounds: Bounds | None = None) -> None:
        """Run a scene on a store."""

        async def run() -> None:
            clock = VirtualClock()
            async with self.open(folder, clock, bounds or Bounds(), LEASE) as store:
                await scene(store, clock)

        asyncio.run(run())


async def claimed(store: JobStore, worker: str = "w1", loaded: Stack | None = None) -> Job:
    """Claim a job that must be there."""
    job = await store.claim(worker, loaded)
    assert job is not None
    return job


async def begun(store: JobStore, worker: str = "w1") -> Job:
    """Claim a job and begin it."""
    job = await claimed(store, worker)
    return await store.begin(job.id, job.fence)


class StoreContract(Contract):
    """Jobs and their states."""

    def test_what_is_accepted_is_found_as_it_was_asked(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            job = await store.accept(draft(1, asked=STACKED))
            assert (job.state, job.request, job.client, job.attempt) == (State.PENDING, STACKED, "ann", 0)
            assert await store.get(job.id) == job
            assert await store.get(job_id("never")) is None
            assert store.position(job) == 1

        self.play(tmp_path, scene)

    def test_every_write_changes_the_fence_and_an_old_one_opens_nothing(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            accepted = await store.accept(draft(1))
            held = await claimed(store)
            job = await store.begin(held.id, held.fence)
            assert len({accepted.fence, held.fence, job.fence}) == 3
            for fence in (accepted.fence, held.fence, Fence("999")):
                for write in (
                    store.begin(job.id, fence),
                    store.complete(job.id, fence, [picture_file(job)]),
                    store.fail(job.id, fence, "no", retry=False),
                    store.release(job.id, fence),
                ):
                    with pytest.raises(Fenced):
                        await write
                assert await store.heartbeat(job.id, fence, "drawing") is Verdict.FENCED
            assert await store.get(job.id) == job

        self.play(tmp_path, scene)

    def test_an_attempt_begins_with_begin_and_not_with_the_claim(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            await store.accept(draft(1))
            held = await claimed(store)
            assert (held.state, held.attempt, held.worker) == (State.PROGRESS, 0, "w1")
            job = await store.begin(held.id, held.fence)
            assert (job.state, job.attempt) == (State.PROGRESS, 1)

        self.play(tmp_path, scene)

    def test_an_ended_job_never_changes(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            ends = []
            for number in range(3):
                await store.accept(draft(number))
                job = await begun(store)
                if number == 0:
                    ends.append(await store.complete(job.id, job.fence, [picture_file(job)]))
                elif number == 1:
                    ends.append(await store.fail(job.id, job.fence, "too large", retry=False))
                else:
                    ends.append(await cancelled(store, job.id))
            assert [job.state for job in ends] == [State.SUCCESS, State.FAILURE, State.REVOKED]
            for job in ends:
                with pytest.raises(Ended):
                    await store.cancel(job.id)
                with pytest.raises(Fenced):
                    await store.fail(job.id, job.fence, "again", retry=True)
                with pytest.raises(Fenced):
                    await store.complete(job.id, job.fence, [])
                with pytest.raises(Fenced):
                    await store.release(job.id, job.fence)
                assert await store.get(job.id) == job
            assert await store.claim("w1", None) is None

        self.play(tmp_path, scene)

    def test_a_job_is_given_to_one_worker_only(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(30):
                await store.accept(draft(number, client=f"c{number % 4}"))
            given = await asyncio.gather(*(store.claim(f"w{number}", None) for number in range(40)))
            ids = [job.id for job in given if job is not None]
            assert sorted(ids) == sorted(job_id(number) for number in range(30))

        self.play(tmp_path, scene)

    def test_a_lane_is_first_in_first_out_and_what_is_given_back_goes_to_its_front(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(4):
                await store.accept(draft(number))
            first = await begun(store)
            back = await store.release(first.id, first.fence)
            assert (back.state, back.interrupted, back.worker) == (State.PENDING, 0, None)
            assert [(await claimed(store)).id for _ in range(4)] == [job_id(number) for number in range(4)]

        self.play(tmp_path, scene)

    def test_lanes_are_picked_as_the_one_function_says(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(6):
                await store.accept(draft(f"a{number}", "ann", asked=request("m1")))
            await store.accept(draft("batch", "bob", asked=request("m1"), priority="batch"))
            await store.accept(draft("c0", "cid", asked=request("m2")))
            order = [(await claimed(store, loaded=Stack("m1"))).id for _ in range(8)]
            # Three of what is loaded (a slack of two), then the one whose turn it is; players before the batch.
            assert order[:3] == [job_id("a0"), job_id("a1"), job_id("a2")]
            assert order[3] == job_id("c0")
            assert order[-1] == job_id("batch")

        self.play(tmp_path, scene)

    def test_heartbeats_say_go_revoked_or_fenced(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            await store.accept(draft(1))
            job = await begun(store)
            assert await store.heartbeat(job.id, job.fence, "drawing") is Verdict.GO
            await store.cancel(job.id)
            assert await store.heartbeat(job.id, job.fence, "drawing") is Verdict.REVOKED
            await store.accept(draft(2))
            lost = await begun(store)
            await store.release(lost.id, lost.fence)
            assert await store.heartbeat(lost.id, lost.fence, "drawing") is Verdict.FENCED
            assert await store.heartbeat(job_id("never"), lost.fence, "drawing") is Verdict.FENCED

        self.play(tmp_path, scene)

    def test_who_shows_no_progress_loses_the_job_and_whoever_comes_late_changes_nothing(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            await store.accept(draft(1))
            slow = await begun(store, "slow")
            for _ in range(5):
                clock.seconds += 9
                assert await store.heartbeat(slow.id, slow.fence, "drawing") is Verdict.GO
                assert (await store.sweep()).expired == ()
            clock.seconds += 11
            assert [job.id for job in (await store.sweep()).expired] == [slow.id]
            quick = await begun(store, "quick")
            assert (quick.id, quick.attempt, quick.interrupted) == (slow.id, 2, 1)
            assert await store.heartbeat(slow.id, slow.fence, "drawing") is Verdict.FENCED
            with pytest.raises(Fenced):
                await store.complete(slow.id, slow.fence, [picture_file(slow)])
            done = await store.complete(quick.id, quick.fence, [picture_file(quick)])
            assert done.pictures == (picture_file(quick),)

        self.play(tmp_path, scene)

    def test_a_job_that_was_interrupted_twice_fails_and_says_so(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            await store.accept(draft(1))
            for _ in range(2):
                await begun(store)
                clock.seconds += 11
                await store.sweep()
            job = await store.get(job_id(1))
            assert job is not None
            assert (job.state, job.error, job.attempt) == (State.FAILURE, "interrupted twice", 2)

        self.play(tmp_path, scene)

    def test_loading_has_more_time_and_is_no_attempt(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            await store.accept(draft(1))
            for _ in range(3):
                await claimed(store)
                clock.seconds += 99
                assert (await store.sweep()).expired == ()
                clock.seconds += 2
                assert len((await store.sweep()).expired) == 1
            job = await store.get(job_id(1))
            assert job is not None
            assert (job.state, job.attempt, job.interrupted) == (State.PENDING, 0, 0)

        self.play(tmp_path, scene)

    def test_what_may_go_well_next_time_is_tried_once_more(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            await store.accept(draft(1))
            job = await begun(store)
            assert (await store.fail(job.id, job.fence, "out of memory", retry=True)).state is State.PENDING
            job = await begun(store)
            again = await store.fail(job.id, job.fence, "out of memory", retry=True)
            assert (again.state, again.error, again.attempt) == (State.FAILURE, "out of memory", 2)

        self.play(tmp_path, scene)

    def test_cancel_ends_what_waits_and_what_runs_and_never_the_next(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(3):
                await store.accept(draft(number))
            running = await begun(store)
            for job in (await cancelled(store, running.id), await cancelled(store, job_id(1))):
                assert job.state is State.REVOKED
            assert (await claimed(store)).id == job_id(2)
            assert await store.cancel(job_id("never")) is None

        self.play(tmp_path, scene)

    def test_of_a_cancel_and_an_end_that_meet_one_wins(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(20):
                await store.accept(draft(number))
                job = await begun(store)
                ending = store.complete(job.id, job.fence, [picture_file(job)])
                both = [store.cancel(job.id), ending] if number % 2 else [ending, store.cancel(job.id)]
                ends = await asyncio.gather(*both, return_exceptions=True)
                won = [end for end in ends if isinstance(end, Job)]
                assert len(won) == 1
                assert await store.get(job.id) == won[0]

        self.play(tmp_path, scene)

    def test_a_key_is_one_job_however_often_it_is_sent(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            tries = [store.accept(draft(number, key="k", body="b")) for number in range(20)]
            answers = await asyncio.gather(*tries, return_exceptions=True)
            jobs = {one.id for one in answers if isinstance(one, Job)}
            assert len(jobs) == 1
            assert all(isinstance(one, Job | KeyInUse) for one in answers)
            assert (await store.accept(draft("later", key="k", body="b"))).id in jobs
            with pytest.raises(KeyMismatch):
                await store.accept(draft("other", key="k", body="another"))
            assert len(await store.list(100)) == 1

        self.play(tmp_path, scene)

    def test_who_waits_for_work_hears_of_it(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            assert await store.claim("w1", None) is None
            waiting = asyncio.create_task(store.wait_for_work(1000))
            await store.accept(draft(1))
            await until(waiting.done)

        self.play(tmp_path, scene)


async def cancelled(store: JobStore, which: str) -> Job:
    """Cancel a job that must be there."""
    job = await store.cancel(which)
    assert job is not None
    return job
