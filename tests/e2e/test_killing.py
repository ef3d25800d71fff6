"""kill -9 at a few random moments; `make torture` does it hundreds of times."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.killing import kill_again_and_again


def test_no_job_is_lost_by_kill_9(tmp_path: Path) -> None:
    promises = kill_again_and_again(tmp_path, kills=4, seed=1)
    assert promises.accepted
