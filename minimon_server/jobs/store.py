"""What a store of jobs must do, on this machine or on a fleet, and how it may fail to. Implements nothing.

Every call may end in a third way: `Unavailable`, it was not done; or `Unknown`, nobody can say. `settling` reads back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from minimon_server.engines.messages import Phase, Stack
from minimon_server.jobs.job import Draft, Fence, Job, PictureFile, State


class StoreError(Exception):
    """The root of what a store raises."""


class Unavailable(StoreError):
    """The store cannot be asked now; what was asked of it was not done."""


class Unknown(StoreError):
    """The store was asked and did not answer: it was done, or not. `job_id` says which job it was about."""

    def __init__(self, job_id: str | None = None) -> None:
        self.job_id = job_id
        super().__init__(job_id)


class Fenced(StoreError):
    """The record was written since this fence was given: whoever holds it holds the job no longer."""


class Gone(StoreError):
    """The job was there, has ended, and was removed."""


class Ended(StoreError):
    """The job has ended, and an ended state never changes."""


class Full(StoreError):
    """So many jobs wait that no more are taken: of this client, or of all."""

    def __init__(self, whose: Literal["client", "all"], limit: int) -> None:
        self.whose = whose
        self.limit = limit
        super().__init__(whose, limit)


class KeyInUse(StoreError):
    """A request with the same idempotency key is being accepted at this moment."""


class KeyMismatch(StoreError):
    """The idempotency key was used before, for something else."""


class Verdict(Enum):
    """What a heartbeat is answered with."""

    GO = "go"
    REVOKED = "revoked"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: waiting jobs, in all and of one client; ended ones, by number and age; pictures."""

    waiting: int = 1000
    waiting_of_client: int = 500
    ended: int = 1000
    ended_seconds: float = 7 * 86400.0
    picture_bytes: int = 4 << 30
    # What is kept in memory is bounded in bytes too, of what waits and of what has ended: a prompt may be long.
    text_bytes: int = 64 << 20
    gone: int = 100_000


@dataclass(frozen=True, slots=True)
class Lease:
    """For how many seconds a claim holds without a sign of progress: while a model is loaded, and after."""

    loading: float = 1800.0
    drawing: float = 300.0


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep has done: the jobs whose lease ran out, and the pictures that no record names any longer.

    `more` says that it has stopped halfway, to let others write.
    """

    expired: tuple[Job, ...] = ()
    unnamed: tuple[str, ...] = ()
    more: bool = False


class JobStore(Protocol):
    """The one owner of every job's state. Each change of it is one compare-and-set on the record's fence."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written until somebody mends it, if so."""

    async def accept(self, draft: Draft) -> Job:
        """Return the job once nothing can lose it any more; one accepted under the same key is returned instead.

        Raises `Full`, `KeyInUse`, `KeyMismatch`.
        """

    async def find(self, key: str, body: str) -> Job | None:
        """Return the job that was accepted under an idempotency key with the same body, or None if none is kept.

        Raises `KeyInUse`, `KeyMismatch`.
        """

    async def get(self, job_id: str) -> Job | None:
        """Return a job, or None if there never was one; raise `Gone`."""

    async def list(self, limit: int, states: frozenset[State] = frozenset(State)) -> Sequence[Job]:
        """Return jobs in these states, the newest first."""

    async def claim(self, worker: str, loaded: Stack | None) -> Job | None:
        """Give a waiting job to `worker`, as `lanes.pick` orders, or None when none waits."""

    async def begin(self, job_id: str, fence: Fence) -> Job:
        """Count an attempt: its denoising begins when this returns. Raises `Fenced`, as all writes below do."""

    async def heartbeat(self, job_id: str, fence: Fence, phase: Phase) -> Verdict:
        """Prolong the lease because the engine has moved, and hear whether to go on."""

    async def complete(self, job_id: str, fence: Fence, pictures: Sequence[PictureFile]) -> Job:
        """End a job in SUCCESS; its pictures must be stored already."""

    async def fail(self, job_id: str, fence: Fence, error: str, *, retry: bool) -> Job:
        """End a job in FAILURE, or let it wait again if it may go well the next time."""

    async def release(self, job_id: str, fence: Fence) -> Job:
        """Give a job back, as if it had not been claimed."""

    async def cancel(self, job_id: str) -> Job | None:
        """End a waiting or running job in REVOKED; None if there never was one. Raises `Ended` and `Gone`."""

    async def sweep(self) -> Swept:
        """Take jobs from those whose lease has run out, and forget what is beyond the bounds. May run at any time."""

    async def wait_for_work(self, seconds: float) -> None:
        """Return when a job may be waiting that nobody has claimed, or after `seconds`."""

    def position(self, job: Job) -> int | None:
        """Return about how many jobs start until this one does, itself included; None when it does not wait."""

    def counts(self) -> dict[State, int]:
        """Return how many jobs are known, by state."""
