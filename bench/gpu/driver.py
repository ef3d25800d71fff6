"""Runs the tasks of a plan one after the other, each in its own process, and gathers what they found. Times nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench.gpu import card
from bench.gpu.plan import PEAKS, SERVER, Plan
from bench.gpu.rows import Found, Left, Lines, read
from minimon_server.engines.compiled_files import place_compiled

ROOT: Final = Path(__file__).resolve().parents[2]
Serve = Callable[[Plan, Path, Lines], None]
Keep = Callable[[Found], None]


def run(plan: Plan, folder: Path, serve: Serve, tell: Callable[[str], None], keep: Keep = lambda found: None) -> Found:
    """Run every task; `serve` measures the server, `tell` hears what is begun. A task that fails ends no other.

    `keep` gets what was found so far after every task, and what a task had found when the run was interrupted.
    """
    found, kept = Found(), folder / "plan.json"
    plan.write(kept)
    sampled: dict[str, dict[str, str]] = {}
    for number, task in enumerate(plan.tasks):
        tell(f"measuring: {task}")
        began, lines, clocks = time.monotonic(), folder / f"{number}.jsonl", dict[str, str]()
        try:
            with card.clocks(folder / f"{number}.csv") as clocks:
                if task == SERVER:
                    serve(plan, folder / "server", Lines(lines))
                else:
                    problem = _child(plan, kept, lines, task, folder / f"{number}.log")
                    if problem:
                        found.left.append(Left(task, problem))
        except KeyboardInterrupt as ended:
            why = str(ended) or "the run was interrupted"
            found.left.append(Left(", ".join(plan.tasks[number:]), f"{why}; what was found until then counts"))
            raise
        finally:
            read(lines, found)
            sampled[task] = clocks | {"seconds": f"{time.monotonic() - began:.0f}"}
            found.facts["during each task"] = sampled
            keep(found)
        if task == PEAKS and "machine" not in found.facts:
            found.left.append(Left("all the rest", "there is nothing to measure it on"))
            keep(found)
            break
    return found


def keeping_compiled(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which torch and triton keep what they compiled, where it does not say so already.

    One folder for all tasks of a run: what one of them compiled, the next ones read, and the server does.
    """
    env = dict(environ)
    place_compiled(folder, env)
    return env


def _child(plan: Plan, kept: Path, lines: Path, task: str, log: Path) -> str | None:
    """Run one task; return why it did not come to its end."""
    argv = [sys.executable, "-m", "bench.gpu.child", str(kept), str(lines), task]
    env = keeping_compiled(kept.parent / "compiled", os.environ)
    with log.open("wb") as output:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=output, start_new_session=True, env=env)
    try:
        status = process.wait(60 * plan.task_minutes)
    except subprocess.TimeoutExpired:
        return f"it did not end within {plan.task_minutes:g} minutes; what it found until then counts"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"its process ended with {how}: {_end_of(log)}"
    return None


def _end_of(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return " / ".join(lines[-3:])[-600:] or "it wrote nothing"
