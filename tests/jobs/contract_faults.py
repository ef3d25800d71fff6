"""What worker and service make of a store that does not answer, call by call. The contract, continued."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from minimon_server.jobs.errors import JobsUnavailable
from minimon_server.jobs.job import State
from minimon_server.jobs.store import Bounds
from tests.jobs.contract import LEASE, Contract
from tests.jobs.faulty_store import FAULTS, Fault, FaultyStore
from tests.jobs.scene import VirtualClock, request
from tests.jobs.working import ended, studio


class FaultContract(Contract):
    """Each call, in each way; reading back decides."""

    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("call", ["claim", "begin", "heartbeat", "complete"])
    @pytest.mark.parametrize("silent_get", [False, True], ids=["", "and get"])
    def test_a_job_ends_once_with_one_picture(self, tmp_path: Path, call: str, fault: Fault, silent_get: bool) -> None:
        async def scene() -> None:
            async with self.open(tmp_path, VirtualClock(), Bounds(), LEASE) as store:
                faulty = FaultyStore(store)
                async with studio(tmp_path, faulty, VirtualClock()) as at:
                    faulty.faults[call] = [fault, fault]
                    if silent_get:
                        faulty.faults["get"] = ["unavailable", "unknown, done"]
                    job = await at.submit(request())
                    found = await ended(store, job.id)
                    assert (call, fault) in faulty.met
                    assert (found.state, found.attempt, found.interrupted) == (State.SUCCESS, 1, 0)
                    assert [picture.name for picture in found.pictures] == at.files()

        asyncio.run(scene())

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_failure_is_told_once(self, tmp_path: Path, fault: Fault) -> None:
        async def scene() -> None:
            async with self.open(tmp_path, VirtualClock(), Bounds(), LEASE) as store:
                faulty = FaultyStore(store)
                async with studio(tmp_path, faulty, VirtualClock()) as at:
                    faulty.faults["fail"] = [fault]
                    job = await at.submit(request(prompt="fault"))
                    found = await at.ended(job.id)
                    assert (found.state, found.error) == (State.FAILURE, "too little memory for this size")

        asyncio.run(scene())

    @pytest.mark.parametrize("fault", FAULTS)
    def test_what_is_not_accepted_for_certain_is_not_answered_202(self, tmp_path: Path, fault: Fault) -> None:
        async def scene() -> None:
            async with self.open(tmp_path, VirtualClock(), Bounds(), LEASE) as store:
                faulty = FaultyStore(store)
                async with studio(tmp_path, faulty, VirtualClock()) as at:
                    faulty.faults["accept"] = [fault]
                    if fault == "unknown, done":
                        job = await at.submit(request(), key="k")
                    else:
                        with pytest.raises(JobsUnavailable):
                            await at.submit(request(), key="k")
                        job = await at.submit(request(), key="k")
                    assert (await at.ended(job.id)).state is State.SUCCESS
                    assert len(await store.list(10)) == 1

        asyncio.run(scene())

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_cancel_is_answered_only_when_it_is_known(self, tmp_path: Path, fault: Fault) -> None:
        async def scene() -> None:
            async with self.open(tmp_path, VirtualClock(), Bounds(), LEASE) as store:
                faulty = FaultyStore(store)
                async with studio(tmp_path, faulty, VirtualClock()) as at:
                    await at.submit(request(prompt="gated"))
                    job = await at.submit(request())
                    faulty.faults["cancel"] = [fault]
                    if fault == "unknown, done":
                        assert (await at.jobs.cancel(job.id)).state is State.REVOKED
                    else:
                        with pytest.raises(JobsUnavailable):
                            await at.jobs.cancel(job.id)
                        assert (await at.jobs.cancel(job.id)).state is State.REVOKED

        asyncio.run(scene())

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_status_that_nobody_can_tell_is_no_404(self, tmp_path: Path, fault: Fault) -> None:
        async def scene() -> None:
            async with self.open(tmp_path, VirtualClock(), Bounds(), LEASE) as store:
                faulty = FaultyStore(store)
                async with studio(tmp_path, faulty, VirtualClock()) as at:
                    job = await at.submit(request())
                    await at.ended(job.id)
                    faulty.faults["get"] = faulty.faults["find"] = [fault, fault]
                    for ask in (at.jobs.get(job.id), at.jobs.find("ann", "k", b"")):
                        with pytest.raises(JobsUnavailable) as told:
                            await ask
                        assert told.value.headers["Retry-After"]

        asyncio.run(scene())

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_job_is_given_back_at_the_end_or_found_at_the_next_start(self, tmp_path: Path, fault: Fault) -> None:
        async def scene() -> None:
            clock = VirtualClock()
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                faulty = FaultyStore(store)
                async with studio(tmp_path, faulty, clock) as at:
                    job = await at.submit(request(prompt="gated"))
                    await asyncio.to_thread(at.engine.arrived.acquire)
                    faulty.faults["release"] = [fault]
            async with self.open(tmp_path, clock, Bounds(), LEASE) as store:
                found = await store.get(job.id)
                assert found is not None
                assert (found.state, found.attempt, found.interrupted) == (State.PENDING, 0, 0)

        asyncio.run(scene())
