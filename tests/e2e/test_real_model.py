"""Remote names from a server program that others wrote: llama.cpp's, with random weights made on the spot."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from minimon_server.creatures.name_parser import allowed
from tests.e2e.running import HOME, PATIENCE, RunningServer, clean_environment, free_ports

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("xllamacpp") and os.environ.get("CI") != "true", reason="xllamacpp is not installed"
)

RIGHT = r'root ::= "{\"name\": \"" [A-Z] [a-z]{3,9} "\"}"'
NOT_A_NAME = r'root ::= "{\"name\": \"name\"}"'


@contextmanager
def served(folder: Path, *grammar: str) -> Iterator[str]:
    """Serve the model in a process of its own; give what OPENAI_BASE_URL holds."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.e2e.tiny_model", str(folder), str(port), *grammar]
    with (folder / "model").open("wb") as out:
        process = subprocess.Popen(command, cwd=HOME, env=clean_environment({}), stdout=out, stderr=out)
        try:
            transport = httpx2.HTTPTransport(retries=8)  # each one waits longer than the one before
            with httpx2.Client(transport=transport, timeout=PATIENCE, trust_env=False) as client:
                assert client.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait(PATIENCE)


@pytest.mark.parametrize(
    ("grammar", "remote"), [((RIGHT,), True), ((NOT_A_NAME,), False), ((), None)], ids=["right", "name", "noise"]
)
def test_names_come_from_it(tmp_path: Path, grammar: tuple[str, ...], remote: bool | None) -> None:
    with served(tmp_path, *grammar) as url:
        environ = {"MINIMON_NAME_BACKEND": "remote", "OPENAI_BASE_URL": url, "LOG_REMOTE_CONTENT": "1"}
        with RunningServer(tmp_path, **environ) as server:
            with server.client() as client:
                names = [client.get("/v1/generate").json()["metadata"]["name"] for _ in range(8)]
            assert server.end() == 0
            log = server.log.read_text()
    assert all(allowed(name) == name for name in names)
    # Every refusal is one of what the model wrote: the two programs understood each other each time.
    refusals = ("no name in the answer that may be shown", "an answer without a text")
    told = "".join(line for line in log.splitlines() if '"event":"acceleration"' not in line)
    assert told.count('"reason":') == sum(map(log.count, refusals))
    if remote is not None:
        assert log.count('"name_from":"remote"') == (8 if remote else 0)
        assert log.count("no name in the answer that may be shown") == (0 if remote else 8)
    if remote:
        assert all(re.fullmatch("[A-Z][a-z]{3,9}", name) for name in names)
        assert len(set(names)) > 1
