"""kill -9 under load: whatever was acknowledged is there, verifies, and the next start certifies on."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.kill_scene import REWRITING, check_once_more, kill_under_load, kill_while_rewriting
from tests.e2e.tracing import needs_strace


def test_ten_kills_under_load_lose_no_score(tmp_path: Path) -> None:
    certified: list[bytes] = []
    kill_under_load(tmp_path, certified, turns=10, seed=1)
    assert len(certified) >= 10
    check_once_more(tmp_path, certified)


@needs_strace()
def test_kills_while_the_last_records_are_written_anew_lose_no_score(tmp_path: Path) -> None:
    certified: list[bytes] = []
    kill_under_load(tmp_path, certified, turns=1, seed=2)
    for call, file in REWRITING:
        kill_while_rewriting(tmp_path, call, file)
    check_once_more(tmp_path, certified)
