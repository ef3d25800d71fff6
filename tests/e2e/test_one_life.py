"""Two listeners, one life, on real processes: whichever goes first, both end, and what was accepted is answered."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.asking import ask
from tests.e2e.running import HOME, PATIENCE, RunningServer, free_ports, run_to_end

# The server itself, but that SIGUSR1 breaks the loop of one of its listeners.
BREAKABLE = """
import signal, sys
sys.path.insert(0, {home!r})
import gen_server
from minimon_server.web import serve

broken = []
signal.signal(signal.SIGUSR1, lambda *_: broken.append(True))
tick = serve.Listener.on_tick

async def on_tick(self, counter):
    if broken and bool(self.config.ssl) is {https}:
        {how}
    return await tick(self, counter)

serve.Listener.on_tick = on_tick
sys.exit(gen_server.main([]))
"""
HEAD = b"POST /v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
BODY = b"ab"


def connected(server: RunningServer, stack: ExitStack, *, https: bool) -> socket.socket:
    port = server.https_port if https else server.http_port
    plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
    if not https:
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return stack.enter_context(context.wrap_socket(plain))


def events(server: RunningServer) -> list[str]:
    return [entry["event"] for entry in map(json.loads, server.log.read_text("ascii").splitlines())]


@pytest.mark.parametrize("https", [True, False], ids=["HTTPS", "HTTP"])
@pytest.mark.parametrize("how", ["raise OSError('out of everything')", "return True"], ids=["fails", "leaves"])
def test_whichever_listener_goes_first_ends_both_and_nothing_accepted_is_lost(
    tmp_path: Path, https: bool, how: str
) -> None:
    program = BREAKABLE.format(home=str(HOME), https=https, how=how)
    # With bodies logged, an answer waits for the body: its absence holds the request open.
    environ = {"LOG_REQUEST_BODY": "1", "MINIMON_SHUTDOWN_GRACE": "3600"}
    with RunningServer(tmp_path, [sys.executable, "-c", program], **environ) as server, ExitStack() as stack:
        lines = [connected(server, stack, https=one) for one in (True, False)]
        for line in lines:
            line.sendall(HEAD)
        assert ask("GET", f"{server.http}/health").status_code == 200
        server.process.send_signal(signal.SIGUSR1)
        assert '"status":405' not in server.wait_for_log('"event":"ending"')
        for line in lines:
            line.sendall(BODY)
            assert line.recv(65536).startswith(b"HTTP/1.1 405")
        assert server.process.wait(PATIENCE) == 1
        gone = server.https_port if https else server.http_port
        assert f"the listener on port {gone} has ended" in server.errors.read_text()
        assert "Traceback" not in server.errors.read_text()
        told = events(server)
        assert told.count("ending") == told.count("end") == 1
        assert told.count("a listener has failed") == ("raise" in how)
        for port in (server.https_port, server.http_port):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


@pytest.mark.parametrize("setting", ["MINIMON_PORT", "MINIMON_HTTP_PORT"])
def test_a_listener_that_cannot_begin_lets_the_other_not_begin(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = dict(zip(("MINIMON_PORT", "MINIMON_HTTP_PORT"), map(str, free_ports(2)), strict=True))
        ports[setting] = str(taken.getsockname()[1])
        paths = {"MINIMON_TLS_CERT_PATH": "cert.pem", "MINIMON_TLS_KEY_PATH": "key.pem"}
        done = run_to_end(cwd=tmp_path, **ports, **paths)
    assert done.returncode == 1
    assert f"{setting} chooses another port" in done.stderr
    assert "listening" not in done.stdout


def test_one_signal_ends_both_and_clients_that_are_stuck_do_not_outlast_the_grace(tmp_path: Path) -> None:
    environ = {"LOG_REQUEST_BODY": "1", "MINIMON_SHUTDOWN_GRACE": "1", "MINIMON_RATE_LIMIT_PER_MIN": "0"}
    with RunningServer(tmp_path, **environ) as server, ExitStack() as stack:
        for https in (True, False):
            connected(server, stack, https=https).sendall(HEAD)  # and never a body
            connected(server, stack, https=https).sendall(b"GET /v1/generate HTTP/1.1\r\nHost: x\r\n\r\n" * 60)
            connected(server, stack, https=https).sendall(b"GET /v1/gen")
        # A handshake that never begins.
        stack.enter_context(socket.create_connection(("127.0.0.1", server.https_port), timeout=PATIENCE))
        server.wait_for_log('"path":"/v1/generate"')
        assert server.end() == 0
        text = server.log.read_text()
        told = events(server)
    # Each listener says that its grace was over: it was this that ended it, and nobody's patience.
    assert told.count("the grace is over") == 2
    assert '"level":"error"' not in text
    assert told.count("ending") == told.count("end") == 1
    assert "Traceback" not in server.errors.read_text()


def test_a_client_that_reads_slowly_gets_all_of_its_answer_after_the_signal(tmp_path: Path) -> None:
    with RunningServer(tmp_path, MINIMON_RATE_LIMIT_PER_MIN="0") as server, ExitStack() as stack:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = stack.enter_context(socket.socket())
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", server.https_port))
        line = stack.enter_context(context.wrap_socket(plain))
        line.settimeout(PATIENCE)
        line.sendall(b"GET /v1/generate?rarity=S HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
        server.wait_for_log('"path":"/v1/generate"')
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log('"event":"ending"')
        received = bytearray()
        while piece := line.recv(4096):
            received += piece
        whole = 0
        while received:
            head, _, rest = received.partition(b"\r\n\r\n")
            length = int(re.findall(rb"content-length: (\d+)", head)[0])
            assert len(rest) >= length
            received, whole = rest[length:], whole + 1
        assert whole == server.log.read_text().count('"path":"/v1/generate"')
        assert server.process.wait(PATIENCE) == 0
