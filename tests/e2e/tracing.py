"""strace: what a server asks of the kernel, written down, or answered falsely. Knows no score, tests nothing."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.running import HOME, PATIENCE

SERVER = [sys.executable, str(HOME / "gen-server.py")]
CHANGES = "openat,write,pwrite64,writev,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat"
ANSWERS = "sendto,sendmsg"

_LINE = re.compile(r"(?P<thread>\d+) +(?P<rest>.*)", re.DOTALL)
_CALL = re.compile(r"(?P<name>\w+)\((?P<told>.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<told>.*)", re.DOTALL)
_RESULT = re.compile(r"\) += (?P<result>-?\d+|\?)[^=]*$")


@functools.cache
def _is_usable() -> bool:
    """Whether strace is there, and may trace: a container may forbid it."""
    if not shutil.which("strace"):
        return False
    done = subprocess.run(["strace", "-D", "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return done.returncode == 0


def needs_strace() -> pytest.MarkDecorator:
    usable = os.environ.get("CI") == "true" or _is_usable()
    return pytest.mark.skipif(not usable, reason="strace is not installed here, or may not trace")


@dataclass(frozen=True)
class Fault:
    """One call that goes wrong: the nth of its name on a file, counted in the thread that makes it."""

    call: str
    path: Path
    nth: int
    how: str  # as strace has it: error=EIO, retval=3, signal=KILL

    @property
    def options(self) -> list[str]:
        inject = f"inject={self.call}:{self.how}:when={self.nth}"
        # Not with seccomp: strace 6.1 then forgets to send any signal but the first.
        fast = [] if self.how.startswith("signal") else ["--seccomp-bpf"]
        return [*fast, "-P", str(self.path), "-e", f"trace={self.call}", "-e", inject]


def tracer(trace: Path, *options: str) -> list[str]:
    """Return what stands before a command to trace it; the process that is started is the command itself (-D)."""
    return ["strace", "-D", "-f", "-y", "-q", "-s", "120", "-o", str(trace), *options]


def under_strace(trace: Path, *options: str) -> list[str]:
    """Return the command of a server under strace."""
    return [*tracer(trace, *options), *SERVER]


@dataclass(frozen=True)
class Call:
    """One call as it was seen: where in the trace it began and ended, who made it, and what was said."""

    began: int
    ended: int
    thread: int
    name: str
    told: str  # arguments and result
    result: int | None  # None where the kernel never said

    @property
    def injected(self) -> bool:
        return "(INJECTED)" in self.told


def calls(text: str) -> Iterator[Call]:
    """Yield the calls of a trace by their beginning, the two halves of those that others interrupted put together."""
    open_calls: dict[int, tuple[int, str, str]] = {}
    found = []
    for number, line in enumerate(text.splitlines()):
        split = _LINE.fullmatch(line)
        if not split:
            continue
        thread, rest = int(split["thread"]), split["rest"]
        if resumed := _RESUMED.match(rest):
            if thread not in open_calls:
                continue
            began, name, told = open_calls.pop(thread)
            told += resumed["told"]
        elif begun := _CALL.match(rest):
            began, name, told = number, begun["name"], begun["told"]
            if told.endswith("<unfinished ...>"):
                open_calls[thread] = (began, name, told.removesuffix("<unfinished ...>"))
                continue
        else:
            continue
        found.append(Call(began, number, thread, name, told, _result(told)))
    # Calls that were never finished: the process was killed in them.
    found += [Call(began, sys.maxsize, thread, name, told, None) for thread, (began, name, told) in open_calls.items()]
    return iter(sorted(found, key=lambda call: call.began))


def lies_between(call: Call, after: Call, before: Call) -> bool:
    """Return whether a call began after one had ended, and had ended when another began."""
    return after.ended < call.began and call.ended < before.began


def _result(told: str) -> int | None:
    found = _RESULT.search(told)
    return int(found["result"]) if found and found["result"] != "?" else None


def whole_trace(trace: Path, process: int) -> str:
    """Return the trace of a process that has ended, once its tracer has written the end too."""
    deadline = time.monotonic() + PATIENCE
    while True:
        text = trace.read_text("utf-8", "replace")
        if re.search(rf"^{process} +\+\+\+ (exited|killed)", text, re.MULTILINE):
            return text
        assert time.monotonic() < deadline, f"no end in {trace}: {text[-500:]}"
        time.sleep(0.02)
