"""Bytes that no friendly client sends: always a clear 4xx or a closed connection, never a 500, never a broken log."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.e2e.asking import ask
from tests.e2e.running import PATIENCE, RunningServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environ = {"MINIMON_BEARER_TOKEN": "sésame", "MINIMON_RATE_LIMIT_PER_MIN": "0"}
    with RunningServer(tmp_path_factory.mktemp("hostile"), **environ) as running:
        yield running


def exchange(server: RunningServer, sent: bytes) -> bytes:
    """Send raw bytes to the HTTP listener and return all that comes back until it is silent or closes."""
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE) as line:
        line.sendall(sent)
        line.shutdown(socket.SHUT_WR)
        received = bytearray()
        while chunk := line.recv(65536):
            received.extend(chunk)
        return bytes(received)


REQUESTS = {
    "no such path": b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "invalid utf-8 in the path": b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the query": b"GET /v1/generate?seed=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "nul in the path": b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "nul in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    "dots in the path": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "a token of raw bytes": b"GET /v1/generate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    "an empty token": b"GET /v1/generate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n\r\n",
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long path": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long query": b"GET /v1/generate?seed=" + b"1" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an upgrade": b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "a language of raw bytes": b"GET /nowhere HTTP/1.1\r\nHost: x\r\nAccept-Language: \xff\xfe;q=\xff\r\n\r\n",
    "an accept of raw bytes": b"GET /health HTTP/1.1\r\nHost: x\r\nAccept: \xff/\xfe;q=,,;\r\n\r\n",
}


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS.keys())
def test_strange_bytes_get_a_clear_refusal(server: RunningServer, sent: bytes) -> None:
    answer = exchange(server, sent)
    status = int(answer.split(b" ", 2)[1])
    assert 400 <= status < 500 or b"/health" in sent
    assert b"Traceback" not in answer
    assert ask("GET", f"{server.http}/health").status_code == 200


def test_plain_http_on_the_tls_port_is_harmless(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.https_port), timeout=PATIENCE) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            while line.recv(65536):
                pass
        except ConnectionResetError:
            pass
    with server.client() as client:
        assert client.get("/health").status_code == 200


def test_old_tls_is_refused(server: RunningServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", server.https_port), timeout=PATIENCE) as line,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(line)


def test_the_right_token_opens_over_a_real_wire_in_both_encodings(server: RunningServer) -> None:
    for encoding in ("utf-8", "latin-1"):
        token = "sésame".encode(encoding)
        head = b"GET /v1/generate?seed=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
        assert exchange(server, head + token + b"\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_the_log_stayed_whole(server: RunningServer) -> None:
    for line in server.log.read_text("ascii").splitlines():
        assert line.isprintable()
        entry = json.loads(line)
        assert entry["level"] != "error", entry
        assert "sésame" not in json.dumps(entry, ensure_ascii=False)
    assert "Traceback" not in server.errors.read_text()


def test_what_a_client_wrote_is_never_a_line_of_its_own(server: RunningServer) -> None:
    exchange(server, b'GET /x{"level":"error"} HTTP/1.1\r\nHost: x\r\nX-Request-ID: a"b\r\n\r\n')
    text = server.wait_for_log("/x%7B%22level%22:%22error%22%7D")
    assert [line for line in text.splitlines() if json.loads(line)["level"] == "error"] == []
