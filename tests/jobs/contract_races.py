"""What every `JobStore` must answer to calls that meet: one of them wins, and the record says which. The contract."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minimon_server.jobs.job import Job, State
from minimon_server.jobs.store import Bounds, Ended, Fenced, JobStore, KeyInUse, Swept
from tests.jobs.contract import Contract, begun
from tests.jobs.scene import VirtualClock, draft, job_id, picture_file


class RaceContract(Contract):
    """Calls that meet."""

    def test_of_a_cancel_and_a_claim_both_are_right_and_the_cancel_lasts(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(20):
                await store.accept(draft(number))
                if number % 2:
                    claim, cancelled = await asyncio.gather(store.claim("w1", None), store.cancel(job_id(number)))
                else:
                    cancelled, claim = await asyncio.gather(store.cancel(job_id(number)), store.claim("w1", None))
                assert cancelled is not None
                assert cancelled.state is State.REVOKED
                assert await store.get(job_id(number)) == cancelled
                assert claim is None or (claim.id, claim.state) == (job_id(number), State.PROGRESS)
                assert await store.claim("w1", None) is None

        self.play(tmp_path, scene)

    def test_of_two_cancels_one_is_told_that_it_had_ended(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            await store.accept(draft(1))
            answers = await asyncio.gather(*(store.cancel(job_id(1)) for _ in range(5)), return_exceptions=True)
            assert sum(isinstance(one, Job) for one in answers) == 1
            assert sum(isinstance(one, Ended) for one in answers) == 4

        self.play(tmp_path, scene)

    def test_two_sweeps_at_once_do_what_one_does(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(6):
                await store.accept(draft(number))
                await begun(store)
            clock.seconds += 11
            sweeps = await asyncio.gather(*(store.sweep() for _ in range(3)))
            expired = [job.id for one in sweeps for job in one.expired]
            assert sorted(expired) == sorted(job_id(number) for number in range(6))
            jobs = await store.list(10)
            assert {(job.state, job.interrupted) for job in jobs} == {(State.PENDING, 1)}

        self.play(tmp_path, scene)

    def test_two_sweeps_remove_the_same_jobs_once(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(4):
                await store.accept(draft(number))
                job = await begun(store)
                await store.complete(job.id, job.fence, [picture_file(job)])
            await asyncio.gather(*(store.sweep() for _ in range(3)), store.accept(draft("new")))
            assert store.counts()[State.SUCCESS] == 1
            assert await store.get(job_id("new")) is not None

        self.play(tmp_path, scene, Bounds(ended=1))

    def test_of_a_lease_that_runs_out_and_an_end_one_wins(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(20):
                await store.accept(draft(number))
                job = await begun(store)
                clock.seconds += 11
                ending = store.complete(job.id, job.fence, [picture_file(job)])
                if number % 2:
                    swept, end = await asyncio.gather(store.sweep(), ending, return_exceptions=True)
                else:
                    end, swept = await asyncio.gather(ending, store.sweep(), return_exceptions=True)
                assert isinstance(swept, Swept)
                found = await store.get(job.id)
                assert found is not None
                if isinstance(end, Fenced):
                    assert [one.id for one in swept.expired] == [job.id]
                    assert found.state is State.PENDING
                    await store.cancel(job.id)
                else:
                    assert swept.expired == ()
                    assert found.state is State.SUCCESS

        self.play(tmp_path, scene)

    def test_who_looks_for_a_key_that_is_being_accepted_is_told_so_or_finds_its_job(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(20):
                accept, find = store.accept(draft(number, key=f"k{number}")), store.find(f"k{number}", "")
                job, found = await asyncio.gather(accept, find, return_exceptions=True)
                assert isinstance(job, Job)
                assert isinstance(found, KeyInUse) or found == job

        self.play(tmp_path, scene)
