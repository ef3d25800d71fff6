"""A start, step by step, on files that no server would leave so: mended without loss, or refused."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from minimon_server.logs import Lines, LogSink
from minimon_server.scores.audit import audit
from minimon_server.scores.evidence import gather
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.ledger import LedgerBroken, LedgerFull, Paths
from minimon_server.scores.lock import LedgerLock
from minimon_server.scores.merkle import proves_consistency
from minimon_server.scores.opening import Opened, Opening
from minimon_server.scores.records import id_of, key_id_of, read_line
from minimon_server.scores.scan import Tampered
from minimon_server.scores.signing import SigningKey
from minimon_server.scores.verify import judge_line
from tests.scores.ledgers import LOG_KEY, NAME, SIGNER, Made, make, signing_key, some_lines

LINES = some_lines(7)


def start(made: Made, sink: LogSink | None = None) -> Opened:
    sink = sink or LogSink(os.open(os.devnull, os.O_WRONLY))
    log = Lines(sink, level="info", as_json=True, secrets=()).logger()
    key = signing_key().public
    return Opening(
        made.paths, SigningKey(LOG_KEY), key, judge_line, log, new_name=lambda: NAME, stamp=lambda: "now"
    ).open()


def check_all_there(made: Made, opened: Opened) -> None:
    """Every record can be proven and read, and nothing else lies in the ledger."""
    assert made.path.read_bytes() == b"".join(one + b"\n" for one in LINES)
    assert [opened.ledger.prove(number).line for number in range(opened.ledger.size)] == list(LINES)
    opened.ledger.close()


def test_reads_that_give_less_than_was_asked_for_lose_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives at most 2 GiB a read: a checkpoint that could not be saved for long leaves more behind it."""
    made, pread = make(tmp_path, LINES, signed=1), os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, at: pread(descriptor, min(size, 1500), at))
    check_all_there(made, start(made))
    check_all_there(made, start(made))


def test_whole_records_behind_damage_are_not_taken_for_an_unterminated_line(tmp_path: Path) -> None:
    made = make(tmp_path, LINES, signed=2)
    whole = made.path.read_bytes()
    at = sum(len(one) + 1 for one in LINES[:4])
    damaged = whole[:at] + b"\0" * (2 << 20) + whole[at:]
    made.path.write_bytes(damaged)
    with pytest.raises(Tampered, match="record 5: not a record") as refused:
        start(made)
    assert (refused.value.record, refused.value.offset) == (5, at)
    assert made.path.read_bytes() == damaged
    made.path.write_bytes(whole + b"\0" * (2 << 20))  # what a crash leaves, and nobody was told of
    check_all_there(made, start(made))
    assert made.paths.beside("torn-now").stat().st_size == 2 << 20


@pytest.mark.parametrize("name", ["leaves", "checkpoint.new"])
def test_what_a_link_leads_to_is_neither_written_nor_copied(tmp_path: Path, name: str) -> None:
    """Who may write beside the ledger must not reach what its server may: a private key, above all."""
    made, key = make(tmp_path / "data", LINES, signed=2), tmp_path / "key.pem"
    key.write_bytes(b"a private key of some length\n" * 9)
    link = made.paths.beside(name)
    link.unlink(missing_ok=True)
    link.symlink_to(key)
    if name == "leaves":
        with pytest.raises(OSError, match="symbolic link"):
            start(made)
        link.unlink()
    check_all_there(made, start(made))
    assert key.read_bytes() == b"a private key of some length\n" * 9
    assert not any(b"private key" in path.read_bytes() for path in made.path.parent.iterdir())


def test_a_ledger_that_is_written_under_another_name_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path, LINES)
    other = make(tmp_path / "other", LINES)
    other.path.unlink()
    other.path.symlink_to(made.path)
    first = start(made)
    with pytest.raises(Tampered, match="another process is writing this ledger under another name"):
        start(other)
    check_all_there(made, first)
    check_all_there(other, start(other))


def test_the_names_of_new_files_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that died between making the ledger and syncing its folder leaves that to the next."""
    made, synced, fsync = make(tmp_path, []), list[Path](), os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    start(made).ledger.close()
    assert tmp_path in synced
    synced.clear()
    LedgerLock(Paths(tmp_path / "new" / "data" / "scores.jsonl")).release()
    assert {tmp_path, tmp_path / "new"} <= set(synced)


def test_an_adopted_line_that_is_no_record_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Else whoever knows its id could turn certifying off by asking for it."""
    odd = LINES[0][:-1] + b',"game":"chess"}'
    ledger = start(make(tmp_path, [odd, *LINES[1:]])).ledger
    assert ledger.with_id(id_of(odd)) is None
    assert ledger.with_id(id_of(LINES[1])) == (1, read_line(LINES[1]))
    ledger.close()


def test_leaf_hashes_that_are_changed_meanwhile_prove_nothing(tmp_path: Path) -> None:
    made = make(tmp_path, LINES)
    ledger = start(made).ledger
    for old in range(len(LINES) + 1):
        for new in range(old, len(LINES) + 1):
            before, after, path = ledger.prove_growth(old, new)
            assert proves_consistency(old, new, before, after, path)
    leaves = bytearray(made.paths.beside("leaves").read_bytes())
    leaves[3 * 32] ^= 1
    made.paths.beside("leaves").write_bytes(leaves)
    for old, new in ((4, 7), (3, 7), (4, 6)):
        with pytest.raises(LedgerBroken, match="the stored leaf hashes have been changed"):
            ledger.prove_growth(old, new)
    ledger.close()


def test_looking_for_room_leaves_nothing_behind(tmp_path: Path) -> None:
    made = make(tmp_path, LINES)
    opened, (soft, hard) = start(made), resource.getrlimit(resource.RLIMIT_FSIZE)
    opened.ledger.try_room()
    assert made.path.stat().st_size == sum(len(one) + 1 for one in LINES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (made.path.stat().st_size + 100, hard))
    try:
        with pytest.raises(LedgerFull, match="File too large"):
            opened.ledger.try_room()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_all_there(made, opened)


def test_a_ledger_put_back_with_its_checkpoint_of_then_is_seen_from_outside_alone(tmp_path: Path) -> None:
    now, then = make(tmp_path / "now", LINES), make(tmp_path / "then", LINES[:4])
    kept = now.paths.beside("checkpoint").read_bytes()
    start(then).ledger.close()  # as docs/scores.md says: nothing in the files tells it from a younger ledger
    assert audit(then.path, gather(then.path, logs=[SIGNER.key])).valid
    report = audit(then.path, gather(then.path, logs=[SIGNER.key], outside=kept))
    assert any("ends after 4 records" in one.text.en and "signed 7" in one.text.en for one in report.findings)


def test_an_older_file_of_keys_is_told(tmp_path: Path) -> None:
    made, former = make(tmp_path, LINES), SigningKey(generate_private_key(SECP256R1()))
    for ring, told in (
        (KeyRing([former.public], [SIGNER.key]), True),
        (KeyRing([signing_key().public], [SIGNER.key]), False),
    ):
        made.paths.beside("keys").write_bytes(ring.note(SIGNER))
        log = tmp_path / f"log {told}"
        sink = LogSink(os.open(log, os.O_WRONLY | os.O_CREAT))
        start(made, sink).ledger.close()
        sink.close()
        assert ("records by a key that is not published" in log.read_text()) is told
    assert [key_id_of(one) for one in LINES] == [signing_key().public.key_id.encode()] * len(LINES)
