"""Hundreds of kill -9 under load and in the middle of starts, on one ledger that grows. By `make torture` alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.kill_scene import REWRITING, check_once_more, kill_under_load, kill_while_rewriting
from tests.e2e.score_server import Load, ScoreServer, id_of
from tests.e2e.sync_order import OPTIONS, order_of
from tests.e2e.tracing import needs_strace, under_strace, whole_trace

pytestmark = pytest.mark.torture


@needs_strace()
def test_three_hundred_kills_lose_no_score(tmp_path: Path) -> None:
    certified: list[bytes] = []
    for turn in range(50):
        kill_under_load(tmp_path, certified, turns=5, seed=turn, every=200)
        kill_while_rewriting(tmp_path, *REWRITING[turn % len(REWRITING)])
    check_once_more(tmp_path, certified)
    print(f"{len(certified)} scores were acknowledged between 300 kills, and all are there")


@needs_strace()
def test_ten_thousand_answers_were_all_sent_after_their_sync(tmp_path: Path) -> None:
    with ScoreServer(tmp_path, under_strace(tmp_path / "trace", *OPTIONS)) as server:
        load = Load(server.http_port, clients=50).start(most=200)
        load.wait_for(10_000)
        load.wait()
    order = order_of(whole_trace(tmp_path / "trace", server.process.pid), server.ledger)
    assert order.early == []
    assert sorted(order.synced) == sorted(id_of(answer) for answer in load.certified)
    assert len(order.synced) == 10_000
