"""The store of one machine keeps the contract of all stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from minimon_server.jobs.store import Bounds, JobStore, Lease
from tests.jobs.contract import Contract, StoreContract
from tests.jobs.contract_bounds import BoundsContract
from tests.jobs.contract_faults import FaultContract
from tests.jobs.contract_races import RaceContract
from tests.jobs.scene import VirtualClock
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
