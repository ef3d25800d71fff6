"""Faults of the disk, given by strace to a real server: no acknowledged score is lost, none is unverifiable.

A choice of the calls that a start and a certification make; `make torture` takes every call with every fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.fault_scene import FOLDER, Site, Templates, record, survive
from tests.e2e.score_server import (
    Load,
    ScoreServer,
    acknowledged,
    check_nothing_lost,
    check_refusal,
)
from tests.e2e.tracing import CHANGES, calls, needs_strace, under_strace, whole_trace

pytestmark = needs_strace()

LEDGER, LEAVES, CHECKPOINT, TAIL = (
    f"certified_scores.jsonl{suffix}" for suffix in ("", ".leaves", ".checkpoint", ".tail")
)
OFF = "Certifying is off"
# What a server in one state meets, and what /ready says meanwhile: nothing where it goes on by itself.
CASES = [
    ("first", "fsync", CHECKPOINT + ".new", 1, "EIO", OFF),
    ("first", "rename", "certified_scores.jsonl.keys.new", 1, "KILL", "ended"),
    ("first", "fsync", FOLDER, 3, "KILL", "ended"),
    ("grown", "openat", LEDGER, 1, "EIO", OFF),
    ("grown", "write", LEDGER, 1, "ENOSPC", ""),
    ("grown", "write", LEDGER, 2, "short", OFF),
    ("grown", "write", LEDGER, 2, "EIO", OFF),
    ("grown", "fdatasync", LEDGER, 2, "KILL", "ended"),
    ("grown", "write", LEAVES, 1, "short", ""),
    ("grown", "rename", CHECKPOINT + ".new", 1, "KILL", ""),
    ("crashed", "ftruncate", LEDGER, 1, "KILL", "ended"),
    ("crashed", "fdatasync", LEDGER, 2, "EIO", OFF),
    ("crashed", "write", LEDGER, 1, "KILL", "ended"),
    ("crashed", "write", LEDGER, 1, "short", OFF),
    ("crashed", "write", TAIL + ".new", 1, "short", OFF),
    ("rewriting", "unlink", TAIL, 1, "KILL", "ended"),
]
NAMES = [
    f"{state}-{call}-{file.removeprefix('certified_scores.jsonl.')}-{how}" for state, call, file, _, how, _ in CASES
]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="module")
def outcomes(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Future[str]]]:
    """Two servers at a time: most of a start is the reading of Python's own files."""
    folder = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(2) as pool:
        yield [
            pool.submit(survive, templates, Site(state, call, file, nth), how, folder / str(number))
            for number, (state, call, file, nth, how, _) in enumerate(CASES)
        ]


@pytest.mark.parametrize("case", range(len(CASES)), ids=NAMES)
def test_no_fault_loses_a_score(outcomes: list[Future[str]], case: int) -> None:
    said, expected = outcomes[case].result(), CASES[case][-1]
    assert said.startswith(expected) if expected else said == ""


def test_the_faults_are_given_to_calls_that_a_server_makes(templates: Templates, tmp_path: Path) -> None:
    sites = record(templates, "grown", tmp_path)
    assert {Site(*case[:4]) for case in CASES if case[0] == "grown"} <= set(sites)
    # Every change of a file is among them: nothing goes to the disk by a call that no fault is given to.
    assert {site.call for site in sites} == {"openat", "write", "fdatasync", "fsync", "ftruncate", "rename"}


def test_a_failed_sync_is_never_tried_again_and_nothing_pending_is_acknowledged(
    templates: Templates, tmp_path: Path
) -> None:
    folder, certified = templates.copy("grown", tmp_path), list(templates.before["grown"])
    ledger, trace = folder / "data" / LEDGER, folder / "trace"
    inject = ["-e", "inject=fdatasync:error=EIO:when=4"]
    options = ["--seccomp-bpf", "-P", str(ledger), "-e", f"trace={CHANGES}", *inject]
    with ScoreServer(folder, under_strace(trace, *options)) as server:
        load = Load(server.http_port, clients=16).start(most=20)
        load.wait()
        assert len(load.certified) + len(load.refused) == 320
        assert load.refused
        for answer in load.refused:
            check_refusal(answer)
        assert server.reasons() == "Certifying is off: the disk failed (sync: Input/output error)"
        assert server.asker.ask("GET", "/v1/generate").status == 200
        certified += load.certified
        for answer_bytes in certified:
            found = [line for line in ledger.read_bytes().splitlines() if line.startswith(answer_bytes[:-1])]
            assert len(found) == 1
            score_id = found[0][28:56].decode()
            assert server.asker.ask("GET", f"/v1/scores/{score_id}").body == answer_bytes
    assert server.process.returncode == 0
    synced = [call for call in calls(whole_trace(trace, server.process.pid)) if call.name == "fdatasync"]
    assert [call.result for call in synced] == [0, 0, 0, -1], "a sync after the failed one"
    _check_written_anew(folder, certified)


def _check_written_anew(folder: Path, certified: list[bytes]) -> None:
    """What the page cache shows past the checkpoint may not be on disk: the next start writes it, and syncs."""
    ledger, trace = folder / "data" / LEDGER, folder / "again"
    signed = int((folder / "data" / CHECKPOINT).read_bytes().split(b"\n")[1])
    start = sum(len(line) for line in ledger.read_bytes().splitlines(keepends=True)[:signed])
    whole = ledger.stat().st_size
    with ScoreServer(folder, under_strace(trace, "--seccomp-bpf", "-P", str(ledger), "-e", f"trace={CHANGES}")) as anew:
        assert anew.reasons() == ""
        assert [event["event"] for event in anew.events()].count("records past the checkpoint are written anew") == 1
        check_nothing_lost(anew, certified)
        certified.append(acknowledged(anew.asker.certify("after")))
        check_nothing_lost(anew, certified)
    made = [(call.name, call.told) for call in calls(whole_trace(trace, anew.process.pid))]
    names = [name for name, _ in made]
    assert names[:4] == ["openat", "ftruncate", "write", "fdatasync"], names
    assert f", {start})" in made[1][1]
    assert made[2][1].endswith(f", {whole - start}) = {whole - start}")
