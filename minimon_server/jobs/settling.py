"""What to do when a store does not answer: ask again, or read back what nobody knows. Decides no state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from minimon_server.jobs.job import Fence, Job, State
from minimon_server.jobs.store import Fenced, Gone, JobStore, Unavailable, Unknown

# Waits before the next try, whose number from 0 it is given.
Pause = Callable[[int], Awaitable[None]]


async def backing_off(tries: int) -> None:
    """Wait longer after every failure, up to five seconds."""
    await asyncio.sleep(min(5.0, 0.1 * 2 ** min(tries, 10)))


async def settled(
    store: JobStore, held: Job, write: Callable[[Fence], Awaitable[Job]], wanted: frozenset[State], pause: Pause
) -> Job:
    """Write with the fence of `held` until it is known that it was written, or that another write came first.

    `wanted` are the states that this write may lead to. Raises `Fenced` when the job is not ours any longer.
    """
    tries = 0
    while True:
        try:
            return await write(held.fence)
        except Unavailable:
            pass  # it was not done: the same fence still holds
        except Unknown:
            found = await read_back(store, held.id, pause)
            if found is None:
                raise Fenced from None
            if found.fence != held.fence:
                if found.state in wanted and found.claims == held.claims and found.worker in (held.worker, None):
                    return found
                raise Fenced from None
        await pause(tries)
        tries += 1


async def read_back(store: JobStore, job_id: str, pause: Pause) -> Job | None:
    """Return the record as it is, however long the store cannot say; None for one that is not there, or no longer."""
    tries = 0
    while True:
        try:
            return await store.get(job_id)
        except Gone:
            return None
        except (Unavailable, Unknown):
            await pause(tries)
            tries += 1
