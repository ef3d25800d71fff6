"""The rate table: a sliding minute, bounded memory, and no way to be forgotten by flooding it."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from minimon_server.web.limits import SLOTS, WAYS, RateTable, address_key


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_the_sixty_first_request_of_a_minute_is_refused() -> None:
    clock = Clock()
    table = RateTable(clock, slots=64)
    for _ in range(60):
        assert table.take(b"a", 60) == 0
        clock.seconds += 0.9
    assert table.take(b"a", 60) > 0
    assert table.take(b"b", 60) == 0


def test_waiting_as_long_as_told_is_enough_and_shorter_is_not() -> None:
    generator = random.Random(5)
    for _ in range(300):
        clock = Clock()
        table = RateTable(clock, slots=64)
        limit = generator.randint(1, 100)
        clock.seconds += generator.uniform(0, 200)
        while not (wait := table.take(b"a", limit)):
            clock.seconds += generator.choice([0, 0, 0.01, 0.5, 3])
        begun = clock.seconds
        if wait > 1:
            clock.seconds = begun + wait - 0.01
            assert table.take(b"a", limit) > 0
        clock.seconds = begun + wait + 1e-6
        assert table.take(b"a", limit) == 0


def test_refused_requests_do_not_lengthen_the_wait() -> None:
    clock = Clock()
    table = RateTable(clock, slots=64)
    for _ in range(5):
        table.take(b"a", 5)
    first = table.take(b"a", 5)
    for _ in range(1000):
        table.take(b"a", 5)
    assert table.take(b"a", 5) == pytest.approx(first)


def test_the_window_slides() -> None:
    clock = Clock()
    table = RateTable(clock, slots=64)
    clock.seconds += 59
    for _ in range(60):
        assert table.take(b"a", 60) == 0
    clock.seconds += 2  # the minute on the wall has changed, the sixty are two seconds old
    allowed = sum(table.take(b"a", 60) == 0 for _ in range(60))
    assert allowed in (1, 2)
    clock.seconds += 29
    assert sum(table.take(b"a", 60) == 0 for _ in range(60)) in (28, 29, 30, 31)


def test_whoever_keeps_to_the_limit_is_not_refused() -> None:
    clock = Clock()
    table = RateTable(clock, slots=64)
    for _ in range(1000):
        assert table.take(b"a", 60) == 0
        clock.seconds += 1.02


def test_an_address_that_was_quiet_for_two_minutes_starts_anew() -> None:
    clock = Clock()
    table = RateTable(clock, slots=64)
    for _ in range(60):
        table.take(b"a", 60)
    clock.seconds += 121
    assert sum(table.take(b"a", 60) == 0 for _ in range(100)) == 60


def test_a_flood_of_addresses_does_not_free_the_one_that_asked_too_often() -> None:
    clock = Clock()
    table = RateTable(clock, slots=64)
    while not table.take(b"greedy", 60):
        pass
    for number in range(20_000):
        table.take(f"flood {number}".encode(), 60)
    assert table.take(b"greedy", 60) > 0


def test_a_million_addresses_stay_within_the_block() -> None:
    table = RateTable(Clock())
    assert table._cells.nbytes == SLOTS * 16 <= 20_000_000
    generator = random.Random(1)
    for _ in range(20_000):
        assert table.take(generator.randbytes(8), 60) == 0
    assert table._cells.nbytes == SLOTS * 16


def test_addresses_share_a_table_without_mixing_their_counts() -> None:
    clock = Clock()
    table = RateTable(clock)
    names = [str(number).encode() for number in range(500)]
    for _ in range(3):
        assert all(table.take(name, 3) == 0 for name in names)
    assert all(table.take(name, 3) > 0 for name in names)


@pytest.mark.parametrize("slots", [0, 4, 100, WAYS + 1])
def test_only_powers_of_two_make_a_table(slots: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        RateTable(Clock(), slots=slots)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("not: an address", "not: an address", True),
        ("", "x", False),
    ],
)
def test_who_counts_as_one_client(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same
