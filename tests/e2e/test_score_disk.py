"""A disk that is really full: nothing half is left, reads answer, and certifying goes on once there is room."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest

from tests.e2e.score_server import Load, ScoreServer, acknowledged, check_nothing_lost, check_refusal

FULL = "There is no room left for the ledger."


def check_while_full(server: ScoreServer, certified: list[bytes]) -> None:
    """Everyone is refused alike, the ledger stays as it was, and all else is served."""
    before = server.ledger.read_bytes()
    load = Load(server.http_port, clients=8).start(most=3)
    load.wait()
    assert not load.certified
    assert len(load.refused) == 24
    for answer in load.refused:
        check_refusal(answer)
    assert server.ledger.read_bytes() == before
    assert FULL in server.reasons()
    check_nothing_lost(server, certified)
    assert server.asker.ask("GET", "/v1/generate").status == 200
    assert server.asker.ask("GET", "/v1/ledger/checkpoint").status == 200


def test_a_limit_in_the_middle_of_a_line_leaves_no_half_line(tmp_path: Path) -> None:
    with ScoreServer(tmp_path) as server:
        certified = [acknowledged(server.asker.certify(f"before {number}")) for number in range(3)]
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        room = server.ledger.stat().st_size + 300  # the kernel takes a part of the next line, then refuses
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (room, hard))
        check_while_full(server, certified)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        certified.append(acknowledged(server.asker.certify("after")))
        assert server.reasons() == ""
        check_nothing_lost(server, certified)


def fills(file: FileIO) -> bool:
    try:
        return file.write(b"x" * 1024) == 1024
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system of its own")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_survived_without_a_restart(small_disk: Path, tmp_path: Path) -> None:
    ledger = small_disk / "certified_scores.jsonl"
    with ScoreServer(tmp_path, MINIMON_SCORE_LEDGER_PATH=str(ledger)) as server:
        server.ledger = ledger
        certified = [acknowledged(server.asker.certify(f"before {number}")) for number in range(3)]
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            while fills(file):
                pass
        while (answer := server.asker.certify("around")).status == 200:
            certified.append(answer.body)  # the ledger's last page had room
        check_refusal(answer)
        check_while_full(server, certified)
        filler.unlink()
        certified.append(acknowledged(server.asker.certify("after")))
        check_nothing_lost(server, certified)
    told = [event["event"] for event in server.events()]
    assert told.count("no room for the ledger") == 1  # once, not once a request
    assert not [event for event in server.events() if "exception" in event]  # 24 traces would fill a log's disk too
    with ScoreServer(tmp_path, MINIMON_SCORE_LEDGER_PATH=str(ledger)) as anew:
        anew.ledger = ledger
        assert anew.reasons() == ""
        check_nothing_lost(anew, certified)
