"""Starting a real, trivial server, waiting for it, and ending it; nothing here is timed."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import cores, proc, processes
from bench.errors import BenchError
from bench.ports import free_port
from bench.processes import Program, running, standing_still

PATIENCE = 60.0
LISTEN = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(os.environ.get("MINIMON_TEST"), os.environ.get("MINIMON_LEFT_OVER"), os.sched_getaffinity(0), flush=True)
while True:
    server.accept()[0].close()
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Program]:
    def program(code: str) -> Program:
        port = free_port()
        argv = (sys.executable, "-S", "-c", code, str(port))
        return Program("trivial", argv, port, tmp_path, tmp_path / "output.log", {"MINIMON_TEST": "given"})

    return program


def test_a_server_is_started_pinned_and_ended(make: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMON_LEFT_OVER", "yes")
    before, core = os.sched_getaffinity(0), cores.choose().server
    program = make(LISTEN)
    with running(program, listens, core) as server:
        assert alive(server.pid)
        assert listens(program.port)
        assert server.ready_seconds > 0
        assert proc.family(server.pid) == [server.pid]
        assert proc.memory(server.pid).rss_kib > 1000
        assert proc.cpu_seconds(server.pid) >= 0
    assert not alive(server.pid)
    assert not listens(program.port)
    assert os.sched_getaffinity(0) == before
    assert program.output.read_text("utf-8") == f"given None {{{core}}}\n"


def test_a_server_is_ended_when_the_measurement_fails(make: Callable[[str], Program]) -> None:
    started = []

    def measure() -> None:
        with running(make(LISTEN), listens) as server:
            started.append(server.pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure()
    assert not alive(started[0])


def test_a_child_that_a_server_forgets_does_not_outlive_it(make: Callable[[str], Program]) -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n" + LISTEN
    program = make(code)
    with running(program, listens) as server:
        child = int(program.output.read_text("utf-8").split()[0])
        assert proc.family(server.pid) == [server.pid, child]
    until = time.monotonic() + 10
    while _runs(child):  # a killed process is gone a moment later
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(make: Callable[[str], Program]) -> None:
    with (
        pytest.raises(BenchError, match=r"(?s)trivial ended with status 7.*last words"),
        running(make("import sys; print('last words', flush=True); sys.exit(7)"), listens),
    ):
        pytest.fail("it never answered")


def test_a_server_that_never_answers_and_will_not_end_is_killed(
    make: Callable[[str], Program], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "START_LIMIT_SECONDS", 0.5)
    monkeypatch.setattr(processes, "STOP_LIMIT_SECONDS", 0.2)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\n"
    program = make(f"{stubborn}while True: time.sleep(60)")
    with (
        pytest.raises(BenchError, match="no answer within"),
        running(program, lambda port: listens(port) if "deaf" in program.output.read_text("utf-8") else False),
    ):
        pytest.fail("it never answered")
    assert "killed" in capsys.readouterr().err


def test_a_server_stands_still_with_all_its_processes(make: Callable[[str], Program]) -> None:
    busy = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', 'while True: pass'])\n"
    with running(make(busy + LISTEN), listens) as server:
        both = proc.family(server.pid)
        assert len(both) == 2
        with standing_still([server]):
            _until(lambda: [_state(pid) for pid in both] == ["T", "T"])
            before = proc.cpu_seconds(server.pid)
        _until(lambda: proc.cpu_seconds(server.pid) > before)


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
