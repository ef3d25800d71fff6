"""What the service needs of whoever runs jobs, on this machine or on many. Implements nothing, and knows no engine.

An executor and the service meet in the `JobStore`, which says whose a job is. What is said here only saves time: who
hears nothing of it learns the same from heartbeats and fences, and changes nothing when it comes too late.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from minimon_server.engines.messages import Stack
from minimon_server.jobs.loss import Loss
from minimon_server.jobs.pace import Pace


class Executor(Protocol):
    """Claims jobs from a store, lets them be drawn one after the other, and writes how each ended.

    Owned by one event loop. A second one passes when it passes `tests/jobs/contract_executor.py`.
    """

    @property
    def pace(self) -> Pace:
        """How long jobs take here, measured from every success."""

    @property
    def loaded(self) -> Stack | None:
        """The stack that could be drawn with at once, or None."""

    @property
    def is_drawing(self) -> bool:
        """Whether a job is being drawn that was not told to stop."""

    @property
    def has_lost_its_job(self) -> bool:
        """Whether it is still busy with a job that was taken from it: it hangs, or is about to stop."""

    @property
    def loss(self) -> Loss:
        """Whether nothing can be drawn here any more until the process begins anew; then nothing more is claimed."""

    @property
    def given_back(self) -> int:
        """How often an engine that nobody used has given its memory back."""

    def stop(self, job_id: str) -> None:
        """Stop drawing a job that was cancelled, within its step, if that is the one; no other is ever hit."""

    def lose(self, job_id: str) -> None:
        """Stop drawing a job whose lease ran out, if that is the one."""

    def give_back(self) -> None:
        """Stop drawing, so that the job waits again as if it had not been claimed; to be drained before."""

    def drain(self) -> None:
        """Claim no more; what runs goes on."""

    async def run(self) -> None:
        """Work until drained, or until `end` cancels it."""

    async def end(self, task: asyncio.Task[None], seconds: float) -> None:
        """Let the running job end within `seconds`, else give it back; then end `run`, which is `task`."""
