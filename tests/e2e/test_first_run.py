"""The first minutes of a new user: start, look, copy the line, stop; and the mistakes that people make."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minimon_server.engines.files import png_size
from minimon_server.environment import variables
from tests.e2e.asking import ask
from tests.e2e.running import HOME, PATIENCE, RunningServer, clean_environment, files_in, free_ports, run_to_end
from tests.support import write_pictures

needs_curl = pytest.mark.skipif(
    not shutil.which("curl") and os.environ.get("CI") != "true", reason="curl is not installed here"
)


def test_a_first_start_makes_a_certificate_and_says_where_to_look(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        key, certificate = tmp_path / "certs" / "key.pem", tmp_path / "certs" / "cert.pem"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(certificate.stat().st_mode) == 0o644
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "certs").iterdir()} == {
            "cert.pem": 0o644,
            "key.pem": 0o600,
            "app_signing_cert.pem": 0o644,
            "app_signing_key.pem": 0o600,
            "app_checkpoint_key.pem": 0o600,
        }
        with server.client() as client:
            body = client.get("/v1/generate").json()
        assert png_size(base64.b64decode(body["imageBase64"])) == (512, 512)
        assert ask("GET", f"{server.http}/v1/generate").status_code == 200
        said = server.errors.read_text()
        assert f"https://localhost:{server.https_port}" in said
        assert f"http://localhost:{server.http_port}" in said
        assert server.end() == 0
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        assert [line["event"] for line in lines if line["event"] != "request"] == [
            *["acceleration"] * 7,  # what is chosen to draw faster, each with its reason
            "keys",
            "keys",
            "start",
            "ledger open",
            "listening",
            "ending",
            "end",
        ]
    fingerprint = certificate.read_bytes()
    with RunningServer(tmp_path):
        assert certificate.read_bytes() == fingerprint


def test_two_first_starts_at_once_share_one_certificate(tmp_path: Path) -> None:
    shared = {"MINIMON_TLS_CERT_PATH": "certs/cert.pem", "MINIMON_TLS_KEY_PATH": "certs/key.pem"}
    servers = []
    for ports in (free_ports(2), free_ports(2)):
        own = files_in(tmp_path / str(ports[0])) | shared  # of the scores and their ledger: one server, one ledger
        environ = own | {"MINIMON_PORT": str(ports[0]), "MINIMON_HTTP_PORT": str(ports[1])}
        command = [sys.executable, str(HOME / "gen-server.py")]
        started = subprocess.Popen(
            command, cwd=tmp_path, env=clean_environment(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        servers.append((started, ports[0]))
    said = []
    for started, _ in servers:
        assert started.stdout
        for line in started.stdout:
            if b'"event":"listening"' in line:
                break
    served = {ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE).strip() for _, port in servers}
    assert served == {(tmp_path / "certs" / "cert.pem").read_text().strip()}
    for started, _ in servers:
        started.terminate()
        said.append(started.communicate(timeout=PATIENCE)[1])
        assert started.returncode == 0, said
    assert b"".join(said).count(b"Made a self-signed certificate") == 1


@needs_curl
def test_the_line_that_the_server_prints_works_as_printed(tmp_path: Path) -> None:
    with RunningServer(tmp_path, MINIMON_BEARER_TOKEN="s3sam") as server:
        (line,) = [line for line in server.errors.read_text().splitlines() if "curl" in line]
        environ = clean_environment({"MINIMON_BEARER_TOKEN": "s3sam"})
        subprocess.run(line, shell=True, cwd=tmp_path, env=environ, check=True, timeout=PATIENCE, capture_output=True)
        assert png_size((tmp_path / "creature.png").read_bytes()) == (512, 512)


@needs_curl
def test_the_documents_own_lines_work_as_written(tmp_path: Path) -> None:
    with RunningServer(tmp_path, MINIMON_BEARER_TOKEN="mytoken") as server:
        port = f"localhost:{server.https_port}"
        bare = ["curl", "-s", f"https://{port}/v1/generate", "-k"]
        refused = json.loads(subprocess.run(bare, capture_output=True, check=True, timeout=PATIENCE).stdout)
        assert refused["code"] == "UNAUTHORIZED"
        line = ["curl", "-s", "-H", "Authorization: Bearer mytoken", f"https://{port}/v1/generate", "-k"]
        answer = json.loads(subprocess.run(line, capture_output=True, check=True, timeout=PATIENCE).stdout)
        assert png_size(base64.b64decode(answer["imageBase64"])) == (512, 512)


def test_it_runs_from_any_folder_with_paths_where_people_expect_them(tmp_path: Path) -> None:
    write_pictures(tmp_path / "mine", 2)
    with RunningServer(tmp_path, MINIMON_IMAGES_DIR="mine", MINIMON_MAX_INDEX="1") as server, server.client() as client:
        assert png_size(client.get("/v1/generate", headers={"Accept": "image/png"}).content) == (4, 4)


def test_uvicorn_can_serve_it_too(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "gen_server:app", "--app-dir", str(HOME), "--port", str(port)]
    server = RunningServer(tmp_path, command)
    server.http_port = port
    with server:
        assert ask("GET", f"{server.http}/v1/generate").status_code == 200
    lines = [line for line in server.log.read_text().splitlines() if "/v1/generate" in line]
    assert len(lines) == 1
    assert "/v1/generate" not in server.errors.read_text()


def test_nothing_heavy_is_imported_for_the_static_backend(tmp_path: Path) -> None:
    program = "import sys, gen_server; gen_server.app; print(*sorted(m for m in sys.modules if '.' not in m))"
    environ = clean_environment(files_in(tmp_path) | {"PYTHONPATH": str(HOME)})
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    assert "starlette" in modules
    heavy = {"torch", "diffusers", "transformers", "torchao", "peft", "numpy", "PIL", "skia", "openai", "httpx"}
    heavy |= {"httpx2", "httpcore2", "truststore"}
    assert not modules & heavy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    # An idle connection does not hold the end up, though its client never says goodbye: nothing else here ends in time.
    with RunningServer(tmp_path, MINIMON_SHUTDOWN_GRACE="3600") as server:
        with server.client() as client:
            assert client.get("/health").status_code == 200
            assert server.end(number) == 0
        assert "Traceback" not in server.errors.read_text() + server.log.read_text()


def test_a_signal_lets_a_running_request_finish(tmp_path: Path) -> None:
    with RunningServer(tmp_path, LOG_REQUEST_BODY="1") as server:
        # With bodies logged, an answer waits for the body: its absence holds the request open.
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE) as line:
            line.sendall(b"POST /v1/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
            assert ask("GET", f"{server.http}/health").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            assert '"status":405' not in server.wait_for_log('"event":"ending"')
            line.sendall(b"cd")
            assert line.recv(65536).startswith(b"HTTP/1.1 405")
        assert server.process.wait(PATIENCE) == 0


def test_a_port_that_is_taken_is_told_by_its_setting(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        (other,) = free_ports(1)
        second = tmp_path / "second"
        second.mkdir()
        done = run_to_end(cwd=second, MINIMON_PORT=str(server.https_port), MINIMON_HTTP_PORT=str(other))
        assert done.returncode == 1
        assert f"port {server.https_port}" in done.stderr
        assert "MINIMON_PORT" in done.stderr
        assert "Traceback" not in done.stderr


def test_mistakes_stop_the_start_with_one_line_each(tmp_path: Path) -> None:
    done = run_to_end(cwd=tmp_path, MINIMON_PORT="http", LOG_LEVEL="LOUD", MINIMON_BEARER_TOKEN=" hush")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["MINIMON_PORT", "MINIMON_BEARER_TOKEN", "LOG_LEVEL"]
    assert "hush" not in done.stderr
    assert done.stdout == ""


def test_missing_pictures_are_all_named(tmp_path: Path) -> None:
    done = run_to_end("--check", cwd=tmp_path, MINIMON_IMAGES_DIR="nowhere")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 6
    assert all(f"nowhere/image_0{index}.png: no such file" in done.stderr for index in range(6))


def test_check_makes_nothing_and_starts_nothing(tmp_path: Path) -> None:
    paths = {"MINIMON_TLS_CERT_PATH": "c/cert.pem", "MINIMON_TLS_KEY_PATH": "c/key.pem"}
    done = run_to_end("--check", cwd=tmp_path, MINIMON_RATELIMIT="9", **paths)
    assert done.returncode == 0, done.stderr
    assert "will make them" in done.stderr
    assert "MINIMON_RATELIMIT is not a setting" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_half_a_certificate_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("x")
    paths = {"MINIMON_TLS_CERT_PATH": "cert.pem", "MINIMON_TLS_KEY_PATH": "key.pem"}
    for arguments in ([], ["--check"]):
        done = run_to_end(*arguments, cwd=tmp_path, **paths)
        assert done.returncode == 2
        assert "key.pem is missing while" in done.stderr


def test_help_tells_every_setting(tmp_path: Path) -> None:
    done = run_to_end("--help", cwd=tmp_path)
    assert done.returncode == 0
    for variable in variables():
        assert variable.name in done.stdout
        assert variable.default in done.stdout
    assert run_to_end("--version", cwd=tmp_path).stdout.startswith("Minimon ")
    assert run_to_end("--nonsense", cwd=tmp_path).returncode == 2


def test_a_missing_package_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    command = [sys.executable, "-S", str(HOME / "gen-server.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "make run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_only_remote_names_need_is_told_too(tmp_path: Path) -> None:
    program = "import sys; sys.modules['httpx2'] = None; import gen_server; sys.exit(gen_server.main([]))"
    environ = clean_environment({"PYTHONPATH": str(HOME), "MINIMON_NAME_BACKEND": "remote"})
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "'httpx2'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bind_beyond_this_machine_without_a_token_warns(tmp_path: Path) -> None:
    with RunningServer(tmp_path, MINIMON_HOST="0.0.0.0") as server:
        assert "WARNING" in server.errors.read_text()
        assert '"level":"warning"' in server.log.read_text()
    (tmp_path / "two").mkdir()
    with RunningServer(tmp_path / "two", MINIMON_HOST="0.0.0.0", MINIMON_BEARER_TOKEN="t") as server:
        assert "WARNING" not in server.errors.read_text()


def test_text_logs_are_text(tmp_path: Path) -> None:
    with RunningServer(tmp_path, LOG_JSON="0") as server:
        server.end()
        line = next(line for line in server.log.read_text().splitlines() if "path=/health" in line)
        assert re.fullmatch(
            r"\S+Z info    request id=\w{16} method=GET path=/health status=200 ms=[\d.]+ client=\S+", line
        )


def test_a_second_signal_ends_it_whoever_does_not_read(tmp_path: Path) -> None:
    with RunningServer(tmp_path, MINIMON_RATE_LIMIT_PER_MIN="0", MINIMON_SHUTDOWN_GRACE="3600") as server:
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=PATIENCE) as line:
            line.sendall(b"GET /v1/generate HTTP/1.1\r\nHost: x\r\n\r\n" * 60)
            server.wait_for_log('"path":"/v1/generate"')
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log('"event":"ending"')
            assert server.end(signal.SIGINT) == 0
        assert "Traceback" not in server.errors.read_text()


def test_starting_without_standard_output_is_no_mistake(tmp_path: Path) -> None:
    paths = {"MINIMON_TLS_CERT_PATH": "c/cert.pem", "MINIMON_TLS_KEY_PATH": "c/key.pem"}
    command = f"exec {sys.executable} {HOME / 'gen-server.py'} --check >&- 2>/dev/full"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=clean_environment(paths), timeout=PATIENCE, check=False
    )
    assert done.returncode == 0


def test_check_says_when_the_certificate_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("in the way")
    done = run_to_end("--check", cwd=tmp_path, MINIMON_TLS_CERT_PATH="c/cert.pem", MINIMON_TLS_KEY_PATH="c/key.pem")
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_a_host_that_is_not_here_is_told_by_its_own_name(tmp_path: Path) -> None:
    certificate = {"MINIMON_TLS_CERT_PATH": "cert.pem", "MINIMON_TLS_KEY_PATH": "key.pem"}
    done = run_to_end(cwd=tmp_path, MINIMON_HOST="192.0.2.77", **certificate)
    assert done.returncode == 1
    assert "MINIMON_HOST" in done.stderr
