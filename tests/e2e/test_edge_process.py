"""The edge on a real process over real TLS: memory under hostile heads, certificates that change, silent handshakes."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from minimon_server.web import tls
from tests.e2e.running import PATIENCE, RunningServer

NAMES = ["localhost", "127.0.0.1"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path, MINIMON_RATE_LIMIT_PER_MIN="0") as running:
        yield running


def resident_kib(server: RunningServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", status)
    assert match
    return int(match[1])


def served_certificate(server: RunningServer) -> str:
    return ssl.get_server_certificate(("127.0.0.1", server.https_port), timeout=PATIENCE)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_forty_endless_heads_cost_no_memory(server: RunningServer) -> None:
    with server.client() as client:
        client.get("/v1/generate")
    before = resident_kib(server)
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE) as line:
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
            with contextlib.suppress(ConnectionError):  # refused as soon as 16 KiB are there
                line.sendall(b"b" * 2**20)
    assert resident_kib(server) - before <= 5 * 1024


def test_a_new_certificate_is_used_without_a_restart(server: RunningServer) -> None:
    certificate, key = server.cwd / "certs" / "cert.pem", server.cwd / "certs" / "key.pem"
    before = served_certificate(server)
    assert before.strip() == certificate.read_text().strip()
    with server.client() as client:
        assert client.get("/health").status_code == 200
        new = server.cwd / "new"
        tls.make_pair(new / "cert.pem", new / "key.pem", NAMES, tls.utc_now())
        (new / "key.pem").replace(key)
        (new / "cert.pem").replace(certificate)
        server.wait_for_log("the changed TLS certificate is used from now on")
        assert served_certificate(server).strip() == certificate.read_text().strip() != before.strip()
        assert client.get("/health").status_code == 200  # connections that were there go on
    with server.client() as client:
        assert client.get("/health").status_code == 200


def test_a_certificate_that_cannot_be_used_changes_nothing(server: RunningServer) -> None:
    before = served_certificate(server)
    (server.cwd / "certs" / "cert.pem").write_text("half of a certi")
    server.wait_for_log("the changed TLS certificate is not used")
    assert served_certificate(server) == before


def test_a_request_that_spans_many_packets_is_served(server: RunningServer) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            line.sendall(bytes([byte]))
        received = bytearray()
        while chunk := line.recv(4096):
            received.extend(chunk)
    assert received.startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_clients_that_leave_in_the_middle_of_an_answer_leave_nothing_behind(server: RunningServer) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def leave_in_the_middle(clients: int) -> None:
        lines = []
        for _ in range(clients):
            plain = socket.create_connection(("127.0.0.1", server.https_port), timeout=PATIENCE)
            line = context.wrap_socket(plain)
            line.sendall(b"GET /v1/generate HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
            lines.append(line)
        for line in lines:
            line.recv(100)
            line.close()

    leave_in_the_middle(64)
    before = resident_kib(server)
    for _ in range(5):
        leave_in_the_middle(64)
    # Each connection holds about 300 KiB while it lives: 320 that were kept would be 90 MiB.
    assert resident_kib(server) - before <= 20 * 1024
