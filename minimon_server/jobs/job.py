"""What a job is: plain data with a schema number, its states, and which may follow which. Stores and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, NewType

from minimon_server.engines.messages import DrawRequest

SCHEMA: Final = 1

# Players wait for what they asked for; a batch may let them pass.
Priority = Literal["player", "batch"]
# Changed by every write to a record; whoever shows the last one may write next. It means nothing to its holder.
Fence = NewType("Fence", str)

# What CPython adds to the characters of a text (`sys.getsizeof("")`, and of one that is not ASCII).
ASCII_HEAD: Final = 49
TEXT_HEAD: Final = 73

MOST_INTERRUPTIONS: Final = 2
MOST_STUMBLES: Final = 5


class State(StrEnum):
    """The words of Celery, which clients of the first server know."""

    PENDING = "PENDING"
    PROGRESS = "PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"


ENDED: Final = frozenset({State.SUCCESS, State.FAILURE, State.REVOKED})
# PROGRESS follows itself when an attempt begins; an ended state is never left.
FOLLOWERS: Final[Mapping[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.PROGRESS, State.REVOKED}),
    State.PROGRESS: frozenset(State),
    State.SUCCESS: frozenset(),
    State.FAILURE: frozenset(),
    State.REVOKED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class PictureFile:
    """One picture as it lies in the image store: its file, the SHA-256 of its bytes, and what made it."""

    name: str
    digest: str
    size: int
    seed: int
    width: int
    height: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is not accepted yet. `key` and `body` are digests of the idempotency key and of what was asked."""

    id: str
    request: DrawRequest
    client: str
    priority: Priority = "player"
    key: str | None = None
    body: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted job. Times are seconds since 1970, for people; nothing is decided by comparing hosts' clocks.

    `attempt` counts denoisings begun and names the pictures. `interrupted` counts those that were cut off by a death
    or a hang, `stumbled` the claims that were cut off before their denoising began. `claims` and `worker` say whose
    the job is or last was. `pictures` are all made or none; `removed` says that they are no longer kept.
    """

    id: str
    number: int
    request: DrawRequest
    client: str
    priority: Priority
    accepted: float
    fence: Fence
    state: State = State.PENDING
    worker: str | None = None
    claims: int = 0
    begun: bool = False
    attempt: int = 0
    interrupted: int = 0
    stumbled: int = 0
    started: float | None = None
    ended: float | None = None
    pictures: tuple[PictureFile, ...] = ()
    removed: bool = False
    error: str | None = None
    schema: int = SCHEMA

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def text_size(self) -> int:
        """How many bytes of memory its texts take, at the most: those of its pictures too, once there are some."""
        size = text_size(self.request) + memory_of(self.error or "")
        return size + sum(memory_of(text) for picture in self.pictures for text in _texts(picture.metadata))

    def moved(self, state: State, **changes: Any) -> Job:
        """Return this job in another state; raise `ValueError` when that state may not follow."""
        if state not in FOLLOWERS[self.state]:
            raise ValueError(f"{state} cannot follow {self.state}")
        return replace(self, state=state, **changes)


def text_size(request: DrawRequest) -> int:
    """Return how many bytes of memory the texts of a request take, at the most."""
    reference = request.ip_adapter.name if request.ip_adapter else ""
    texts = (request.model, request.prompt, request.negative_prompt, request.scheduler or "", reference)
    return sum(map(memory_of, (*texts, *(adapter.name for adapter in request.adapters))))


def memory_of(text: str) -> int:
    """Return how many bytes a text takes in memory at the most, without asking `sys.getsizeof`, whose answer changes.

    PEP 393: 1, 2 or 4 bytes a character, and beside it, once the text was written as JSON, its UTF-8.
    """
    if not text:
        return 0  # there is one for all
    if text.isascii():
        return ASCII_HEAD + len(text)
    beyond = len(text.encode("utf-16-le", "surrogatepass")) > 2 * len(text)
    return TEXT_HEAD + (4 if beyond else 2) * (len(text) + 1) + len(text.encode("utf-8", "surrogatepass")) + 1


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield name
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def claimed(job: Job, worker: str) -> Job:
    """Return the job as `worker` holds it, before its attempt begins."""
    return job.moved(State.PROGRESS, worker=worker, claims=job.claims + 1, begun=False)


def begun(job: Job, now: float) -> Job:
    """Return the job with its next attempt begun."""
    return job.moved(State.PROGRESS, begun=True, attempt=job.attempt + 1, started=now)


def released(job: Job) -> Job:
    """Return the job as given back in good order: it waits again and nothing is counted."""
    return job.moved(State.PENDING, worker=None, begun=False, started=None)


def interrupted(job: Job, now: float) -> Job:
    """Return what becomes of a job whose worker died or hangs: it waits again, or fails if that came too often."""
    lost, stumbled = job.interrupted + job.begun, job.stumbled + (not job.begun)
    if lost >= MOST_INTERRUPTIONS:
        return job.moved(State.FAILURE, interrupted=lost, ended=now, error="interrupted twice")
    if stumbled >= MOST_STUMBLES:
        error = f"interrupted {stumbled} times before drawing began"
        return job.moved(State.FAILURE, stumbled=stumbled, ended=now, error=error)
    return replace(released(job), interrupted=lost, stumbled=stumbled)


def failed(job: Job, now: float, error: str, *, retry: bool) -> Job:
    """Return what becomes of a job that its engine could not draw; one that may go well next time gets one more try."""
    if retry and not job.interrupted:
        return replace(released(job), interrupted=1)
    return job.moved(State.FAILURE, ended=now, error=error)
