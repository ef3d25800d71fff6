"""What an operator relies on, against real processes: the document holds, and an end is seen before it comes."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.asking import ask
from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import PATIENCE, RunningServer, clean_environment

# What no schema can say: an Idempotency-Key that was used before, a text that is not NFC, a JWS that claims to be DER,
# a size that the ledger does not have yet; which models, LoRAs and schedulers there are, what a picture's file
# says. Whatever is refused so is still an answer that the document knows.
CONFIG = """
[parameters]
"path.score_id" = "{score_id}"
[[operations]]
include-path = ["/v1/certify-score", "/v1/verify-score", "/v1/verify-creature", "/v1/ledger/consistency"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "409", "422", "429", "5xx"]
[[operations]]
include-name = "POST /generate"
checks.positive_data_acceptance.expected-statuses = ["202", "401", "403", "409", "422", "429"]
[[operations]]
include-name = "POST /replay"
checks.positive_data_acceptance.expected-statuses = ["202", "401", "403", "409", "422", "429"]
"""


@pytest.mark.parametrize(
    "token", [pytest.param("", id="open", marks=pytest.mark.torture), pytest.param("mytoken", id="closed")]
)
def test_the_server_does_what_its_document_says(tmp_path: Path, token: str) -> None:
    environ = {"MINIMON_BEARER_TOKEN": token} if token else {}
    with DrawingServer(tmp_path, **environ) as server:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        program = "from schemathesis.cli import schemathesis; schemathesis()"
        config = tmp_path / "schemathesis.toml"
        config.write_text(CONFIG.format(score_id=_certified_id(server, token)))
        header = ["--header", f"Authorization: Bearer {token}"] if token else []
        # As a file: of a document that it fetches itself, it leaves the document's own route out.
        document = ask("GET", f"{server.http}/openapi.json", headers=bearer).raise_for_status()
        (tmp_path / "openapi.json").write_bytes(document.content)
        count = len(document.json()["paths"])
        schemathesis = [sys.executable, "-c", program, "--config-file", str(config), "--no-color"]
        command = [*schemathesis, "run", "openapi.json", "--url", server.http]
        options = [
            "--checks",
            "all",
            "--seed",
            "1",
            "--max-examples",
            "3" if token else "20",
            "--generation-database",
            "none",
        ]
        done = subprocess.run(
            [*command, *options, *header],
            cwd=tmp_path,
            env=clean_environment({"NO_PROXY": "*"}),
            capture_output=True,
            text=True,
            timeout=PATIENCE * 4,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"\d+ generated, \d+ passed", done.stdout), done.stdout
        assert f"Selected: {count}/{count}\n  Tested: {count}\n" in done.stdout
        assert '"level":"error"' not in server.log.read_text()


def _certified_id(server: RunningServer, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    claim = {"score": 1, "subject": "a player"}
    answer = ask("POST", f"{server.http}/v1/certify-score", json=claim, headers=headers)
    return str(answer.raise_for_status().json()["signed"]["payload"]["id"])


def test_it_is_not_ready_from_the_first_moment_of_its_end(tmp_path: Path) -> None:
    with RunningServer(tmp_path, LOG_REQUEST_BODY="1") as server:
        ready = ask("GET", f"{server.http}/ready")
        assert ready.status_code == 200
        assert ready.json()["checks"]["pictures"] == {"ok": True, "backend": "files", "count": 6}
        assert ready.json()["checks"]["names"] == {"ok": True, "backend": "local"}
        tuning = ready.json()["checks"]["tuning"]
        assert tuning["eventLoop"]["chosen"] in ("uvloop", "asyncio")
        assert tuning["eventLoop"]["reason"]
        assert tuning["openFiles"]["reason"]
        # With bodies logged, an answer waits for the body: this question is asked before the end, answered after.
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE) as line:
            line.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nAccept-Language: en\r\nContent-Length: 2\r\n\r\n")
            assert ask("GET", f"{server.http}/health").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log('"event":"ending"')
            line.sendall(b"ok")
            with line.makefile("rb") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert json.loads(body)["reasons"] == ["The server is shutting down."]
        assert server.process.wait(PATIENCE) == 0


def test_the_metrics_of_a_process_tell_of_both_listeners(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server, server.client() as client:
        assert client.get("/v1/generate?rarity=S%2B").status_code == 200
        assert ask("GET", f"{server.http}/v1/generate?rarity=S%2B").status_code == 200
        text = client.get("/metrics").text
        assert 'minimon_creatures_total{rarity="S+"} 2.0' in text
        assert 'minimon_names_total{source="local"} 2.0' in text
        assert "minimon_name_breaker" not in text  # nobody is asked for names
        assert "minimon_log_lines_lost_total 0.0" in text
        assert "process_resident_memory_bytes" in text
