"""A ledger that somebody touches, while the server runs or before it starts: noticed, named, and mended only where
nobody can have been told otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.running import run_to_end
from tests.e2e.score_server import (
    ScoreServer,
    acknowledged,
    check_nothing_lost,
    check_refusal,
    copy_of,
    id_of,
    make_template,
)

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    folder = tmp_path_factory.mktemp("template")
    make_template(folder / "other", 2)
    return folder, make_template(folder / "ours", 4)


def lines_of(ledger: Path) -> list[bytes]:
    return ledger.read_bytes().splitlines(keepends=True)


def edit(ledger: Path) -> None:
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.replace(b'"subject":"before 1"', b'"subject":"before 9"'))


def replace(ledger: Path) -> None:
    copy = ledger.with_name("copy")
    shutil.copyfile(ledger, copy)
    copy.replace(ledger)


def move(ledger: Path) -> None:
    ledger.replace(ledger.with_name("moved"))


def append(ledger: Path, line: bytes = b"{}\n") -> None:
    with ledger.open("ab") as file:
        file.write(line)


def test_a_second_server_on_the_same_ledger_is_refused(template: tuple[Path, list[bytes]], tmp_path: Path) -> None:
    with ScoreServer(copy_of(template[0] / "ours", tmp_path)) as server:
        second = run_to_end(cwd=tmp_path, **ScoreServer(tmp_path).environ | {"MINIMON_JOBS_PATH": "another.sqlite"})
        assert second.returncode == 1, second
        assert f"another process is writing {server.ledger}; each server needs its own" in second.stderr
        acknowledged(server.asker.certify())
        assert server.reasons() == ""


CHANGED = "the ledger was changed, moved or replaced while the server was running"
WHILE_RUNNING: dict[str, tuple[Change, str]] = {
    "truncated": (lambda ledger: os.truncate(ledger, ledger.stat().st_size - 10), CHANGED),
    "emptied": (lambda ledger: os.truncate(ledger, 0), CHANGED),
    "appended to": (append, CHANGED),
    "replaced by a copy": (replace, CHANGED),
    "moved": (move, "the disk failed (stat: No such file"),
    "edited": (edit, "record 2 has been changed"),
}


@pytest.mark.parametrize(("change", "reason"), WHILE_RUNNING.values(), ids=WHILE_RUNNING.keys())
def test_what_is_done_to_a_running_ledger_turns_certifying_off(
    change: Change, reason: str, template: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    with ScoreServer(copy_of(template[0] / "ours", tmp_path)) as server:
        assert server.reasons() == ""
        change(server.ledger)
        if change is edit:  # the same length: seen when it is read, and never shown
            check_refusal(server.asker.ask("GET", f"/v1/scores/{id_of(template[1][1])}"))
        check_refusal(server.asker.certify())
        assert reason in server.reasons()
        left = server.ledger.read_bytes() if server.ledger.exists() else None
        check_refusal(server.asker.certify())
        assert (server.ledger.read_bytes() if server.ledger.exists() else None) == left
        assert server.asker.ask("GET", "/v1/generate").status == 200
        assert server.asker.ask("GET", "/.well-known/jwks.json").status == 200
    assert server.process.returncode == 0


def rewrite(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    def changed(ledger: Path) -> None:
        ledger.write_bytes(b"".join(change(lines_of(ledger))))

    return changed


def beside(suffix: str, change: Callable[[Path], None]) -> Change:
    return lambda ledger: change(ledger.with_name(f"certified_scores.jsonl.{suffix}"))


def flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[40] ^= 1
    path.write_bytes(whole)


def from_other(path: Path) -> None:
    shutil.copyfile(path.parents[2] / "template-other" / path.name, path)


MISSING = "is missing although the ledger has begun"
WRONG = "not signed as they must be"
# What was done before a start, and why it is refused; nothing where it is mended.
BEFORE_START: dict[str, tuple[Change, str]] = {
    "checkpoint deleted": (beside("checkpoint", Path.unlink), f"certified_scores.jsonl.checkpoint {MISSING}"),
    "checkpoint edited": (beside("checkpoint", flip), WRONG),
    "checkpoint of another ledger": (beside("checkpoint", from_other), WRONG),
    "keys deleted": (beside("keys", Path.unlink), f"certified_scores.jsonl.keys {MISSING}"),
    "keys edited": (beside("keys", flip), WRONG),
    "keys of another ledger": (beside("keys", from_other), WRONG),
    "leaves deleted": (beside("leaves", Path.unlink), ""),
    "leaves edited": (beside("leaves", flip), ""),
    "lock deleted": (beside("lock", Path.unlink), ""),
    "ledger deleted": (Path.unlink, "the ledger ends after 0 of 4 signed records: record 1 is missing"),
    "last record deleted": (rewrite(lambda lines: lines[:-1]), "ends after 3 of 4 signed records: record 4"),
    "a record edited": (edit, "record 2: its content was changed"),
    "a record deleted": (rewrite(lambda lines: [lines[0], *lines[2:]]), "record 2: deleted"),
    "two swapped": (rewrite(lambda lines: [lines[1], lines[0], *lines[2:]]), "record 1: swapped with record 2"),
    "one repeated": (rewrite(lambda lines: [*lines, lines[0]]), "record 5: its id is in the ledger already"),
    "a foreign line past the checkpoint": (append, "record 5: not a record"),
    "half a line": (lambda ledger: append(ledger, lines_of(ledger)[0][:99]), ""),
}


@pytest.fixture(scope="module")
def starts(
    template: tuple[Path, list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """Two servers at a time: most of a start is the reading of Python's own files."""
    base = tmp_path_factory.mktemp("starts")
    shutil.copytree(template[0] / "other" / "data", base / "template-other")
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(_start_after, change, reason, copy_of(template[0] / "ours", base / name), template[1])
            for name, (change, reason) in BEFORE_START.items()
        }


def _start_after(change: Change, reason: str, folder: Path, certified: list[bytes]) -> None:
    server = ScoreServer(folder)
    change(server.ledger)
    left = server.ledger.read_bytes() if server.ledger.exists() else None
    with server:
        said = server.reasons()
        if not reason:
            assert said == ""
            check_nothing_lost(server, [*certified, acknowledged(server.asker.certify("after"))])
            return
        assert reason in said, said
        check_refusal(server.asker.certify())
        check_refusal(server.asker.ask("GET", f"/v1/scores/{id_of(certified[0])}"))
        assert server.asker.ask("GET", "/v1/generate").status == 200
    assert server.process.returncode == 0
    assert (server.ledger.read_bytes() if server.ledger.exists() else b"") == (left or b"")


@pytest.mark.parametrize("name", BEFORE_START)
def test_what_was_done_before_a_start_is_refused_or_mended(starts: dict[str, Future[None]], name: str) -> None:
    starts[name].result()


def test_a_checkpoint_key_that_is_another_or_missing_is_told(
    template: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    folder = copy_of(template[0] / "ours", tmp_path)
    key = folder / "certs" / "app_checkpoint_key.pem"
    kept = key.read_bytes()
    shutil.copyfile(template[0] / "other" / "certs" / "app_checkpoint_key.pem", key)
    with ScoreServer(folder) as server:
        assert WRONG in server.reasons()
    key.unlink()
    ended = run_to_end(cwd=folder, **ScoreServer(folder).environ)
    assert ended.returncode == 2
    assert f"{key} is missing, the key that signed the checkpoints of the ledger" in ended.stderr
    key.write_bytes(kept)
    key.chmod(0o600)
    with ScoreServer(folder) as server:
        assert server.reasons() == ""
        check_nothing_lost(server, template[1])
