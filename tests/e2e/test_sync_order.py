"""No answer leaves before its record is on disk, as the kernel saw it; and the check itself finds those that would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.score_server import Load, ScoreServer, id_of
from tests.e2e.sync_order import OPTIONS, order_of
from tests.e2e.tracing import needs_strace, under_strace, whole_trace

pytestmark = needs_strace()

CLIENTS, EACH = 32, 20


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, list[bytes]]:
    """A trace of a server that many clients asked at once, its ledger, and what they got."""
    folder = tmp_path_factory.mktemp("order")
    with ScoreServer(folder, under_strace(folder / "trace", *OPTIONS)) as server:
        load = Load(server.http_port, clients=CLIENTS).start(most=EACH)
        load.wait()
    assert not load.refused
    return whole_trace(folder / "trace", server.process.pid), server.ledger, load.certified


def test_every_answer_was_sent_after_its_record_was_synced(seen: tuple[str, Path, list[bytes]]) -> None:
    trace, ledger, certified = seen
    order = order_of(trace, ledger)
    assert order.early == []
    assert sorted(order.synced) == sorted(id_of(answer) for answer in certified)
    assert len(order.synced) == CLIENTS * EACH


def test_a_server_that_does_not_sync_would_be_found(seen: tuple[str, Path, list[bytes]]) -> None:
    trace, ledger, certified = seen
    lines = trace.splitlines(keepends=True)
    without = "".join(line for line in lines if "fdatasync" not in line)
    assert len(order_of(without, ledger).early) == len(certified)
    failed = re.sub(r"(fdatasync.*) = 0\b", r"\1 = -1 EIO (Input/output error)", trace)
    assert len(order_of(failed, ledger).early) == len(certified)


def test_one_answer_before_its_sync_would_be_found(seen: tuple[str, Path, list[bytes]]) -> None:
    trace, ledger, certified = seen
    last = id_of(certified[-1])
    lines = trace.splitlines(keepends=True)
    answer = next(line for line in lines if last in line and "HTTP/1.1 200" in line)
    write = next(number for number, line in enumerate(lines) if last in line and "HTTP/1.1 200" not in line)
    lines.remove(answer)
    # Right after its line was written, and so before the sync that makes it last.
    early = "".join([*lines[: write + 1], answer, *lines[write + 1 :]])
    assert order_of(early, ledger).early == [last]
