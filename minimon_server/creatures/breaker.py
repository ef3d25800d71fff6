"""A circuit breaker: after failures in a row it says "do not ask" for a while. Asks nobody itself, and logs nothing."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

FAILURES_TO_OPEN: Final = 3
FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 300.0


class State(Enum):
    """What a breaker says to the next call: go, do not, or not until the one trial that is under way has ended."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Breaker:
    """Closed, it admits everyone; open, nobody until its pause is over, and then one trial at a time.

    Every call is admitted with a ticket and reports back with it. What was admitted before the breaker last opened
    or closed has no say any more: sixteen calls that hang together open it once, not five times.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that never run backwards."""
        self._clock = clock
        self._ticket = 0
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until: float | None = None
        self._trying = False

    def admit(self) -> int | None:
        """Return a ticket for one call, or None when it should not be made."""
        if self._open_until is not None:
            if self._trying or self._clock() < self._open_until:
                return None
            self._trying = True
        return self._ticket

    def succeeded(self, ticket: int) -> bool:
        """Report a call that worked; return whether it closed the breaker."""
        if ticket != self._ticket:
            return False
        closes = self._open_until is not None
        self._failures = 0
        if closes:
            self._open_until, self._pause = None, FIRST_PAUSE
            self._begin_anew()
        return closes

    def failed(self, ticket: int) -> bool:
        """Report a call that did not work; return whether it opened the breaker, which was closed before."""
        if ticket != self._ticket:
            return False
        self._failures += 1
        opens = self._open_until is None
        if opens and self._failures < FAILURES_TO_OPEN:
            return False
        if not opens:
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._open_until = self._clock() + self._pause
        self._begin_anew()
        return opens

    def abandoned(self, ticket: int) -> None:
        """Report a call that was given up before it could work or fail."""
        if ticket == self._ticket:
            self._trying = False

    @property
    def state(self) -> State:
        """What the next call would hear; a pause that is over stays open until somebody tries."""
        if self._open_until is None:
            return State.CLOSED
        return State.TRYING if self._trying else State.OPEN

    @property
    def pause(self) -> float:
        """How many seconds the present or next pause lasts."""
        return self._pause

    def _begin_anew(self) -> None:
        self._ticket += 1
        self._failures = 0
        self._trying = False
