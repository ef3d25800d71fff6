"""How often an address may come: sliding windows of a minute in one fixed block of memory. Knows no routes.

The estimate is the sliding-window counter that Cloudflare described ("How we built rate limiting capable of scaling
to millions of domains", 2017): the last minute's count, weighted by the part of it that the window still covers, plus
this minute's. The table is set-associative, as a processor's cache is: an address may stand in one of eight slots;
when all are taken, the one that has asked least gives way, so that a flood of addresses cannot free the one that
asks too often.

It is an estimate. Nobody gets more than the limit within one minute of the table's clock; but bursts on both sides of a
turn of the minute may come near twice the limit within sixty seconds.
"""

from __future__ import annotations

import mmap
import secrets
import socket
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

SLOTS: Final = 1 << 20  # 16 bytes each: 16 MiB, of which the kernel gives only the pages that were touched
WAYS: Final = 8
MINUTE: Final = 60.0
COUNT_BITS: Final = 20
LARGEST_COUNT: Final = (1 << COUNT_BITS) - 1


class RateTable:
    """Counts requests by a key of bytes. One thread only; no call allocates, waits or walks the table."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, slots: int = SLOTS) -> None:
        """`clock` gives seconds that never go back; `slots` is a power of two, at least eight."""
        if slots < WAYS or slots & (slots - 1):
            raise ValueError("slots must be a power of two, at least 8")
        self._clock = clock
        self._began = clock()
        # A secret key: nobody outside can choose addresses that fall into one another's slots.
        self._secret = secrets.token_bytes(16)
        self._mask = slots // WAYS - 1
        # Each slot is two words: the key (0 when free), and window | count of the window before | count of this one.
        self._cells = memoryview(mmap.mmap(-1, slots * 16)).cast("Q")

    def take(self, who: bytes, limit: int) -> float:
        """Count one request of `who` and return 0.0, or return the seconds to wait when `limit` a minute is reached.

        A refused request is not counted. `limit` may be up to 2^20 - 1.
        """
        minutes = (self._clock() - self._began) / MINUTE
        window = int(minutes) + 1
        fraction = minutes + 1 - window
        key = int.from_bytes(blake2b(who, digest_size=8, key=self._secret).digest(), "little") | 1
        slot = self._slot(key, window)
        previous, current = self._counts(slot, window) if self._cells[slot] == key else (0, 0)
        if int(previous * (1 - fraction)) + current >= limit:
            return _seconds_to_wait(previous, current, fraction, limit)
        self._cells[slot] = key
        self._cells[slot + 1] = window << 2 * COUNT_BITS | previous << COUNT_BITS | current + 1
        return 0.0

    def _slot(self, key: int, window: int) -> int:
        """Return where `key` stands, or else the slot of its set that loses least by being given to it."""
        cells = self._cells
        first = (key >> 16 & self._mask) * WAYS * 2
        least, best = 1 << 62, first
        for slot in range(first, first + WAYS * 2, 2):
            held = cells[slot]
            if held == key:
                return slot
            if held == 0:
                weight = -1
            else:
                previous, current = self._counts(slot, window)
                weight = previous + current
            if weight < least:
                least, best = weight, slot
        return best

    def _counts(self, slot: int, window: int) -> tuple[int, int]:
        state = self._cells[slot + 1]
        age = window - (state >> 2 * COUNT_BITS)
        if age == 0:
            return state >> COUNT_BITS & LARGEST_COUNT, state & LARGEST_COUNT
        if age == 1:
            return state & LARGEST_COUNT, 0
        return 0, 0


def _seconds_to_wait(previous: int, current: int, fraction: float, limit: int) -> float:
    """Return after how many seconds the estimate leaves room for one more, if nothing else comes until then."""
    if current < limit:
        return max(1.0, (1 - (limit - current) / previous - fraction) * MINUTE)
    return max(1.0, (1 - fraction + max(0.0, 1 - limit / current)) * MINUTE)


def address_key(host: str) -> bytes:
    """Return the bytes that stand for a client: an IPv4 address whole, an IPv6 address by its /64.

    An IPv4 address in IPv6 clothing (::ffff:192.0.2.1) counts as the IPv4 address that it is. A host that is no
    address (a Unix socket, a test) stands for itself.
    """
    if ":" not in host:
        return host[:64].encode("utf-8", "replace")
    try:
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return host[:64].encode("utf-8", "replace")
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, packed[12:]).encode("ascii")
    return packed[:8]
