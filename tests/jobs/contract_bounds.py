"""What every `JobStore` must keep and may forget: after a restart, when there is too much. The contract, continued."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minimon_server.jobs.job import State
from minimon_server.jobs.store import Bounds, Fenced, Full, Gone, JobStore, KeyMismatch
from tests.jobs.contract import LEASE, Contract, begun, cancelled, claimed
from tests.jobs.scene import VirtualClock, draft, job_id, picture_file, request


class BoundsContract(Contract):
    """Restarts and bounds."""

    def test_everything_is_still_there_after_a_restart(self, tmp_path: Path) -> None:
        async def scene() -> None:
            clock = VirtualClock()
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                for number in range(6):
                    await store.accept(draft(number, key=f"k{number}", body="b"))
                done = await begun(store)
                await store.complete(done.id, done.fence, [picture_file(done)])
                await cancelled(store, job_id(1))
                interrupted = await begun(store)
                loading = await claimed(store)
                before = [await store.get(job_id(number)) for number in (0, 1, 4, 5)]
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                assert [await store.get(job_id(number)) for number in (0, 1, 4, 5)] == before
                again, first = await store.get(interrupted.id), await store.get(loading.id)
                assert again is not None
                assert first is not None
                assert (again.state, again.attempt, again.interrupted) == (State.PENDING, 1, 1)
                assert (first.state, first.attempt, first.interrupted) == (State.PENDING, 0, 0)
                with pytest.raises(Fenced):
                    await store.complete(interrupted.id, interrupted.fence, [])
                assert (await store.accept(draft("new", key="k0", body="b"))).id == job_id(0)
                assert [(await claimed(store)).id for _ in range(4)] == [job_id(number) for number in range(2, 6)]

        asyncio.run(scene())

    def test_a_job_that_ends_the_process_each_time_is_tried_twice(self, tmp_path: Path) -> None:
        async def scene() -> None:
            clock = VirtualClock()
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                await store.accept(draft(1))
                await begun(store)
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                await begun(store)
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                job = await store.get(job_id(1))
                assert job is not None
                assert (job.state, job.error) == (State.FAILURE, "interrupted twice")
                assert await store.claim("w1", None) is None

        asyncio.run(scene())

    def test_even_one_that_ends_it_while_it_is_loaded_for_is_not_tried_for_ever(self, tmp_path: Path) -> None:
        async def scene() -> None:
            clock = VirtualClock()
            for start in range(6):
                async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                    if start == 0:
                        await store.accept(draft(1))
                    job = await store.get(job_id(1))
                    assert job is not None
                    assert (job.state is State.FAILURE) is (start == 5)
                    await store.claim("w1", None)

        asyncio.run(scene())

    def test_one_client_may_fill_its_share_and_all_together_the_queue(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            tries = [store.accept(draft(f"a{number}", "ann")) for number in range(8)]
            answers = await asyncio.gather(*tries, return_exceptions=True)
            refused = [one for one in answers if isinstance(one, Full)]
            assert len(refused) == 4
            assert {(one.whose, one.limit) for one in refused} == {("client", 4)}
            for client in ("bob", "cid"):
                await store.accept(draft(client, client))
            with pytest.raises(Full) as full:
                await store.accept(draft("dan", "dan"))
            assert (full.value.whose, full.value.limit) == ("all", 6)
            assert len(await store.list(100)) == 6
            await claimed(store)
            await store.accept(draft("dan", "dan"))

        self.play(tmp_path, scene, Bounds(waiting=6, waiting_of_client=4))

    def test_long_texts_fill_the_queue_by_the_memory_that_they_take(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            dragons = request(prompt="\U0001f409" * 1000)  # 4 bytes each, and 4 of UTF-8
            tries = [store.accept(draft(number, asked=dragons)) for number in range(20)]
            answers = await asyncio.gather(*tries, return_exceptions=True)
            refused = [one for one in answers if isinstance(one, Full)]
            assert (len(refused), refused[0].whose, refused[0].limit) == (15, "all", 5)
            await store.accept(draft("short"))
            for ended in range(7):
                job = await begun(store)
                await store.complete(job.id, job.fence, [])
                if not ended:
                    await store.accept(draft("next", asked=dragons))  # one waits no more: there is room for one
            # Those that have ended have as much room of their own.
            await store.sweep()
            with pytest.raises(Gone):
                await store.get(job_id(0))
            assert len(await store.list(100)) == 6

        self.play(tmp_path, scene, Bounds(text_bytes=45_000))

    def test_ended_jobs_beyond_the_bound_are_gone_and_not_unknown(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            names = []
            for number in range(7):
                await store.accept(draft(number, key=f"k{number}"))
                job = await begun(store)
                done = await store.complete(job.id, job.fence, [picture_file(job)])
                names.append(done.pictures[0].name)
            assert list((await store.sweep()).unnamed) == names[:4]
            for number in range(7):
                if number < 4:
                    with pytest.raises(Gone):
                        await store.get(job_id(number))
                    with pytest.raises(Gone):
                        await store.cancel(job_id(number))
                else:
                    assert await store.get(job_id(number)) is not None
            assert store.counts()[State.SUCCESS] == 3
            clock.seconds += 100
            assert list((await store.sweep()).unnamed) == names[4:]
            # The record of what is gone is bounded, too: of the seven the last five are remembered.
            assert await store.get(job_id(1)) is None
            with pytest.raises(Gone):
                await store.get(job_id(2))

        self.play(tmp_path, scene, Bounds(ended=3, ended_seconds=50, gone=5))

    def test_what_waits_is_never_forgotten(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(5):
                await store.accept(draft(number))
            clock.seconds += 1000
            await store.sweep()
            assert len(await store.list(100)) == 5

        self.play(tmp_path, scene, Bounds(ended=1, ended_seconds=50))

    def test_pictures_beyond_the_bound_go_and_their_jobs_stay(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(5):
                await store.accept(draft(number))
                job = await begun(store)
                await store.complete(job.id, job.fence, [picture_file(job)])
            swept = await store.sweep()
            assert list(swept.unnamed) == [f"{job_id(number)}.1.png" for number in range(3)]
            jobs = [await store.get(job_id(number)) for number in range(5)]
            assert [job.removed for job in jobs if job] == [True, True, True, False, False]
            assert {job.state for job in jobs if job} == {State.SUCCESS}
            assert (await store.sweep()).unnamed == ()

        self.play(tmp_path, scene, Bounds(picture_bytes=250))

    def test_the_list_shows_the_newest_first(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            for number in range(5):
                await store.accept(draft(number))
            await cancelled(store, job_id(3))
            assert [job.id for job in await store.list(2)] == [job_id(4), job_id(3)]
            revoked = await store.list(10, frozenset({State.REVOKED}))
            assert [job.id for job in revoked] == [job_id(3)]
            assert store.counts() == {state: {"PENDING": 4, "REVOKED": 1}.get(state, 0) for state in State}

        self.play(tmp_path, scene)

    def test_a_key_finds_its_job_for_as_long_as_it_is_kept(self, tmp_path: Path) -> None:
        async def scene() -> None:
            clock = VirtualClock()
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                assert await store.find("k", "b") is None
                await store.accept(draft(1, key="k", body="b"))
                await store.accept(draft(2))
                with pytest.raises(KeyMismatch):
                    await store.find("k", "another")
                assert await store.find("other", "b") is None
                done = await begun(store)
                await store.complete(done.id, done.fence, [])
            async with self.open(tmp_path, clock, Bounds(ended=0), LEASE) as store:
                assert await store.find("k", "b") == await store.get(job_id(1))
                await store.sweep()
                assert await store.find("k", "b") is None

        asyncio.run(scene())

    def test_a_key_is_found_though_no_more_is_taken(self, tmp_path: Path) -> None:
        async def scene(store: JobStore, clock: VirtualClock) -> None:
            job = await store.accept(draft(1, key="k", body="b"))
            with pytest.raises(Full):
                await store.accept(draft(2))
            assert await store.find("k", "b") == job

        self.play(tmp_path, scene, Bounds(waiting=1))
