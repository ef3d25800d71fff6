"""A ledger audited: everything that can be done to it is found, and told where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimon_server.scores.audit import MOST_FINDINGS, Report, audit, describe
from minimon_server.scores.differences import differences
from minimon_server.scores.evidence import gather
from minimon_server.scores.notes import Checkpoint
from tests.scores.ledgers import NAME, SIGNER, Made, line, make, some_lines, tree_over

COUNT = 8
LINES = some_lines(COUNT)


def report_on(made: Made, *, outside: bytes | None = None, live: bool = False, trust: bool = False) -> Report:
    return audit(made.path, gather(made.path, logs=[SIGNER.key], outside=outside), live=live, trust_checkpoint=trust)


def told(report: Report) -> list[tuple[int | None, int | None, str]]:
    return [(one.record, one.offset, one.text.en) for one in report.findings]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path, LINES)


def offset_of(number: int) -> int:
    return sum(len(one) + 1 for one in LINES[:number])


def test_a_whole_ledger_is_valid(made: Made) -> None:
    report = report_on(made)
    assert told(report) == []
    assert (report.records, report.signatures, report.bytes) == (COUNT, COUNT, made.path.stat().st_size)
    assert report.checkpoint == Checkpoint(NAME, COUNT, tree_over(LINES).root())
    assert not report.notes


@pytest.mark.parametrize(
    ("trust", "stride"),
    [(False, 3), *(pytest.param(one, 1, marks=pytest.mark.torture) for one in (False, True)), (True, 7)],
)
def test_every_edit_of_one_byte_is_found_in_its_record(tmp_path: Path, trust: bool, stride: int) -> None:
    lines = LINES[:3]
    made = make(tmp_path, lines)
    whole = made.path.read_bytes()
    starts = [0, len(lines[0]) + 1, len(lines[0]) + len(lines[1]) + 2]
    for at in range(0, len(whole), stride):
        made.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        report = report_on(made, trust=trust)
        record = max(number for number, start in enumerate(starts, 1) if start <= at)
        assert (record, starts[record - 1]) in {(one.record, one.offset) for one in report.findings}, at
        others = [one for one in report.findings if one.record not in (record, record + 1)]
        assert all("the ledger ends after" in one.text.en for one in others), at


def test_every_new_line_in_the_middle_is_found(tmp_path: Path) -> None:
    made = make(tmp_path, LINES[:2])
    whole = made.path.read_bytes()
    for at in range(0, len(whole), 7):
        made.path.write_bytes(whole[:at] + b"\n" + whole[at:])
        report = report_on(made)
        assert report.findings, at
        assert report.findings[0].record == (1 if at <= len(LINES[0]) else 2 if at < len(whole) else 3), at


def test_every_deletion_is_found(made: Made) -> None:
    for first in range(COUNT):
        for last in range(first, COUNT):
            made.write([*LINES[:first], *LINES[last + 1 :]])
            report = report_on(made)
            deleted = [one for one in told(report) if "deleted" in one[2]]
            gone = last - first + 1
            name = f"record {first + 1} was" if gone == 1 else f"{gone} records were"
            span = "" if gone == 1 else f", {first + 1} to {last + 1}"
            assert deleted == [(first + 1, offset_of(first), f"{name} deleted{span}")]
            ends = f"the ledger ends after {COUNT - gone} records; the checkpoint signed {COUNT}"
            assert ends in {text for *_, text in told(report)}


def test_every_adjacent_swap_is_found(made: Made) -> None:
    for at in range(COUNT - 1):
        made.write([*LINES[:at], LINES[at + 1], LINES[at], *LINES[at + 2 :]])
        found = told(report_on(made))
        assert (at + 1, offset_of(at), f"records {at + 1} and {at + 2} were swapped") in found
        assert [one for one in found if "issuedAt" in one[2]]


def test_every_duplicate_is_found(made: Made) -> None:
    for number in range(COUNT):
        for place in range(COUNT + 1):
            made.write([*LINES[:place], LINES[number], *LINES[place:]])
            found = told(report_on(made))
            later = max(place, number + 1) + 1 if place != number else number + 2
            assert any(record == later and "its id is that of record" in text for record, _, text in found)
            if place not in (number, COUNT):
                again = (place + 1, offset_of(place), f"record {number + 1} is repeated here")
                assert again in found or place == number + 1, (number, place, found)


def test_every_truncation_is_found(made: Made) -> None:
    whole = made.path.read_bytes()
    for size in [*range(0, len(whole), 11), *(offset_of(number) for number in range(COUNT)), len(whole) - 1]:
        made.path.write_bytes(whole[:size])
        whole_lines = whole[:size].count(b"\n")
        end = offset_of(whole_lines)
        found = told(report_on(made))
        assert (whole_lines + 1, end, f"the ledger ends after {whole_lines} records; the checkpoint signed 8") in found
        torn = (whole_lines + 1, end, f"unterminated last line, of {size - end} bytes: it is no record")
        assert (torn in found) is (size > end)


def test_several_changes_are_all_told(made: Made) -> None:
    edited = LINES[1].replace(b"player1", b"player9")
    made.write([LINES[0], edited, LINES[2], LINES[4], LINES[5], LINES[7], LINES[6], b"{}"])
    found = told(report_on(made))
    assert [(record, text) for record, _, text in found if "not a record" not in text and "issuedAt" not in text] == [
        (2, "The payload that is shown is not the one that was signed (canonicalB64)."),
        (2, "record 2 was changed"),
        (4, "record 4 was deleted"),
        (6, "records 7 and 8 were swapped"),
        (8, "a foreign line was inserted here"),
    ]


def test_without_leaf_hashes_a_change_is_found_and_said_to_be_unlocated(made: Made) -> None:
    made.paths.beside("leaves").unlink()
    made.write([*LINES[:2], *LINES[3:], line(99)])
    ((record, offset, text),) = told(report_on(made))
    assert (record, offset) == (None, None)
    assert text.startswith(f"the first {COUNT} records do not lead to the root that the checkpoint signed")


def test_lines_past_the_checkpoint_are_judged_by_their_signatures(tmp_path: Path) -> None:
    made = make(tmp_path, LINES, signed=5)
    assert report_on(made).valid
    assert report_on(made, trust=True).signatures == 3
    made.write([*LINES[:2], *LINES[3:]])
    assert [text for *_, text in told(report_on(made))] == ["record 3 was deleted"]
    made.write([*LINES[:7], LINES[7].replace(b"12.5", b"99.5")])
    for trust in (False, True):
        (finding,) = report_on(made, trust=trust).findings
        assert (finding.record, finding.offset) == (8, offset_of(7))


def test_a_line_that_a_server_is_writing_is_no_fault(made: Made) -> None:
    with made.path.open("ab") as file:
        file.write(LINES[0][:100])
    assert not report_on(made).valid
    report = report_on(made, live=True)
    assert report.valid
    assert report.unterminated == 100


def test_a_checkpoint_kept_elsewhere_shows_what_the_key_holder_rewrote(tmp_path: Path) -> None:
    kept = make(tmp_path / "before", LINES[:5]).paths.beside("checkpoint").read_bytes()
    rewritten = make(tmp_path / "after", [*LINES[:2], *LINES[3:]])
    assert report_on(rewritten).valid
    (finding,) = report_on(rewritten, outside=kept).findings
    assert "the first 5 records do not lead to the root that the checkpoint that was kept elsewhere" in finding.text.en
    assert report_on(make(tmp_path / "grown", LINES), outside=kept).valid


def test_wrong_keys_checkpoints_and_files_beside_it_are_faults(made: Made) -> None:
    for suffix in ("checkpoint", "keys"):
        path = made.paths.beside(suffix)
        good = path.read_bytes()
        path.write_bytes(good.replace(b"2", b"3", 1))
        assert not report_on(made).valid
        assert not audit(made.path, gather(made.path)).valid
        path.write_bytes(good)
    assert audit(made.path, gather(made.path)).notes[0].en.startswith("the keys are those beside the ledger (")


def test_findings_are_bounded(tmp_path: Path) -> None:
    made = make(tmp_path, LINES[:1])
    made.path.write_bytes(b"{}\n" * (MOST_FINDINGS + 5))
    report = report_on(made)
    assert len(report.findings) == MOST_FINDINGS
    assert report.more >= 5
    assert next(describe(report.findings[-1:])).startswith("record ")


def test_a_line_without_end_is_told_and_not_read_on(made: Made) -> None:
    made.path.write_bytes(LINES[0] + b"\n" + b"x" * (1 << 22))
    report = report_on(made)
    assert (2, len(LINES[0]) + 1) in {(one.record, one.offset) for one in report.findings}


@settings(max_examples=400)
@given(st.lists(st.integers(0, 12), max_size=14), st.integers(0, 10))
def test_lists_differ_where_and_only_where_they_differ(found: list[int], size: int) -> None:
    signed = list(range(size))
    result = list(differences(signed, found))
    assert bool(result) is (found != signed)
    assert all(0 <= one.line <= len(found) and 1 <= one.record <= max(len(found), size) for one in result)
