"""The command line of the measurements on one GPU: `python -m bench.gpu`; measures nothing itself."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from bench.errors import BenchError
from bench.gpu import driver, served
from bench.gpu.modes import Mode
from bench.gpu.plan import FULL, HOST, PEAKS, PLAIN, SERVER, SMALL, Plan
from bench.gpu.result import Report

OUTPUT: Final = Path(__file__).with_name("results")
MET, FAILED, NO_FIGURE = 0, 1, 3


def main() -> int:
    """Run what is asked for; 1 when it failed or a goal was missed, 3 when there was not a single figure."""
    options = _parse()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    is_whole = True
    try:
        plan = planned(options)
        report = Report(options.output, plan)
        signal.setitimer(signal.ITIMER_REAL, 60 * options.minutes)  # 0: never
        with tempfile.TemporaryDirectory(prefix="minimon-bench-gpu-") as name:
            driver.run(plan, Path(name), served.measure, _say, report.keep)
    except BenchError as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as ended:
        is_whole = False
        _say(f"{str(ended) or 'interrupted'}; everything started has been ended")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for verdict in report.verdicts:
        print(f"goal: {verdict.text()}")
    for left in report.found.left:
        _say(f"left out: {left.what}: {left.why}")
    print(f"written: {' and '.join(map(str, report.files)) or 'nothing'}")
    if not report.found.rows:
        return NO_FIGURE if is_whole else FAILED
    return MET if is_whole and all(one.outcome != "MISSED" for one in report.verdicts) else FAILED


def planned(options: argparse.Namespace) -> Plan:
    """Return the plan of a command line; raise `BenchError` for a task that there is none of."""
    plan = SMALL if options.small else FULL
    if options.tasks:
        tasks = tuple(one.strip() for one in options.tasks.split(","))
        for one in tasks:
            if one not in (PEAKS, PLAIN, HOST, SERVER):
                Mode.parse(one)
        # Without the peaks, nothing says which card it was, and there are no floors.
        plan = replace(plan, tasks=(PEAKS, *(one for one in tasks if one != PEAKS)))
    return replace(plan, batches=options.batches) if options.batches else plan


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Measure SDXL's sizes on one GPU.")
    parser.add_argument("--small", action="store_true", help="small networks on the CPU: whether the harness works")
    parser.add_argument("--tasks", help="some of them, such as: peaks,plain,host,eager,blocks+graphs,server")
    parser.add_argument("--batches", type=_batches, help="such as: 1,8")
    parser.add_argument(
        "--minutes", type=_minutes, default=0.0, help="end after so many, and write what was found until then; 0: never"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the result files")
    return parser.parse_args()


def _batches(said: str) -> tuple[int, ...]:
    found = tuple(int(one) for one in said.split(","))
    if min(found) < 1:
        raise argparse.ArgumentTypeError("a batch is at least 1")
    return found


def _minutes(said: str) -> float:
    found = float(said)
    if not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError("minutes are 0 or more")
    return found


def _end(number: int, frame: FrameType | None) -> None:
    """Leave as on Ctrl-C, so that everything that was started is ended, and what was found is written."""
    raise KeyboardInterrupt("the minutes of the run are over" if number == signal.SIGALRM else "the run was ended")


def _say(said: str) -> None:
    print(said, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
