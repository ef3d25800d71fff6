"""Who may still come in: jobs that wait and those that are being accepted at this moment, together. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from minimon_server.jobs.job import Draft, text_size
from minimon_server.jobs.store import Bounds, Full, KeyInUse
from minimon_server.jobs.waiting import Waiting


class Admission:
    """What is on its way to the journal counts as if it waited already. One thread only."""

    def __init__(self, bounds: Bounds, waiting: Waiting) -> None:
        self._bounds = bounds
        self._waiting = waiting
        self._names: set[str] = set()
        self._clients: Counter[str] = Counter()
        self._text_size = 0

    def check_key(self, key: str) -> None:
        """Raise `KeyInUse` while a job is being accepted under this key."""
        if key in self._names:
            raise KeyInUse

    @contextmanager
    def name(self, draft: Draft) -> Iterator[None]:
        """Hold a draft's id and key, so that none of the same comes in meanwhile; raise `KeyInUse` if one does."""
        held = {draft.id, *([draft.key] if draft.key else [])}
        if held & self._names:
            raise KeyInUse
        self._names |= held
        try:
            yield
        finally:
            self._names -= held

    @contextmanager
    def place(self, draft: Draft) -> Iterator[None]:
        """Hold a place for a draft until it waits; raise `Full` when there is none."""
        size = text_size(draft.request)
        self._check(draft, size)
        self._clients[draft.client] += 1
        self._text_size += size
        try:
            yield
        finally:
            self._text_size -= size
            self._clients[draft.client] -= 1
            if not self._clients[draft.client]:
                del self._clients[draft.client]

    def _check(self, draft: Draft, size: int) -> None:
        waiting, bounds = self._waiting, self._bounds
        coming = len(waiting) + self._clients.total()
        if coming >= bounds.waiting:
            raise Full("all", bounds.waiting)
        if waiting.text_size + self._text_size + size > bounds.text_bytes:
            raise Full("all", coming)  # long ones: as many as there are is as many as there may be
        if waiting.of_client(draft.client) + self._clients[draft.client] >= bounds.waiting_of_client:
            raise Full("client", bounds.waiting_of_client)
