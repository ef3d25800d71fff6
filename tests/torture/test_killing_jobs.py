"""kill -9 of a real server, hundreds of times, while clients submit, look and cancel. Run by `make torture` alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.killing import kill_again_and_again

pytestmark = pytest.mark.torture


@pytest.mark.parametrize("seed", range(10))
def test_no_job_is_lost_by_thirty_kills(tmp_path: Path, seed: int) -> None:
    promises = kill_again_and_again(tmp_path, kills=30, seed=100 + seed)
    seen = Counter(promises.ended.values())
    print(
        f"30 kills: {len(promises.accepted)} accepted, {len(promises.cancelled)} cancelled, seen to end: {dict(seen)}"
    )
