"""Pictures sent to a real server process: hostile ones take no memory and harm nobody, accepted ones outlive a kill."""

from __future__ import annotations

import base64
import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from minimon_server.engines.files import png_size
from minimon_server.web.input_schemas import LARGEST_BODY
from tests import hostile_pictures as files
from tests.e2e.asking import ask
from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import PATIENCE, RunningServer

HOSTILE = files.hostile() | {
    "a PNG that unpacks to a gigabyte": (files.overlong_png(), ""),
    "a text that unpacks to a quarter of one": (files.text_bomb(), ""),
    "a colour profile that does": (files.text_bomb(b"iCCP"), ""),
}
CAT = files.saved(files.plain(128, 96), "PNG")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with DrawingServer(tmp_path_factory.mktemp("pictures")) as running:
        assert post(running, CAT).status_code == 202  # whatever reads pictures is imported now
        yield running


def post_form(server: RunningServer, data: bytes) -> httpx2.Response:
    """Send a picture as a file."""
    parts = {"request": (None, b'{"prompt": "a", "model": "tiny"}'), "init_image": ("cat.png", data)}
    return ask("POST", f"{server.http}/generate", files=parts, timeout=PATIENCE * 2)


def post(server: RunningServer, data: bytes, **body: object) -> httpx2.Response:
    """Send a picture as a client does, over HTTP."""
    asked = {"prompt": "a", "model": "tiny", "init_image": base64.b64encode(data).decode(), **body}
    return ask("POST", f"{server.http}/generate", json=asked, timeout=PATIENCE * 2)


def peak_mebibytes(server: RunningServer) -> int:
    """Return the most memory that the process has ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def ended(server: RunningServer, job: str) -> dict[str, Any]:
    """Return the status of a job once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found: dict[str, Any] = ask("GET", f"{server.http}/status/{job}").json()
        if found["state"] not in ("PENDING", "PROGRESS"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def kept(server: RunningServer) -> set[str]:
    return {path.name for path in (server.cwd / "jobs" / "jobs.sqlite.inputs").glob("*")}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_no_hostile_picture_takes_memory_or_is_accepted_wrongly(server: RunningServer) -> None:
    before = peak_mebibytes(server)
    for number, (name, (data, reason)) in enumerate(HOSTILE.items()):
        answer = post_form(server, data) if number % 2 or not data else post(server, data)
        assert answer.status_code == 422 or not reason, (name, answer.text)
        if answer.status_code == 422:
            (mistake,) = answer.json()["errors"]
            assert mistake["field"] == "init_image", name
        else:
            assert ended(server, answer.json()["job_id"])["state"] == "SUCCESS"
    assert peak_mebibytes(server) - before < 128
    assert ask("GET", f"{server.http}/health").status_code == 200
    for line in server.log.read_text("ascii").splitlines():
        assert json.loads(line)["level"] == "info" or '"event":"keys"' in line, line


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_the_largest_pictures_at_once_take_no_more_than_two_do(server: RunningServer) -> None:
    before = peak_mebibytes(server)
    largest = files.saved(Image.linear_gradient("L").resize((4096, 4096)), "PNG", compress_level=1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: post(server, largest, seed=number, width=64, height=64), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert peak_mebibytes(server) - before < 900
    jobs = [ended(server, answer.json()["job_id"]) for answer in answers]
    assert {job["state"] for job in jobs} == {"SUCCESS"}


def test_a_body_beyond_its_bound_is_refused_before_it_has_come(server: RunningServer) -> None:
    head = "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE) as line:
        line.sendall(head.format(LARGEST_BODY + 1).encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_waiting_job_has_its_pictures_after_a_kill_and_they_go_with_the_job(tmp_path: Path) -> None:
    with DrawingServer(tmp_path, CRAYON_STEP_SECONDS="1000") as server:
        ask("POST", f"{server.http}/generate", json={"prompt": "first", "model": "tiny"})
        shown = base64.b64encode(files.saved(files.plain(96, 64), "PNG")).decode()
        job = post(server, CAT, strength=0.5, ip_adapter_image=shown).json()["job_id"]
        names = kept(server)
        assert len(names) == 2
        (tmp_path / "jobs" / "jobs.sqlite.inputs" / f"{'0' * 64}.png").write_bytes(b"of a request that was cut off")
        server.end(signal.SIGKILL)
    with DrawingServer(tmp_path) as server:
        done = ended(server, job)
        begun, reference = done["request"]["init_image"], done["request"]["ip_adapter"]["picture"]
        digests = begun["digest"], reference["digest"]
        assert (done["state"], {f"{digest}.png" for digest in digests}) == ("SUCCESS", set(names))
        picture = ask("GET", f"{server.http}/image/{job}")
        assert png_size(picture.content) == (128, 96)
        told = picture.headers["x-generation-metadata"]
        assert f'"init_image": "{digests[0]}"' in told
        assert f'"image": "{digests[1]}"' in told
        deadline = time.monotonic() + PATIENCE
        while kept(server):
            assert time.monotonic() < deadline, kept(server)
            time.sleep(0.05)
