"""What a start makes of the journal that the last process left: jobs that ran were interrupted. Runs before anything.

Nobody else has the journal open, so no lease needs to run out first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from minimon_server.errors import StartupError
from minimon_server.jobs import job as rules
from minimon_server.jobs.job import Fence, Job, State
from minimon_server.jobs.journal import Journal
from minimon_server.jobs.pictures import PictureStore
from minimon_server.logs import Logger


def recovered(journal: Journal, now: float, log: Logger) -> list[Job]:
    """Return all jobs of a journal that nobody else has open; those that were running were interrupted."""
    found = []
    try:
        jobs = list(journal.jobs())
    except StartupError:
        journal.close()
        raise
    journal.db.execute("BEGIN IMMEDIATE")
    for job in jobs:
        if job.state is State.PROGRESS:
            changed = replace(rules.interrupted(job, now), fence=after(job.fence))
            journal.swap(changed, job.fence)
            log.warning("a job was interrupted", job=job.id, attempt=job.attempt, state=changed.state.value)
            found.append(changed)
        else:
            found.append(job)
    journal.db.execute("COMMIT")
    return sorted(found, key=lambda job: (job.ended or 0.0, job.number))


def sweep_orphans(journal: Journal, jobs: Mapping[str, Job], pictures: PictureStore, log: Logger) -> None:
    """Remove the pictures of attempts that died before a record named them.

    The journal knew of each such attempt before it began. Pictures of jobs that it knows nothing of belong to another
    one: of a second server, of before a move, or of after the copy that was put back. They are left.
    """
    unnamed = pictures.unnamed(jobs.values())
    orphans = sorted(name for name, job in unnamed.items() if job in jobs or journal.is_gone(job))
    if orphans:
        pictures.remove(orphans)
        log.warning("pictures of interrupted attempts were removed", pictures=len(orphans))
    if foreign := len(unnamed) - len(orphans):
        log.warning("pictures of jobs that this journal does not know are left where they are", pictures=foreign)


def after(fence: Fence) -> Fence:
    """Return the fence that the next write gives."""
    return Fence(str(int(fence) + 1))
