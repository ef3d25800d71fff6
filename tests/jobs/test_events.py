"""Events: numbered, bounded, readable from any number on; and those who wait for them."""

from __future__ import annotations

import asyncio

from minimon_server.engines.messages import Progress
from minimon_server.jobs.events import LARGEST_PREVIEW, MOST_CHANNELS, MOST_EVENTS, Events


def test_events_are_read_from_any_number_on() -> None:
    events = Events()
    told = [events.tell("a", "step", {"current": number}) for number in range(5)]
    events.tell("b", "step", {"current": 9})
    assert events.after("a", 0) == told
    assert events.after("a", told[2].number) == told[3:]
    assert events.has_all_after("a", 0)
    assert not events.has_all_after("never", 0)
    assert events.after("never", 0) == []


def test_memory_is_bounded_and_what_was_dropped_is_known() -> None:
    events = Events()
    told = [events.tell("a", "step", {}) for _ in range(MOST_EVENTS + 10)]
    assert len(events.after("a", 0)) == MOST_EVENTS
    assert not events.has_all_after("a", told[5].number)
    assert events.has_all_after("a", told[9].number)
    for number in range(MOST_CHANNELS):
        events.tell(f"job {number}", "step", {})
    assert events.after("a", 0) == []
    assert len(events.after("job 5", 0)) == 1
    again = events.tell("a", "step", {})
    assert not events.has_all_after("a", told[-1].number)  # nobody knows what was told between
    assert events.has_all_after("a", again.number)


def test_only_the_newest_preview_is_kept_and_none_that_is_large() -> None:
    events = Events()
    for step in range(1, 4):
        events.progress("a", Progress("drawing", step, 3, b"small %d" % step))
    events.progress("a", Progress("drawing", 3, 3, b"x" * (LARGEST_PREVIEW + 1)))
    assert [event.preview for event in events.after("a", 0) if event.kind == "preview"] == [b"small 3"]
    assert events.latest("a") == (Progress("drawing", 3, 3), Progress("drawing", 3, 3))
    events.progress("a", Progress("decoding", 0, 1))
    assert events.latest("a") == (Progress("decoding", 0, 1), Progress("drawing", 3, 3))
    events.forget_progress("a")
    assert events.latest("a") == (None, None)
    assert events.latest("never") == (None, None)
    events.tell("a", "end", {"state": "SUCCESS"})
    assert events.end_of("a") == events.after("a", 0)[-1]


def test_nothing_is_missed_between_a_look_and_a_wait() -> None:
    async def scene() -> None:
        events = Events()
        with events.follow("a") as one, events.follow("a") as other, events.watch("a") as waiter:
            events.tell("a", "step", {})
            await one.changed(1000)
            await other.changed(1000)
            assert not waiter._woken.is_set()  # a step is no end
            events.wake("a")
            await waiter.changed(1000)
            events.wake_all()
            for each in (one, other, waiter):
                await each.changed(1000)
            await other.changed(0)
            assert events.is_followed("a")
        assert not events.is_followed("a")
        assert events._waiters == events._followers == {}

    asyncio.run(scene())


def test_what_nobody_asked_for_is_told_when_somebody_looks() -> None:
    events = Events()
    reported: list[Progress] = []

    def take() -> None:
        while reported:
            events.progress("a", reported.pop(0))

    events.hear_from("a", take)
    reported += [Progress("drawing", 0, 3), Progress("drawing", 1, 3)]
    assert events.latest("a")[1] == Progress("drawing", 1, 3)
    reported.append(Progress("drawing", 2, 3))
    assert [event.data["current"] for event in events.after("a", 0)] == [0, 1, 2]
    reported.append(Progress("drawing", 3, 3))
    events.forget_progress("a")
    reported.append(Progress("decoding", 0, 1))  # too late: the job has ended
    assert [event.data["current"] for event in events.after("a", 0)] == [0, 1, 2, 3]
