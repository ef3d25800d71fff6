"""The clock: RFC 3339, whole seconds and milliseconds, and a new second when there is one."""

from __future__ import annotations

import pytest

from minimon_server.times import Clock


@pytest.mark.parametrize(
    ("seconds", "whole", "precise"),
    [
        (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        (1_762_980_092.5, "2025-11-12T20:41:32Z", "2025-11-12T20:41:32.500Z"),
        (1_762_980_092.9999, "2025-11-12T20:41:32Z", "2025-11-12T20:41:32.999Z"),
        (1_709_164_799.0, "2024-02-28T23:59:59Z", "2024-02-28T23:59:59.000Z"),
        (1_709_164_800.001, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00.001Z"),
    ],
)
def test_times_are_told_in_utc(seconds: float, whole: str, precise: str) -> None:
    clock = Clock(lambda: seconds)
    assert clock.now() == whole
    assert clock.now_ms() == precise


def test_time_goes_on() -> None:
    moments = iter([1.0, 1.9, 2.0, 1.5])
    clock = Clock(lambda: next(moments))
    assert [clock.now()[-3:] for _ in range(4)] == ["01Z", "01Z", "02Z", "01Z"]
