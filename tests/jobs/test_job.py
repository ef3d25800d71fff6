"""The states and which may follow which; records that are read back as they were written."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import orjson
import pytest

from minimon_server.jobs import job as rules
from minimon_server.jobs.job import ENDED, Fence, Job, PictureFile, State
from minimon_server.jobs.records import NewerRecord, read_job, written_record, written_request
from tests.jobs.scene import STACKED, job_id

JOB = Job(job_id(1), 5, STACKED, "ann", "player", 1.5, Fence("3"))


def test_an_ended_state_is_never_left_and_a_waiting_job_cannot_succeed() -> None:
    for before, after in product(State, State):
        job = replace(JOB, state=before)
        allowed = before is State.PROGRESS or (before is State.PENDING and after in (State.PROGRESS, State.REVOKED))
        if allowed:
            assert job.moved(after).state is after
        else:
            with pytest.raises(ValueError, match="cannot follow"):
                job.moved(after)
        assert job.has_ended is (before in ENDED)


def test_a_record_is_read_back_as_it_was_written() -> None:
    picture = PictureFile("a.1.png", "f" * 64, 10, 2**53 - 1, 64, 64, {"model": "tiny", "loras": [{"name": "é"}]})
    job = replace(JOB, state=State.SUCCESS, attempt=1, ended=3.25, pictures=(picture,), error=None, removed=True)
    read = read_job(job.id, job.number, "SUCCESS", 3, written_request(job), written_record(job))
    assert read == job


def test_a_record_of_a_later_version_is_left_alone() -> None:
    later = orjson.dumps(orjson.loads(written_record(JOB)) | {"schema": 2, "colour": "blue"})
    with pytest.raises(NewerRecord):
        read_job(JOB.id, 5, "PENDING", 3, written_request(JOB), later)


def test_what_becomes_of_an_interrupted_job() -> None:
    held = rules.claimed(JOB, "w1")
    assert rules.interrupted(held, 9.0).stumbled == 1
    begun = rules.begun(held, 2.0)
    once = rules.interrupted(begun, 9.0)
    assert (once.state, once.interrupted, once.worker) == (State.PENDING, 1, None)
    twice = rules.interrupted(rules.begun(rules.claimed(once, "w2"), 3.0), 9.0)
    assert (twice.state, twice.error, twice.attempt, twice.ended) == (State.FAILURE, "interrupted twice", 2, 9.0)
