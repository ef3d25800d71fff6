"""The store of one machine keeps the contract of all stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from minimon_server.jobs.store import Bounds, JobStore, Lease, Unavailable
from tests.jobs.contract import Contract, StoreContract, begun
from tests.jobs.contract_bounds import BoundsContract
from tests.jobs.contract_faults import FaultContract
from tests.jobs.contract_races import RaceContract
from tests.jobs.scene import VirtualClock, draft, job_id, picture_file
from tests.jobs.working import sqlite_store


class Sqlite(Contract):
    """Opens a journal on the disk."""

    @asynccontextmanager
    async def open(self, folder: Path, clock: VirtualClock, bounds: Bounds, lease: Lease) -> AsyncIterator[JobStore]:
        store = sqlite_store(folder, clock, bounds, lease)
        try:
            yield store
        finally:
            store.close()


class TestJobs(Sqlite, StoreContract):
    """Jobs and their states."""


class TestBounds(Sqlite, BoundsContract):
    """Restarts and bounds."""


class TestRaces(Sqlite, RaceContract):
    """Calls that meet."""


class TestFaults(Sqlite, FaultContract):
    """A store that does not answer."""


def test_a_sweep_that_breaks_off_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        store = sqlite_store(tmp_path, VirtualClock(), Bounds(picture_bytes=0))
        for number in range(3):
            await store.accept(draft(number))
            job = await begun(store)
            await store.complete(job.id, job.fence, [picture_file(job)])
        swap = store._commits.ask
        swaps: list[int] = []

        async def second_fails(*arguments: Any) -> Any:
            swaps.append(1)
            if len(swaps) == 2:
                raise Unavailable
            return await swap(*arguments)

        monkeypatch.setattr(store._commits, "ask", second_fails)
        with pytest.raises(Unavailable):
            await store.sweep()
        assert sorted((await store.sweep()).unnamed) == sorted(f"{job_id(number)}.1.png" for number in range(3))
        assert (await store.sweep()).unnamed == ()
        store.close()

    asyncio.run(scene())
