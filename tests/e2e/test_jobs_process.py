"""Jobs in a real process: over both listeners, through signals, with a second server at the door."""

from __future__ import annotations

import json
import math
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minimon_server.engines.files import png_size
from minimon_server.jobs.pace import UNMEASURED_SECONDS
from tests.e2e.asking import NOBODY, ask
from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import PATIENCE, RunningServer, clean_environment


def post(server: RunningServer, prompt: str, **body: object) -> str:
    """Submit a job, and return its id."""
    asked = {"prompt": prompt, "model": "tiny", **body}
    answer = ask("POST", f"{server.http}/generate", json=asked, timeout=PATIENCE)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def get(server: RunningServer, path: str) -> httpx2.Response:
    return ask("GET", server.http + path, timeout=PATIENCE * 4)


def status(server: RunningServer, job: str) -> dict[str, Any]:
    found: dict[str, Any] = get(server, f"/status/{job}").json()
    return found


def until(server: RunningServer, job: str, **wanted: object) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while not wanted.items() <= (found := status(server, job)).items():
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_picture_over_https_and_over_http(tmp_path: Path) -> None:
    with DrawingServer(tmp_path) as server, server.client() as client:
        job = client.post("/generate", json={"prompt": "a castle", "model": "tiny"}).json()["job_id"]
        over_https = client.get(f"/image/{job}?wait=20")
        assert png_size(over_https.content) == (64, 64)
        assert get(server, f"/image/{job}").content == over_https.content
        large = client.post("/generate", json={"prompt": "x" * 32_768, "negative_prompt": "é" * 32_768})
        assert large.status_code == 202
        too_long = client.post("/generate", json={"prompt": "x" * 2**20})
        assert (too_long.status_code, too_long.json()["code"]) == (422, "INVALID_REQUEST")


def test_a_stream_of_events_ends_with_its_job(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, CRAYON_STEP_SECONDS="0.02") as server:
        job = post(server, "a castle", steps=10)
        with httpx2.stream(
            "GET", f"{server.http}/jobs/{job}/events", trust_env=False, verify=NOBODY, timeout=PATIENCE
        ) as stream:
            lines = list(stream.iter_lines())
        steps = [json.loads(line[6:])["current"] for line in lines if line.startswith('data: {"phase":"drawing"')]
        assert steps == list(range(11))
        assert 'data: {"state":"SUCCESS","error":null}' in lines


def test_at_the_end_the_running_job_is_given_back_and_the_next_start_draws_it(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, MINIMON_SHUTDOWN_GRACE="1", CRAYON_STEP_SECONDS="0.02") as server:
        running, waiting = post(server, "a long one", steps=150, count=16), post(server, "a tower")
        until(server, running, attempt=1)
        answers: list[int] = []
        held = threading.Thread(target=lambda: answers.append(get(server, f"/image/{waiting}?wait=100").status_code))
        held.start()
        assert get(server, f"/image/{waiting}?wait=0.2").status_code == 202
        assert server.end() == 0
        held.join(PATIENCE)
        assert answers in ([202], [])  # the server's end may come before its question
        server.wait_for_log('"event":"job","job":"' + running + '","state":"PENDING"')
    with DrawingServer(tmp_path) as server:
        assert until(server, running, state="SUCCESS")["attempt"] == 2
        assert until(server, waiting, state="SUCCESS")["attempt"] == 1


def test_a_second_signal_gives_the_running_job_back_at_once(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, MINIMON_SHUTDOWN_GRACE="3600", CRAYON_STEP_SECONDS="0.02") as server:
        job = post(server, "a long one", steps=150, count=16)
        until(server, job, attempt=1)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log('"event":"ending"')
        assert server.end(signal.SIGTERM) == 0
    with DrawingServer(tmp_path) as server:
        assert until(server, job, state="SUCCESS")["attempt"] == 2


def test_a_second_signal_is_heard_when_only_the_running_job_holds_the_end_up(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, MINIMON_SHUTDOWN_GRACE="3600", CRAYON_STEP_SECONDS="0.02") as server:
        job = post(server, "a long one", steps=150, count=16)
        until(server, job, attempt=1)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while is_open(server.http_port) or is_open(server.https_port):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.5)
        assert server.end(signal.SIGTERM) == 0
        server.wait_for_log('"event":"job","job":"' + job + '","state":"PENDING"')


def test_a_journal_has_one_server(tmp_path: Path) -> None:
    with DrawingServer(tmp_path) as first:
        second = DrawingServer(tmp_path)
        done = subprocess.run(
            second._command,
            cwd=tmp_path,
            env=clean_environment(second.environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 1
        assert "another server uses" in done.stderr
        assert get(first, "/health").status_code == 200


def test_what_an_interrupted_attempt_left_is_swept_at_the_start(tmp_path: Path) -> None:
    with DrawingServer(tmp_path) as server:
        job = post(server, "a castle")
        name = until(server, job, state="SUCCESS")["result"]["filename"]
    outputs = tmp_path / "jobs" / "outputs"
    (outputs / name.replace(".1.", ".2.")).write_bytes(b"half a picture")
    (outputs / f"{name}.part").write_bytes(b"half a picture")
    with DrawingServer(tmp_path) as server:
        assert [path.name for path in outputs.iterdir()] == [name]
        assert get(server, f"/image/{job}").status_code == 200


def test_a_server_with_a_journal_of_its_own_leaves_the_pictures_of_another(tmp_path: Path) -> None:
    with DrawingServer(tmp_path) as server:
        job = post(server, "a castle")
        until(server, job, state="SUCCESS")
    for _ in range(2):  # its journal is new, and then it is not
        with DrawingServer(tmp_path, MINIMON_JOBS_PATH=str(tmp_path / "other.sqlite")) as other:
            until(other, post(other, "a tower"), state="SUCCESS")
    with DrawingServer(tmp_path) as server:
        assert get(server, f"/image/{job}").status_code == 200


def test_who_waits_and_goes_is_not_waited_for(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, MINIMON_SHUTDOWN_GRACE="1", CRAYON_STEP_SECONDS="0.05") as server:
        job = post(server, "a long one", steps=150, count=16)
        with socket.create_connection(("127.0.0.1", server.http_port)) as client:
            client.sendall(f"GET /image/{job}?wait=119 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            time.sleep(0.5)
        server.wait_for_log(f'"path":"/image/{job}","status":')  # told when it is over, long before its 119 seconds


def measured(server: RunningServer) -> float:
    """Return the seconds of a usual job, as the server itself has measured them."""
    lines = dict(line.rsplit(" ", 1) for line in get(server, "/metrics").text.splitlines() if line[0] != "#")
    total, count = (float(lines[f"minimon_job_duration_seconds_{name}"]) for name in ("sum", "count"))
    return total / count


def test_who_must_wait_is_told_how_long_by_what_jobs_really_took(tmp_path: Path) -> None:
    limits = {"MINIMON_QUEUE_LIMIT": "3", "MINIMON_QUEUE_LIMIT_PER_CLIENT": "3"}
    with DrawingServer(tmp_path, MINIMON_SHUTDOWN_GRACE="1", CRAYON_STEP_SECONDS="0.3", **limits) as server:
        until(server, post(server, "a castle", steps=5), state="SUCCESS")
        mean = measured(server)
        running = post(server, "a long one", steps=150, count=16)
        until(server, running, state="PROGRESS")
        waiting = [post(server, f"tower {number}", steps=5) for number in range(3)]
        found = [status(server, job) for job in waiting]
        assert [one["position"] for one in found] == [1, 2, 3]
        assert [one["eta_seconds"] for one in found] == [
            pytest.approx(mean * (1 + place + 0.5), abs=0.2) for place in range(3)
        ]
        asked = {"prompt": "one too many", "model": "tiny"}
        full = ask("POST", f"{server.http}/generate", json=asked, timeout=PATIENCE)
        assert (full.status_code, full.json()["code"]) == (429, "QUEUE_FULL")
        assert full.headers["retry-after"] == str(math.ceil(mean))
        assert 1 < mean < UNMEASURED_SECONDS  # so it is neither the least that is told, nor what is told before


def test_what_has_ended_cannot_be_cancelled_and_what_is_forgotten_is_gone_for_a_while(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, MINIMON_HISTORY_LIMIT="1") as server:
        first = post(server, "a castle")
        until(server, first, state="SUCCESS")
        cancelled = ask("DELETE", f"{server.http}/jobs/{first}", timeout=PATIENCE)
        assert (cancelled.status_code, cancelled.json()["code"]) == (409, "CONFLICT")
        until(server, post(server, "a tower"), state="SUCCESS")
        deadline = time.monotonic() + PATIENCE
        while get(server, f"/status/{first}").status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with DrawingServer(tmp_path, MINIMON_HISTORY_LIMIT="1") as server:  # it is remembered by the journal
        for path in (f"/status/{first}", f"/image/{first}", f"/download/{first}.1.png"):
            gone = get(server, path)
            assert (gone.status_code, gone.json()["code"]) == (410, "GONE")
        deleted = ask("DELETE", f"{server.http}/jobs/{first}", timeout=PATIENCE)
        assert (deleted.status_code, deleted.json()["code"]) == (410, "GONE")
        assert server.end() == 0
        with closing(sqlite3.connect(tmp_path / "jobs" / "jobs.sqlite")) as db:
            db.execute("DELETE FROM gone")  # as its bound does, beyond the last 100,000
            db.commit()
    with DrawingServer(tmp_path, MINIMON_HISTORY_LIMIT="1") as server:
        assert get(server, f"/status/{first}").status_code == 404
