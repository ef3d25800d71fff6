"""Shows where the server's time goes while it answers one kind of request; compares it with nobody.

py-spy reads the stacks of the running process from outside, with those of C code. Each sample
belongs to the owner of its innermost known frame, so the shares of the owners add up to 100 %.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import contenders, load
from bench.errors import BenchError, ToolMissingError
from bench.load import Load, Shape
from bench.plan import Stage
from bench.processes import running

SAMPLES_PER_SECOND = 200
LEAD_SECONDS = 2
TOP = 15
FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^():]*)(?::\d+)?\)$")
SYSTEM_CALLS = {"write", "writev", "send", "sendto", "sendmsg", "read", "readv", "recv", "recvfrom", "recvmsg"}
WAITING = {
    "clock_nanosleep",
    "epoll_pwait",
    "epoll_wait",
    "fdatasync",
    "fsync",
    "pthread_cond_timedwait",
    "pthread_cond_wait",
    "PyThread_acquire_lock_timed",
    "sem_wait",
    "take_gil",
    "time_sleep",
}
OURS = re.compile(r"(?:.*/)?(minimon_server/.*\.py|gen-server\.py)$")
OWNERS = (
    (re.compile(r"libcrypto.*"), re.compile(r"EVP_.*"), "TLS: OpenSSL, encrypting"),
    (re.compile(r"lib(ssl|crypto).*|_ssl\.c.*|(.*/)?ssl\.py"), None, "TLS: OpenSSL, records and copies"),
    (re.compile(r"(loop|stream|core|linux|loop-watcher|tcp|timer)\.[ch]|.*uvloop.*"), None, "uvloop"),
    (re.compile(r"parser\.c|llhttp\.c|.*httptools/.*"), None, "httptools"),
    (re.compile(r"(.*/)?cryptography/.*|_rust\..*"), None, "cryptography: signing"),
    (re.compile(r"(.*/)?rfc8785/.*"), None, "rfc8785"),
    (re.compile(r".*sqlite.*|(connection|cursor|statement)\.c"), None, "SQLite"),
    (re.compile(r"(.*/)?uvicorn/.*"), None, "uvicorn"),
    (re.compile(r"(.*/)?starlette/.*"), None, "starlette"),
    (re.compile(r"(.*/)?(logging|structlog)/.*"), None, "logging library"),
    (re.compile(r"orjson.*|_json\.c.*|(.*/)?json/.*"), None, "JSON library"),
)


@dataclass(frozen=True)
class Shares:
    """Shares of all samples: by owner (they add up to 1), and by function of ours with all it calls.

    Samples of threads that only waited are counted apart: they cost no processor time.
    """

    samples: int
    waiting: int
    owners: tuple[tuple[str, float], ...]
    functions: tuple[tuple[str, float], ...]


def measure(stage: Stage, seconds: int, shape: Shape) -> str:
    """Run ours under load of this shape, sample it, and return the shares as Markdown."""
    tool, ours = _find(), contenders.ours(stage)
    load.find()
    stacks = stage.folder / "stacks.txt"
    with running(ours.program, ours.ready, stage.cores.server) as server, ThreadPoolExecutor(1) as pool:
        url = ours.url(shape.path)
        load.run(ours.name, url, LEAD_SECONDS, stage.cores.load, shape)
        pressing = pool.submit(load.run, ours.name, url, seconds + 2 * LEAD_SECONDS, stage.cores.load, shape)
        _sample(tool, server.pid, seconds, stacks)
        done = pressing.result()
    shares = count(stacks.read_text("utf-8", "replace").splitlines())
    if not shares.samples:
        raise BenchError("py-spy saw no samples")
    return _render(shares, done)


def count(stacks: Iterable[str]) -> Shares:
    """Add up stacks written as `outer;...;inner number`."""
    owners: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    waiting = 0
    for line in stacks:
        frames, _, number = line.rpartition(" ")
        stack = frames.split(";")
        if any(_function(frame) in WAITING for frame in stack):
            waiting += int(number)
            continue
        owners[owner(stack)] += int(number)
        for function in {name for frame in stack if (name := _ours(frame)) is not None}:
            functions[function] += int(number)
    samples = owners.total()
    return Shares(
        samples,
        waiting,
        tuple((name, number / samples) for name, number in owners.most_common()),
        tuple((name, number / samples) for name, number in functions.most_common(TOP)),
    )


def owner(stack: list[str]) -> str:
    """Return to whom the innermost known frame of a stack belongs."""
    found = next((name for frame in reversed(stack) if (name := _known(frame, stack))), "interpreter")
    if not _is_system_call(stack[-1]):
        return found
    return "kernel: sockets" if found == "uvloop" else f"{found}, in system calls"


def _known(frame: str, stack: list[str]) -> str | None:
    parts = FRAME.match(frame)
    if parts is None:
        return None
    for file, function, name in OWNERS:
        if file.fullmatch(parts["file"]) and (function is None or any(map(function.match, stack))):
            return name
    ours = OURS.match(parts["file"])
    return f"ours: {ours[1]}" if ours else None


def _function(frame: str) -> str:
    parts = FRAME.match(frame)
    return parts["function"] if parts else ""


def _is_system_call(frame: str) -> bool:
    parts = FRAME.match(frame)
    return parts is not None and parts["file"].startswith("libc") and parts["function"].strip("_") in SYSTEM_CALLS


def _ours(frame: str) -> str | None:
    parts = FRAME.match(frame)
    ours = OURS.match(parts["file"]) if parts else None
    return f"{ours[1]}: {parts['function']}" if parts and ours else None


def _find() -> str:
    path = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")
    if path is None:
        raise ToolMissingError("py-spy is missing; install it with: pip install -r bench/requirements.txt")
    return path


def _sample(tool: str, pid: int, seconds: int, stacks: Path) -> None:
    argv = [tool, "record", "--native", "--format", "raw", "--rate", str(SAMPLES_PER_SECOND)]
    argv += ["--duration", str(seconds), "--output", str(stacks), "--pid", str(pid)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0 or not stacks.exists():
        raise BenchError(f"py-spy ended with status {done.returncode} (it may need root): {done.stderr}")


def _render(shares: Shares, done: Load) -> str:
    lines = [
        f"{shares.samples:,} samples of working threads, at {SAMPLES_PER_SECOND} a second ({shares.waiting:,} of "
        f"waiting ones left out), Python {sys.version.split()[0]}, under {done.per_second:,.0f} answers a second "
        "(sampling slows the server down).",
        "",
        "| owner of the innermost frame | share |",
        "| --- | ---: |",
        *(f"| {name} | {share:.1%} |" for name, share in shares.owners if share >= 0.001),
        "",
        "| function of ours, with all it calls | share |",
        "| --- | ---: |",
        *(f"| {name} | {share:.1%} |" for name, share in shares.functions),
    ]
    return "\n".join(lines) + "\n"
