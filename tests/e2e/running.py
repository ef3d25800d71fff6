"""A real server process for the end-to-end tests: started as a user starts it, ended by a signal."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from bench.ports import free_port
from tests.e2e.asking import ask

HOME = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses now."""
    return [free_port() for _ in range(count)]


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without any setting of ours, plus `extra`."""
    ours = ("MINIMON_", "LOG_", "OPENAI_", "SDXL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | dict(extra)


def files_in(folder: Path) -> dict[str, str]:
    """Return the settings that put every file of a server into `folder`: two of them never share a ledger."""
    return {
        "MINIMON_TLS_CERT_PATH": str(folder / "certs" / "cert.pem"),
        "MINIMON_TLS_KEY_PATH": str(folder / "certs" / "key.pem"),
        "MINIMON_SIGNING_KEY_PATH": str(folder / "certs" / "app_signing_key.pem"),
        "MINIMON_SIGNING_CERT_PATH": str(folder / "certs" / "app_signing_cert.pem"),
        "MINIMON_CHECKPOINT_KEY_PATH": str(folder / "certs" / "app_checkpoint_key.pem"),
        "MINIMON_SCORE_LEDGER_PATH": str(folder / "data" / "certified_scores.jsonl"),
        "MINIMON_HASHES_PATH": str(folder / "data" / "hashes.json"),
        "MINIMON_JOBS_PATH": str(folder / "jobs" / "jobs.sqlite"),
        "MINIMON_STOCK_DIR": str(folder / "stock"),
        "MINIMON_COMPILE_DIR": str(folder / "compiled"),
        "MINIMON_OUTPUT_DIR": str(folder / "jobs" / "outputs"),
    }


def run_to_end(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and return what it said."""
    command = [sys.executable, str(HOME / "gen-server.py"), *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(files_in(cwd) | environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class RunningServer:
    """A server in a process of its own; `with` starts it, waits until it answers, and ends it with SIGTERM."""

    def __init__(self, cwd: Path, command: Sequence[str] | None = None, **environ: str) -> None:
        self.https_port, self.http_port = free_ports(2)
        self.cwd = cwd
        self._command = list(command or [sys.executable, str(HOME / "gen-server.py")])
        self.environ = {
            "MINIMON_PORT": str(self.https_port),
            "MINIMON_HTTP_PORT": str(self.http_port),
            **files_in(cwd),
        } | environ
        self.log = cwd / "stdout"
        self.errors = cwd / "stderr"

    @property
    def https(self) -> str:
        """The address of the HTTPS listener."""
        return f"https://localhost:{self.https_port}"

    @property
    def http(self) -> str:
        """The address of the HTTP listener."""
        return f"http://localhost:{self.http_port}"

    def client(self) -> httpx2.Client:
        """Return a client that trusts the certificate that the server has made, and no other."""
        context = ssl.create_default_context(cafile=self.cwd / "certs" / "cert.pem")
        return httpx2.Client(base_url=self.https, verify=context, timeout=PATIENCE, trust_env=False)

    def wait_for_log(self, fragment: str) -> str:
        """Return the log once it contains `fragment`: it is written a moment after what it tells of."""
        deadline = time.monotonic() + PATIENCE
        while fragment not in (text := self.log.read_text("ascii")):
            assert time.monotonic() < deadline, f"not logged: {fragment}"
            time.sleep(0.01)
        return text

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        with self.log.open("wb") as out, self.errors.open("wb") as err:
            self.process = subprocess.Popen(
                self._command, cwd=self.cwd, env=clean_environment(self.environ), stdout=out, stderr=err
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended at once: {self.errors.read_text()}")
            try:
                ask("GET", f"{self.http}/health", timeout=PATIENCE).raise_for_status()
            except httpx2.TransportError:
                time.sleep(0.02)
            else:
                return self
        self.process.kill()
        raise AssertionError("the server did not answer in time")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.end()
