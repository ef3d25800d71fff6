"""How our server and its peers that draw are started, all with one small pipeline, one core, one thread of torch.

Measures nothing.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cores import pinned
from bench.errors import BenchError
from bench.job_wish import MODEL
from bench.plan import Stage
from bench.ports import free_port
from bench.processes import Program

OURS, RAW, LITSERVE = "ours", "raw calls in a loop", "LitServe"
# One thread for all: what OpenMP does with one core and several threads is not what is measured.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
END_SECONDS = 10.0
LOAD_SECONDS = 120.0


@dataclass(frozen=True)
class Places:
    """Where one server keeps its files."""

    folder: Path

    @property
    def journal(self) -> Path:
        """The journal of its jobs."""
        return self.folder / "jobs.sqlite"

    def settings(self, stage: Stage, port: int) -> dict[str, str]:
        """Return the settings of a server that listens on `port` for HTTP and keeps everything here."""
        pair = stage.certificate
        return {
            "MINIMON_PORT": str(free_port()),
            "MINIMON_HTTP_PORT": str(port),
            "MINIMON_RATE_LIMIT_PER_MIN": "0",
            "MINIMON_SHUTDOWN_GRACE": "1",
            "MINIMON_TLS_CERT_PATH": str(pair.certificate),
            "MINIMON_TLS_KEY_PATH": str(pair.key),
            "MINIMON_SIGNING_KEY_PATH": str(self.folder / "signing_key.pem"),
            "MINIMON_SIGNING_CERT_PATH": str(self.folder / "signing_cert.pem"),
            "MINIMON_CHECKPOINT_KEY_PATH": str(self.folder / "checkpoint_key.pem"),
            "MINIMON_SCORE_LEDGER_PATH": str(self.folder / "scores.jsonl"),
            "MINIMON_HASHES_PATH": str(self.folder / "hashes.json"),
            "MINIMON_JOBS_PATH": str(self.journal),
            "MINIMON_OUTPUT_DIR": str(self.folder / "outputs"),
        }


def ours(stage: Stage, places: Places, models: Path) -> Program:
    """The server itself, drawing with the pipelines below `models`."""
    places.folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    env = {**places.settings(stage, port), **THREADS, "MINIMON_MODELS_DIR": str(models), "MINIMON_DEVICE": "cpu"}
    return Program(OURS, (sys.executable, "gen-server.py"), port, stage.root, places.folder / "log", env)


def crayon(stage: Stage, places: Places, step_seconds: float, extra: Mapping[str, str]) -> Program:
    """The server with the tests' crayon for an engine, which takes `step_seconds` for a step."""
    places.folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    env = {**places.settings(stage, port), "CRAYON_STEP_SECONDS": str(step_seconds), **extra}
    argv = (sys.executable, "-m", "tests.e2e.drawing_server")
    return Program(OURS, argv, port, stage.root, places.folder / "log", env)


def litserve(stage: Stage, folder: Path) -> Program:
    """The obvious LitServe program."""
    port = free_port()
    argv = (sys.executable, "-m", "bench.peers.litserve_pipeline", str(folder), str(port))
    return Program(LITSERVE, argv, port, stage.root, stage.folder / "litserve.log", THREADS)


def listening(port: int) -> bool:
    """Return whether somebody answers `/health` on this port of 127.0.0.1 with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (TimeoutError, OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def build_model(stage: Stage) -> Path:
    """Write the small pipeline, and return the folder that holds its folder."""
    models = stage.folder / "models"
    argv = (sys.executable, "-m", "bench.peers.raw_pipeline", "build", str(models / MODEL))
    try:
        done = subprocess.run(argv, cwd=stage.root, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        told = (error.stderr or b"").decode("utf-8", "replace")[-2000:]  # bytes, whatever `text` says
        raise BenchError(f"the small pipeline could not be built within {LOAD_SECONDS:g} s:\n{told}") from None
    if done.returncode != 0:
        raise BenchError(f"the small pipeline could not be built:\n{done.stderr[-2000:]}")
    return models


class Raw:
    """The process that calls the pipeline in a loop."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def draw(self, seeds: list[int]) -> list[tuple[float, bytes]]:
        """Draw a picture for each seed, and return for each the seconds it took there, and the PNG."""
        asked, told = self._process.stdin, self._process.stdout
        if asked is None or told is None:
            raise BenchError("the loop of raw calls has no pipes")
        asked.write("".join(f"{seed}\n" for seed in seeds))
        asked.flush()
        answers = [self.answer() for _ in seeds]
        return [(float(one["seconds"]), base64.b64decode(one["png"])) for one in answers]

    def answer(self) -> dict[str, Any]:
        """Return the next line it writes."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise BenchError(f"the loop of raw calls ended with status {self._process.poll()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def raw_calls(stage: Stage, folder: Path) -> Iterator[Raw]:
    """Start the loop, wait until its pipeline is loaded, and end it on the way out."""
    argv = (sys.executable, "-m", "bench.peers.raw_pipeline", "serve", str(folder))
    with (stage.folder / "raw.log").open("wb") as errors, pinned(stage.cores.server):
        process = subprocess.Popen(
            argv,
            cwd=stage.root,
            env={**os.environ, **THREADS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        raw = Raw(process)
        raw.answer()
        yield raw
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
