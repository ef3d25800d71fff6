"""`gen_server.py --check` and the keys and ledger of a real server: while it runs, after it ended, after an edit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.running import RunningServer, run_to_end


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def certify(server: RunningServer, count: int) -> None:
    with server.client() as client:
        for number in range(count):
            client.post("/v1/certify-score", json={"score": number, "subject": "p"}).raise_for_status()


def test_nothing_is_there_and_nothing_is_made(tmp_path: Path) -> None:
    done = run_to_end("--check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the first start will make") == 3
    assert "the first start will begin it" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_in_use_is_well_and_one_that_was_edited_is_not(tmp_path: Path) -> None:
    ledger = tmp_path / "data" / "certified_scores.jsonl"
    with RunningServer(tmp_path) as server:
        certify(server, 5)
        done = run_to_end("--check", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "keys and ledger can be used" in done.stderr
    whole, files = ledger.read_bytes(), snapshot(tmp_path / "data")
    assert run_to_end("--check", cwd=tmp_path).returncode == 0
    assert snapshot(tmp_path / "data") == files

    ledger.write_bytes(whole.replace(b'"score":3,', b'"score":9,', 1))
    done = run_to_end("--check", cwd=tmp_path)
    assert done.returncode == 2
    assert "record 4 was changed" in done.stderr

    ledger.write_bytes(whole + b'{"signed":')
    done = run_to_end("--check", cwd=tmp_path)
    assert done.returncode == 0
    assert "unterminated" in done.stderr

    ledger.write_bytes(whole)
    for suffix, told in (("checkpoint", "is missing although the ledger has begun"), ("keys", "is missing although")):
        beside = ledger.with_name(f"{ledger.name}.{suffix}")
        content = beside.read_bytes()
        beside.unlink()
        done = run_to_end("--check", cwd=tmp_path)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr
        beside.write_bytes(content)
    (tmp_path / "certs" / "app_signing_key.pem").chmod(0o644)
    assert "chmod 600" in run_to_end("--check", cwd=tmp_path).stderr


def test_an_adopted_ledger_is_taken_up_by_a_server(tmp_path: Path) -> None:
    ledger = tmp_path / "data" / "certified_scores.jsonl"
    with RunningServer(tmp_path) as server:
        certify(server, 3)
    ledger.with_name(f"{ledger.name}.checkpoint").unlink()
    assert run_to_end("--check", cwd=tmp_path).returncode == 2
    key = tmp_path / "certs" / "app_checkpoint_key.pem"
    home = Path(__file__).resolve().parents[2]
    command = [
        sys.executable,
        "-m",
        "minimon_server.scores",
        "adopt",
        str(ledger),
        "--checkpoint-key",
        str(key),
        "--yes",
    ]
    subprocess.run(command, cwd=home, check=True, capture_output=True)
    assert run_to_end("--check", cwd=tmp_path).returncode == 0
    with RunningServer(tmp_path) as server:
        certify(server, 2)
    assert len(ledger.read_bytes().splitlines()) == 5
    assert run_to_end("--check", cwd=tmp_path).returncode == 0
