"""The time as texts: RFC 3339 in UTC, as answers and log lines show it. Keeps no time of its own."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Says the time to the second, `2025-11-12T20:41:32Z`, or to the millisecond; renders each second only once."""

    def __init__(self, seconds: Callable[[], float] = time.time) -> None:
        """`seconds` gives the seconds since 1970, UTC."""
        self._seconds = seconds
        self._rendered = -1
        self._text = ""

    def now(self) -> str:
        """Return the present second."""
        return self._whole(int(self._seconds())) + "Z"

    def now_ms(self) -> str:
        """Return the present millisecond."""
        second, millisecond = divmod(int(self._seconds() * 1000), 1000)
        return f"{self._whole(second)}.{millisecond:03d}Z"

    def _whole(self, second: int) -> str:
        if second != self._rendered:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._rendered = second
        return self._text
