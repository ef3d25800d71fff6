"""What a person sees of a download: a bar with rate and time on a terminal, now and then a line anywhere else."""

from __future__ import annotations

import io

from minimon_server.catalog.progress import Shown, size_of


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_with_rate_and_time_left() -> None:
    now, out = [0.0], Terminal()
    shown = Shown(out, lambda: now[0])
    shown.begin("unet", 0, 4_000_000_000)
    for _ in range(40):
        now[0] += 0.25
        shown.add(25_000_000)
    last = out.getvalue().rsplit("\r", 1)[1].rstrip()
    assert last == "unet  [######..................]  25%  1.00 GB of 4.00 GB  100 MB/s  30 s left"
    assert "\n" not in out.getvalue()
    shown.say("a line")
    assert out.getvalue().endswith("\ra line\n")
    now[0] = 10_000.0
    shown.add(0)
    assert out.getvalue().rstrip().endswith("100 kB/s  8 h 20 min left")
    shown.end()
    assert out.getvalue().endswith("\n")


def test_what_was_there_before_counts_for_the_bar_and_not_for_the_rate() -> None:
    now, out = [0.0], Terminal()
    shown = Shown(out, lambda: now[0])
    shown.begin("unet", 3_000_000_000, 4_000_000_000)
    now[0] = 1.0
    shown.add(1_000_000)
    assert out.getvalue().rstrip().endswith("75%  3.00 GB of 4.00 GB  1 MB/s  16 min 39 s left")


def test_anything_else_gets_lines_now_and_then() -> None:
    now, out = [0.0], io.StringIO()
    shown = Shown(out, lambda: now[0])
    shown.begin("unet", 0, None)
    for _ in range(100):
        now[0] += 1.0
        shown.add(1_000_000)
    shown.end()
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + 100 // 15 + 1
    assert lines[-1] == "unet  100 MB  1 MB/s"
    assert "\r" not in out.getvalue()


def test_sizes_are_said_as_people_say_them() -> None:
    assert [size_of(count) for count in (0, 999, 1000, 6_938_041_050)] == ["0 B", "999 B", "1 kB", "6.94 GB"]
