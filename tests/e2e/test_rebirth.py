"""A server that loses its engine begins again by itself: same process, no job lost, a bounded number of times."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from minimon_server.rebirth import GIVEN_UP, MOST, VARIABLE
from tests.e2e.asking import ask
from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import PATIENCE
from tests.e2e.score_server import JSON

ENOUGH = 4 * PATIENCE  # the machine may be busy with other things
LASTING = {"MINIMON_STEP_TIMEOUT": "3", "MINIMON_SHUTDOWN_GRACE": "1"}
SCORE = {"score": 123.4, "subject": "player"}


def asked(server: DrawingServer, method: str, path: str, **more: Any) -> httpx2.Response:
    """Ask until there is an answer: between two lives there is nobody."""
    deadline = time.monotonic() + ENOUGH
    while True:
        try:
            return ask(method, server.http + path, timeout=PATIENCE, **more)
        except httpx2.TransportError:
            assert server.process.poll() is None, server.errors.read_text()
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(0.02)


def submit(server: DrawingServer, prompt: str) -> str:
    answer = asked(server, "POST", "/generate", json={"prompt": prompt, "model": "tiny"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def ended(server: DrawingServer, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + ENOUGH
    while True:
        told: dict[str, Any] = asked(server, "GET", f"/status/{job}").json()
        if told["state"] in ("SUCCESS", "FAILURE", "REVOKED"):
            return told
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def starts(server: DrawingServer) -> int:
    return [line["event"] for line in map(json.loads, server.log.read_text().splitlines())].count("start")


def until_ready(server: DrawingServer, status: int) -> str:
    """Return the reasons of /ready once it answers with this status."""
    deadline = time.monotonic() + ENOUGH
    while (answer := asked(server, "GET", "/ready", headers={"Accept-Language": "en"})).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)
    return " ".join(answer.json()["reasons"])


def test_a_step_that_hangs_costs_its_own_job_and_the_process_heals_itself(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, **LASTING) as server:
        before, process = ended(server, submit(server, "a castle")), server.process.pid
        certified = asked(server, "POST", "/v1/certify-score", json=SCORE).content
        hanging, waiting = submit(server, "hang here"), submit(server, "a tower")
        assert "no progress" in until_ready(server, 503)
        during = submit(server, "accepted meanwhile")
        told = ended(server, hanging)
        assert (told["state"], told["error"], told["attempt"]) == ("FAILURE", "interrupted twice", 2)
        assert ended(server, waiting)["state"] == ended(server, during)["state"] == "SUCCESS"
        assert (starts(server), server.process.pid, server.process.poll()) == (3, process, None)
        assert until_ready(server, 200) == ""
        assert asked(server, "GET", f"/image/{before['job_id']}").status_code == 200
        assert asked(server, "POST", "/v1/certify-score", json=SCORE).status_code == 200
        verdict = asked(server, "POST", "/v1/verify-score", content=certified, headers=JSON).json()
        assert (verdict["valid"], verdict["recorded"]) == (True, True)
        assert "minimon_restarts 0.0" not in asked(server, "GET", "/metrics").text
        log = server.log.read_text()
        assert log.count('"reason":"The engine has hung: the server begins again by itself."') == 2
        assert server.end() == 0


def test_a_device_that_is_lost_is_found_again_by_a_new_start(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, **LASTING) as server:
        lost, waiting = submit(server, "lost"), submit(server, "a tower")
        told = ended(server, lost)
        assert (told["state"], told["error"], told["attempt"]) == ("FAILURE", "the device is lost", 2)
        assert ended(server, waiting)["state"] == "SUCCESS"
        assert starts(server) == 3


def test_what_is_lost_again_and_again_ends_with_a_status_of_its_own(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, **LASTING) as server:
        jobs = [submit(server, f"lost {number}") for number in range(MOST)]
        assert server.process.wait(ENOUGH) == GIVEN_UP
        assert "the engine was lost 4 times" in server.errors.read_text()
        assert "Traceback" not in server.errors.read_text()
        assert starts(server) == 1 + MOST
    with DrawingServer(tmp_path, **LASTING) as server:  # as a supervisor would; the jobs that are left are tried out
        assert {ended(server, job)["error"] for job in jobs} == {"the device is lost"}
        assert ended(server, submit(server, "a tower"))["state"] == "SUCCESS"


def test_a_picture_between_two_losses_is_a_new_count(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, **LASTING, **{VARIABLE: " ".join([f"{time.monotonic():.0f}"] * MOST)}) as server:
        assert ended(server, submit(server, "a castle"))["state"] == "SUCCESS"
        assert ended(server, submit(server, "lost"))["state"] == "FAILURE"
        # The end is told by the process that begins again right after it: only the next job is surely drawn by a third.
        assert ended(server, submit(server, "a tower"))["state"] == "SUCCESS"
        assert starts(server) == 3


def test_a_signal_is_stronger_than_a_new_start(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, MINIMON_STEP_TIMEOUT="3", MINIMON_SHUTDOWN_GRACE="8") as server:
        job = submit(server, "hang here")
        assert "no progress" in until_ready(server, 503)
        assert server.end(signal.SIGTERM) == 0
        assert starts(server) == 1
    with DrawingServer(tmp_path, **LASTING) as server:
        assert ended(server, job)["error"] == "interrupted twice"


def test_a_prompt_that_kills_the_process_may_do_so_twice(tmp_path: Path) -> None:
    with DrawingServer(tmp_path) as server:
        job = submit(server, "kill")
        assert server.process.wait(ENOUGH) == -signal.SIGKILL
    second = DrawingServer(tmp_path)
    with pytest.raises(AssertionError), second:  # it may die before it has answered, or after
        assert second.process.wait(ENOUGH) != -signal.SIGKILL
    with DrawingServer(tmp_path) as server:
        told = ended(server, job)
        assert (told["state"], told["error"], told["attempt"]) == ("FAILURE", "interrupted twice", 2)
        assert ended(server, submit(server, "a tower"))["state"] == "SUCCESS"
