"""What happens to jobs, as numbered events that can be read from any number on. In memory, bounded, lossy by design.

The store says what state a job is in; this only saves asking it again and again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from minimon_server.engines.messages import Progress

Kind = Literal["position", "step", "preview", "end"]

MOST_CHANNELS: Final = 1024
MOST_EVENTS: Final = 256
LARGEST_PREVIEW: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job; numbers grow over all jobs, so none is ever given twice by one process."""

    number: int
    kind: Kind
    data: Mapping[str, Any]
    preview: bytes | None = None


@dataclass(slots=True)
class _Channel:
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    progress: Progress | None = None
    steps: Progress | None = None  # the last that was of drawing
    position: int | None = None  # the last that was told
    dropped: int = 0  # no event up to this number is here, and there may have been some


class Events:
    """One thread only. Jobs that were heard of least recently are forgotten first."""

    def __init__(self) -> None:
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._waiters: dict[str, set[asyncio.Event]] = {}  # for the end
        self._followers: dict[str, set[asyncio.Event]] = {}  # for every event
        self._sources: dict[str, Callable[[], None]] = {}
        self._last = 0

    def tell(self, job_id: str, kind: Kind, data: Mapping[str, Any], preview: bytes | None = None) -> Event:
        """Add an event, and wake whoever waits for one."""
        channel = self._channel(job_id)
        self._last += 1
        event = Event(self._last, kind, data, preview)
        if preview is not None:
            # Only the newest preview is worth its memory.
            kept = [one for one in channel.events if one.preview is None]
            if len(kept) < len(channel.events):
                channel.events = deque(kept, maxlen=MOST_EVENTS)
        if len(channel.events) == MOST_EVENTS:
            channel.dropped = channel.events[0].number
        channel.events.append(event)
        _set_all(self._followers.get(job_id))
        return event

    def hear_from(self, job_id: str, take: Callable[[], None]) -> None:
        """Call `take` whenever somebody looks at a job: what was reported and nobody asked for is told then."""
        self._sources[job_id] = take

    def is_followed(self, job_id: str) -> bool:
        """Return whether somebody wants every event of a job at once. May be asked on any thread."""
        return job_id in self._followers

    def progress(self, job_id: str, progress: Progress) -> None:
        """Follow the engine."""
        channel = self._channel(job_id)
        channel.progress = Progress(progress.phase, progress.current, progress.total)
        if progress.phase == "drawing":
            channel.steps = channel.progress
        step = {"phase": progress.phase, "current": progress.current, "total": progress.total}
        self.tell(job_id, "step", step)
        if progress.preview is not None and len(progress.preview) <= LARGEST_PREVIEW:
            self.tell(job_id, "preview", {"current": progress.current}, progress.preview)

    def place(self, job_id: str, position: int) -> None:
        """Tell a place in the queue, once, however many followers have seen it."""
        channel = self._channel(job_id)
        if channel.position != position:
            channel.position = position
            self.tell(job_id, "position", {"position": position})

    def forget_progress(self, job_id: str) -> None:
        """Forget how far a job was: it ended, or waits again."""
        self._take(job_id)
        self._sources.pop(job_id, None)
        if channel := self._channels.get(job_id):
            channel.progress = channel.steps = None

    def latest(self, job_id: str) -> tuple[Progress | None, Progress | None]:
        """Return how far a running job is, and how far its steps are, if its engine has said so."""
        self._take(job_id)
        channel = self._channels.get(job_id)
        return (channel.progress, channel.steps) if channel else (None, None)

    def after(self, job_id: str, number: int) -> list[Event]:
        """Return the events after that number which are still here."""
        self._take(job_id)
        channel = self._channels.get(job_id)
        return [event for event in channel.events if event.number > number] if channel else []

    def has_all_after(self, job_id: str, number: int) -> bool:
        """Return whether nothing between that event and now was dropped."""
        self._take(job_id)
        channel = self._channels.get(job_id)
        return channel is not None and channel.dropped <= number

    def end_of(self, job_id: str) -> Event | None:
        """Return the event that ended a job, if it is still here."""
        return next((event for event in self.after(job_id, 0) if event.kind == "end"), None)

    def wake(self, job_id: str) -> None:
        """Let everyone look who waits for this job, or follows it."""
        _set_all(self._waiters.get(job_id))
        _set_all(self._followers.get(job_id))

    def wake_all(self) -> None:
        """Let everyone look."""
        for woken in (*self._waiters.values(), *self._followers.values()):
            _set_all(woken)

    def watch(self, job_id: str) -> Watch:
        """Return a context in which `changed` waits until a job may have ended: enter it, look, then wait."""
        return Watch(self._waiters, job_id)

    def follow(self, job_id: str) -> Watch:
        """Return a context in which `changed` waits for the next event of a job: enter it, look, then wait."""
        return Watch(self._followers, job_id)

    def _take(self, job_id: str) -> None:
        if take := self._sources.get(job_id):
            take()

    def _channel(self, job_id: str) -> _Channel:
        channel = self._channels.get(job_id)
        if channel is None:
            channel = self._channels[job_id] = _Channel(dropped=self._last)
            if len(self._channels) > MOST_CHANNELS:
                self._channels.popitem(last=False)
        self._channels.move_to_end(job_id)
        return channel


def _set_all(waiters: set[asyncio.Event] | None) -> None:
    for waiter in waiters or ():
        waiter.set()


class Watch:
    """One who waits for a job; nothing that happens after the context was entered is missed."""

    def __init__(self, waiters: dict[str, set[asyncio.Event]], job_id: str) -> None:
        self._waiters = waiters
        self._job_id = job_id
        self._woken = asyncio.Event()

    def __enter__(self) -> Watch:
        self._waiters.setdefault(self._job_id, set()).add(self._woken)
        return self

    def __exit__(self, *_: object) -> None:
        same = self._waiters[self._job_id]
        same.discard(self._woken)
        if not same:
            del self._waiters[self._job_id]

    async def changed(self, seconds: float) -> None:
        """Return when something has happened since the last call, or after `seconds`."""
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return  # wake-ups may be lost; the store is asked now and then whatever happens
        self._woken.clear()
