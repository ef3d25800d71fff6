"""A server that is killed under load, again and again, on one ledger. Tests nothing."""

from __future__ import annotations

import random
from pathlib import Path

from tests.e2e.score_server import Load, ScoreServer, acknowledged, check_nothing_lost
from tests.e2e.tracing import Fault, under_strace

# What a start does while it writes anew what lies past the checkpoint: it can be killed before each of these.
REWRITING = [
    ("rename", "certified_scores.jsonl.tail.new"),
    ("write", "certified_scores.jsonl"),
    ("fdatasync", "certified_scores.jsonl"),
]
REWRITING += [("unlink", "certified_scores.jsonl.tail")]


def kill_under_load(folder: Path, certified: list[bytes], turns: int, seed: int, every: int = 20) -> None:
    """Start, check everything that was ever acknowledged, certify with several clients, kill -9; and so on."""
    chance, seen = random.Random(seed), 0
    for _ in range(turns):
        server = ScoreServer(folder)
        assert server.begin(), server.errors.read_text()
        try:
            assert server.reasons() == ""
            check_nothing_lost(server, certified, every=every, seen=seen)
            seen = len(certified)  # in the ledger there may be more: what was written and never acknowledged
            load = Load(server.http_port, clients=8).start()
            load.wait_for(chance.randrange(1, 200))
        finally:
            server.kill()
        load.wait()
        assert not load.refused
        assert load.certified, "nothing was certified after a kill"
        certified += load.certified


def kill_while_rewriting(folder: Path, call: str, file: str) -> None:
    """Start a server that is killed while it writes the last records anew."""
    fault = Fault(call, folder / "data" / file, 1, "signal=KILL")
    server = ScoreServer(folder, under_strace(folder / "trace", *fault.options))
    try:
        server.begin()
        assert server.process.wait(30) == -9
    finally:
        server.kill()


def check_once_more(folder: Path, certified: list[bytes]) -> None:
    """Start as ever: everything is there, and the server certifies."""
    with ScoreServer(folder) as server:
        assert server.reasons() == ""
        check_nothing_lost(server, certified, every=20)
        certified.append(acknowledged(server.asker.certify("after")))
        check_nothing_lost(server, certified[-1:], seen=len(certified))
