"""The circuit breaker, on a clock that only the test moves."""

from __future__ import annotations

from minimon_server.creatures.breaker import Breaker, State


class Hand:
    """A clock's hand."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


def opened(hand: Hand) -> Breaker:
    breaker = Breaker(hand)
    assert [fail(breaker) for _ in range(3)] == [False, False, True]
    return breaker


def fail(breaker: Breaker) -> bool:
    ticket = breaker.admit()
    assert ticket is not None
    return breaker.failed(ticket)


def succeed(breaker: Breaker) -> bool:
    ticket = breaker.admit()
    assert ticket is not None
    return breaker.succeeded(ticket)


def test_three_failures_in_a_row_open_it_for_thirty_seconds() -> None:
    hand = Hand()
    breaker = opened(hand)
    assert breaker.admit() is None
    hand.at += 29.9
    assert breaker.admit() is None
    hand.at += 0.1
    assert breaker.admit() is not None


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(Hand())
    for _ in range(10):
        assert not fail(breaker)
        assert not fail(breaker)
        assert not succeed(breaker)


def test_half_open_it_admits_one_trial_at_a_time() -> None:
    hand = Hand()
    breaker = opened(hand)
    told = [breaker.state]
    hand.at += 30
    trial = breaker.admit()
    assert trial is not None
    told.append(breaker.state)
    assert breaker.admit() is None
    assert breaker.succeeded(trial)
    assert [*told, breaker.state] == [State.OPEN, State.TRYING, State.CLOSED]
    assert breaker.admit() is not None
    assert not succeed(breaker)


def test_each_failed_trial_doubles_the_pause_up_to_five_minutes() -> None:
    hand = Hand()
    breaker = opened(hand)
    pauses = []
    for _ in range(6):
        pauses.append(breaker.pause)
        hand.at += breaker.pause - 0.5
        assert breaker.admit() is None
        hand.at += 0.5
        assert not fail(breaker)  # it was open: that is not told again
    assert pauses == [30, 60, 120, 240, 300, 300]
    hand.at += 300
    assert succeed(breaker)
    assert [fail(breaker) for _ in range(3)] == [False, False, True]
    assert breaker.pause == 30


def test_a_trial_that_is_given_up_makes_room_for_another() -> None:
    hand = Hand()
    breaker = opened(hand)
    hand.at += 30
    trial = breaker.admit()
    assert trial is not None
    breaker.abandoned(trial)
    assert breaker.admit() is not None


def test_what_was_admitted_before_it_opened_has_no_say() -> None:
    hand = Hand()
    breaker = Breaker(hand)
    tickets = [breaker.admit() for _ in range(16)]
    assert [breaker.failed(ticket) for ticket in tickets if ticket is not None].count(True) == 1
    assert breaker.pause == 30
    late = tickets[-1]
    assert late is not None
    assert not breaker.succeeded(late)
    assert breaker.admit() is None
    hand.at += 30
    assert breaker.admit() is not None
    breaker.abandoned(late)
    assert breaker.admit() is None
