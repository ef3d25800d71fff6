"""Dice: every byte of the source is used once, and none is used twice."""

from __future__ import annotations

from minimon_server.creatures.dice import DICE_BYTES, SIP_BYTES, Dice


def test_every_byte_of_the_source_is_given_once() -> None:
    asked: list[int] = []

    def source(count: int) -> bytes:
        asked.append(count)
        return bytes((len(asked) * 7 + index) % 251 for index in range(count))

    dice = Dice(source)
    throws = [dice.throw() for _ in range(3 * SIP_BYTES // DICE_BYTES)]
    assert asked == [SIP_BYTES] * 3
    assert {len(throw) for throw in throws} == {DICE_BYTES}
    expected = b"".join(bytes((turn * 7 + index) % 251 for index in range(SIP_BYTES)) for turn in (1, 2, 3))
    assert b"".join(throws) == expected


def test_the_system_is_asked_by_default() -> None:
    one, other = Dice(), Dice()
    assert len({one.throw() for _ in range(500)} | {other.throw() for _ in range(500)}) == 1000
