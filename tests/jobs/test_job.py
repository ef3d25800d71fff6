"""The states and which may follow which; records that are read back as they were written."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product

import orjson
import pytest

from minimon_server.jobs import job as rules
from minimon_server.jobs.job import ENDED, Fence, Job, PictureFile, State, memory_of
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


def test_a_request_written_before_a_field_was_known_is_still_read() -> None:
    asked = orjson.loads(written_request(JOB))
    for name in ("guidance_rescale", "format", "quality", "native_size", "exact", "decoder"):
        del asked[name]
    read = read_job(JOB.id, JOB.number, "PENDING", 3, orjson.dumps(asked), written_record(JOB))
    assert read == JOB
    assert (read.request.guidance_rescale, read.request.format, read.request.quality) == (0.0, "png", None)
    assert (read.request.native_size, read.request.exact, read.request.decoder) == (None, True, "full")
    native = replace(JOB, request=replace(JOB.request, native_size=256))
    assert read_job(JOB.id, JOB.number, "PENDING", 3, written_request(native), written_record(native)) == native


def test_a_request_with_trigger_words_and_one_of_before_them_are_read() -> None:
    job = replace(JOB, request=replace(JOB.request, trigger_words=("neon glow",)))
    assert read_job(job.id, job.number, "PENDING", 3, written_request(job), written_record(job)) == job
    asked = orjson.loads(written_request(job))
    del asked["trigger_words"]
    read = read_job(job.id, job.number, "PENDING", 3, orjson.dumps(asked), written_record(job))
    assert read.request.trigger_words == ()


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


@pytest.mark.parametrize("character", ["a", "\x7f", "é", "ß", "語", "\uffff", "\U0001f409"])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
@pytest.mark.parametrize("rest", ["", "a", "é"])
def test_a_text_is_counted_as_what_it_takes_in_memory(character: str, count: int, rest: str) -> None:
    read = orjson.loads(orjson.dumps(character * count + rest))  # a text of its own, as one that came with a request
    before = sys.getsizeof(read)
    orjson.dumps(read)
    after = sys.getsizeof(read)  # it keeps its UTF-8 from now on
    assert before <= after <= memory_of(read) or not read
    assert memory_of(read) <= max(2 * after, after + 64)


def test_every_text_of_a_job_counts() -> None:
    bare = replace(JOB, request=replace(STACKED, adapters=()))
    assert JOB.text_size - bare.text_size == memory_of("style-anime")
    said = "語" * 50
    for longer_request in (
        replace(bare.request, prompt=said),
        replace(bare.request, negative_prompt=said),
        replace(bare.request, scheduler=said),
        replace(bare.request, model=said),
    ):
        longer = replace(bare, request=longer_request)
        assert longer.text_size - bare.text_size >= 50 * 5 - 10
    assert replace(bare, error="e" * 100).text_size - bare.text_size == sys.getsizeof("e" * 100)
    told = {"prompt": "e" * 100, "loras": [{"name": "n" * 100}], "seed": 7}
    pictures = tuple(PictureFile(f"{number}", "", 1, 7, 64, 64, told) for number in range(3))
    assert replace(bare, pictures=pictures).text_size - bare.text_size >= 3 * 200


def test_a_lone_surrogate_of_an_old_record_is_counted_too() -> None:
    assert memory_of("\ud800") >= sys.getsizeof("\ud800")
