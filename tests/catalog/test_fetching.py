"""One file over real HTTP: whatever the server does, the right file gets its name or none does."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from minimon_server.catalog import fetching
from minimon_server.catalog.asking import Refused
from minimon_server.catalog.fetching import NoRoom
from tests.catalog.fetch_scene import DATA, FILE, HEAD, SHA256, SIZE, WRONG, Place, whole
from tests.catalog.hub_server import Fault


def test_a_whole_file_gets_its_name_and_nothing_else_is_left(at: Place) -> None:
    assert at.fetch() == fetching.Fetched(len(DATA), SHA256)
    whole(at)
    assert at.server.asked[0][1]["accept-encoding"] == "identity"


def test_a_file_that_nothing_is_known_of_is_fetched_too(at: Place) -> None:
    at.fetch(replace(at.wanted, size=None, sha256=None))
    whole(at)


@pytest.mark.parametrize("etags", [True, False])
def test_cuts_are_continued_where_they_were(at: Place, etags: bool) -> None:
    at.server.with_etags = etags
    at.server.faults[FILE] = [Fault(after=100_000), Fault(after=50_000), Fault(after=1)]
    at.fetch()
    whole(at)
    assert at.server.ranges(FILE) == ["", "bytes=100000-", "bytes=150000-", "bytes=150001-"]
    assert at.waits == [2.0, 4.0, 8.0]


def test_after_a_cut_another_process_continues(at: Place) -> None:
    at.tries = 1
    at.server.faults[FILE] = [Fault(after=100_000)]
    with pytest.raises(Refused, match="given up, what is there is kept for the next time"):
        at.fetch()
    assert at.names() == ["model.safetensors.part", "model.safetensors.part.json"]
    at.fetch()
    whole(at)
    assert at.server.ranges(FILE)[-1] == "bytes=100000-"
    assert "continued after 100 kB" in at.said.getvalue()


def test_a_server_that_stalls_is_left_and_asked_again(at: Place) -> None:
    at.silence, at.tries = 0.5, 30
    at.server.faults[FILE] = [Fault(after=1000, stall=True), Fault(after=0, stall=True)]
    at.fetch()
    whole(at)
    assert at.server.ranges(FILE)[:2] == ["", "bytes=1000-"]
    assert "is silent; trying again" in at.said.getvalue()


def test_a_server_that_sends_next_to_nothing_is_left_and_asked_again(at: Place) -> None:
    at.silence, at.tries = 0.5, 30
    at.server.faults[FILE] = [Fault(after=0, trickle=True)]
    at.fetch()
    whole(at)
    assert "sends next to nothing (" in at.said.getvalue()
    assert at.server.ranges(FILE)[1].startswith("bytes=")  # what came is kept


@pytest.mark.parametrize(
    ("fault", "known", "problem"),
    [
        (Fault(body=WRONG), True, "its SHA-256 is .*, and it should be"),
        (Fault(body=DATA + b"!"), True, f"has {len(DATA) + 1} bytes, and it should be {len(DATA)}"),
        (Fault(body=DATA[:-1]), True, f"has {len(DATA) - 1} bytes, and it should be {len(DATA)}"),
        (Fault(body=DATA + b"!" * 99, length=None), True, "sends more than the"),
        (Fault(length=7), True, f"has {len(DATA) + 7} bytes, and it should be"),
        (Fault(body=b"<html>log in</html>", headers={"Content-Type": "text/html"}), False, "sends a web page"),
        (Fault(body=b"<html>log in</html>"), False, "it is a web page, not a model"),
        (Fault(body=DATA[:-1], length=None), False, "it was cut: 1 bytes are missing"),
        (Fault(headers={"Content-Encoding": "gzip"}), True, "compresses"),
        (Fault(status=404), True, "it is not there"),
        (Fault(status=400), True, "answers 400"),
    ],
)
def test_a_wrong_file_never_gets_its_name(at: Place, fault: Fault, known: bool, problem: str) -> None:
    at.server.faults[FILE] = [fault] * 20
    wanted = at.wanted if known else replace(at.wanted, size=None, sha256=None)
    with pytest.raises(Refused, match=problem):
        at.fetch(wanted)
    assert not at.path.exists()
    assert len(at.server.asked) == 1  # nothing that another try would mend
    at.server.faults.clear()
    at.fetch()
    whole(at)


def test_a_server_that_promises_more_than_there_is_is_asked_for_the_rest_and_owns_up(at: Place) -> None:
    at.server.faults[FILE] = [Fault(length=5)] * 20
    at.fetch(replace(at.wanted, size=None, sha256=None))
    whole(at)
    assert at.server.ranges(FILE) == ["", f"bytes={len(DATA)}-"]  # 416: that is all there is


def test_wrong_bytes_of_an_earlier_time_are_thrown_away_and_fetched_once_more(at: Place) -> None:
    at.tries = 1
    at.server.faults[FILE] = [Fault(body=b"!" * len(DATA), after=100_000)]
    with pytest.raises(Refused):
        at.fetch()
    at.fetch()
    whole(at)
    assert at.server.ranges(FILE) == ["", "bytes=100000-", ""]


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_has_become_another_meanwhile_is_begun_anew(at: Place, etags: bool) -> None:
    at.server.with_etags = etags
    at.tries = 1
    unknown = replace(at.wanted, size=None, sha256=None)
    at.server.faults[FILE] = [Fault(after=100_000)]
    other = HEAD + b"\x01" * SIZE
    with pytest.raises(Refused):
        at.fetch(unknown)
    at.server.files[FILE] = other
    at.fetch(unknown)
    assert at.path.read_bytes() == other


def test_a_server_without_ranges_begins_anew(at: Place) -> None:
    at.server.faults[FILE] = [Fault(after=100_000), Fault(ignores_range=True)]
    at.fetch()
    whole(at)


def test_another_part_than_was_asked_for_is_not_taken(at: Place) -> None:
    at.server.faults[FILE] = [Fault(after=100_000), Fault(shift=5)]
    at.fetch()
    whole(at)
    assert at.server.ranges(FILE) == ["", "bytes=100000-", ""]


def test_a_server_that_always_sends_another_part_is_told_and_no_part_stays_for_it_to_continue(at: Place) -> None:
    at.server.faults[FILE] = [Fault(after=100_000), Fault(shift=5), Fault(after=100_000), Fault(shift=5)]
    with pytest.raises(Refused, match="another part than it was asked for"):
        at.fetch()
    assert at.names() == []
    at.tries = 1
    at.server.faults[FILE] = [Fault(after=100_000), *[Fault(shift=5)] * 20]
    for _ in range(2):
        with pytest.raises(Refused):
            at.fetch()
    at.server.faults[FILE] = [Fault(), *[Fault(shift=5)] * 20]  # whoever asks for the whole gets it
    at.fetch()
    whole(at)


def test_a_part_that_is_too_long_or_whole_already_is_dealt_with(at: Place) -> None:
    unknown = replace(at.wanted, size=None, sha256=None)
    for extra in (b"", b"!!"):
        at.tries = 1
        at.server.faults[FILE] = [Fault(after=100_000)]
        with pytest.raises(Refused):
            at.fetch(unknown)
        part = at.folder / "model.safetensors.part"
        part.write_bytes(DATA + extra)
        at.tries = 4
        at.fetch(unknown)  # 416, which says how long the file is
        whole(at)
        at.path.unlink()


def test_half_a_note_or_none_begins_anew(at: Place) -> None:
    part = at.folder / "model.safetensors.part"
    for note in (None, b"", b"[]", b'{"url": 3}', b'{"url":"x","etag":null,"size":"y"}'):
        part.write_bytes(b"!" * 1000)
        if note is not None:
            (at.folder / "model.safetensors.part.json").write_bytes(note)
        at.fetch()
        whole(at)
        at.path.unlink()
    assert set(at.server.ranges(FILE)) == {""}


def test_a_link_in_the_place_of_the_part_leads_nowhere(at: Place, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"")
    (at.folder / "model.safetensors.part").symlink_to(mine)
    with pytest.raises(OSError, match="symbolic link"):
        at.fetch()
    assert mine.read_bytes() == b""


def test_a_full_disk_is_told_before_anything_is_fetched(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MARGIN", 1 << 60)
    with pytest.raises(NoRoom, match=f"{len(DATA)} bytes are missing, and the disk has room for"):
        at.fetch()
    assert at.names() == []


def test_a_disk_that_fills_up_in_the_middle_keeps_what_is_there(at: Place) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # answers as a full disk does, with another number
    try:
        with pytest.raises(NoRoom, match="the disk is full after 200000 bytes, which are kept"):
            at.fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    at.fetch()
    whole(at)
    assert at.server.ranges(FILE) == ["", "bytes=200000-"]
