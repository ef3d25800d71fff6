"""Nothing is promised before the disk has it, as the kernel saw it: jobs, pictures, records; and the check can fail."""

from __future__ import annotations

import json
import re
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.drawing_server import DrawingServer
from tests.e2e.job_order import JobOrder, order_of_jobs
from tests.e2e.score_server import Asker
from tests.e2e.sync_order import OPTIONS
from tests.e2e.tracing import needs_strace, tracer, whole_trace

pytestmark = needs_strace()

CLIENTS, EACH = 4, 5


@dataclass(frozen=True)
class Trace:
    """What strace wrote of a server, and the jobs whose pictures its clients got."""

    text: str
    folder: Path
    jobs: list[str]

    def order(self, text: str | None = None) -> JobOrder:
        """Judge the trace, or another one in its place."""
        return order_of_jobs(text or self.text, self.folder / "jobs" / "jobs.sqlite", self.folder / "jobs" / "outputs")

    def lines(self) -> list[str]:
        return self.text.splitlines(keepends=True)


def taken_out(lines: list[str], first: str) -> list[str]:
    """Take a whole call out of a trace, by its first line: its second half too where another thread interrupted it."""
    begun = lines.index(first)
    call = [lines.pop(begun)]
    if first.rstrip().endswith("<unfinished ...>"):
        thread = first.split()[0]
        resumed = next(line for line in lines[begun:] if line.split()[:2] == [thread, "<..."])
        lines.remove(resumed)
        call.append(resumed)
    return call


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A trace of a server that several clients asked at once, each for jobs, their pictures and their states."""
    folder = tmp_path_factory.mktemp("order")
    jobs: list[str] = []

    def ask(port: int, client: int) -> None:
        with closing(Asker(port)) as asker:
            for number in range(EACH):
                body = {"prompt": f"{client} {number}", "model": "tiny", "count": 1 + number % 2}
                accepted = asker.ask("POST", "/generate", json.dumps(body).encode())
                assert accepted.status == 202, accepted.body
                job = accepted.json["job_id"]
                assert asker.ask("GET", f"/image/{job}?wait=60").status == 200
                assert asker.ask("GET", f"/status/{job}").json["state"] == "SUCCESS"
                jobs.append(job)

    with DrawingServer(folder, tracer(folder / "trace", *OPTIONS)) as server:
        clients = [threading.Thread(target=ask, args=(server.http_port, number)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert len(jobs) == CLIENTS * EACH
    return Trace(whole_trace(folder / "trace", server.process.pid), folder, sorted(jobs))


def test_every_promise_was_made_after_what_keeps_it_was_on_the_disk(seen: Trace) -> None:
    order = seen.order()
    assert order.early == []
    assert sorted(order.accepted) == seen.jobs
    assert sorted(order.served) == sorted(2 * seen.jobs)  # its picture, and its state
    names = [path.name for path in (seen.folder / "jobs" / "outputs").iterdir()]
    assert sorted(order.pictures) == sorted(names)
    assert len(names) == CLIENTS * (EACH + EACH // 2)


def test_a_journal_that_is_not_synced_or_whose_sync_fails_would_be_found(seen: Trace) -> None:
    without = "".join(line for line in seen.lines() if "fdatasync" not in line)
    failed = re.sub(r"(fdatasync.*) = 0\b", r"\1 = -1 EIO (Input/output error)", seen.text)
    for text in (without, failed):
        order = seen.order(text)
        assert sorted(job for what, job in order.early if what == "accepted") == seen.jobs
        assert sorted(job for what, job in order.early if what == "record") == sorted(2 * seen.jobs)
        assert not order.accepted
        assert not order.served


def test_pictures_or_their_folder_that_are_not_synced_would_be_found(seen: Trace) -> None:
    every = sorted(seen.order().pictures)
    outputs = str(seen.folder / "jobs" / "outputs")
    for step, synced in (("file", ".part>"), ("folder", f"<{outputs}>")):
        kept = [line for line in seen.lines() if not ("fsync(" in line and synced in line)]
        order = seen.order("".join(kept))
        assert sorted(order.early) == [(step, name) for name in every]
        assert order.pictures == []


def test_one_answer_before_its_sync_would_be_found(seen: Trace) -> None:
    job = seen.jobs[0]
    for what, promise, record in (("accepted", "HTTP/1.1 202", job), ("record", "x-job-id: " + job, f"{job}.1.")):
        lines = seen.lines()
        answer = next(line for line in lines if promise in line and job in line and "<socket:[" in line)
        moved = taken_out(lines, answer)
        written = next(number for number, line in enumerate(lines) if "-wal>" in line and record in line)
        # Right after the record was written, and so before the sync that makes it last.
        early = "".join([*lines[: written + 1], *moved, *lines[written + 1 :]])
        assert seen.order(early).early == [(what, job)]


def test_one_picture_that_is_named_before_its_folder_was_synced_would_be_found(seen: Trace) -> None:
    name = next(one for one in seen.order().pictures if one.count(".") == 2)
    lines = seen.lines()
    record = next(line for line in lines if "-wal>" in line and name in line)
    moved = taken_out(lines, record)
    renamed = next(number for number, line in enumerate(lines) if "rename(" in line and name in line)
    early = "".join([*lines[: renamed + 1], *moved, *lines[renamed + 1 :]])
    assert ("folder", name) in seen.order(early).early
