"""The command line of the measurements: `python -m bench`; measures nothing itself."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bench import (
    batches,
    certificate,
    certify,
    client,
    contenders,
    cores,
    downloads,
    generate,
    jobs,
    ledgers,
    machine,
    memory,
    pictures,
    profiling,
    prompts,
    report,
    startup,
    stock,
    switches,
)
from bench.errors import BenchError, ToolMissingError
from bench.plan import FULL, QUICK, Plan, Stage
from bench.report import Part, Table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "bench.md"
PARTS: dict[str, Callable[[Stage], Part]] = {
    "generate": generate.measure,
    "certify": certify.measure,
    "ledger": ledgers.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "jobs": jobs.measure,
    "batches": batches.measure,
    "pictures": pictures.measure,
    "prompts": prompts.measure,
    "switches": switches.measure,
    "stock": stock.measure,
    "downloads": downloads.measure,
}
PROFILED = {"generate": generate.SHAPE, "certify": certify.MANY}
COLUMNS = (contenders.OURS, contenders.PLAIN, contenders.NGINX, contenders.NGINX_ONE, contenders.BARE)
FAILED, SKIPPED = 1, 3
PROFILE_SECONDS, QUICK_PROFILE_SECONDS = 15, 4


def main() -> int:
    """Run what the command line asks for; 1 when it failed, 3 when something had to be skipped."""
    options = _parse()
    signal.signal(signal.SIGTERM, _end)
    try:
        with _stage(QUICK if options.quick else FULL) as stage:
            return _profile(stage, options) if options.what == "profile" else _measure(stage, options)
    except BenchError as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return FAILED
    except ToolMissingError as missing:
        print(f"SKIPPED: {missing}", file=sys.stderr)
        return SKIPPED
    except KeyboardInterrupt:
        print("interrupted; everything started has been ended", file=sys.stderr)
        return FAILED


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the server against its peers.")
    parser.add_argument("what", nargs="?", choices=("measure", "profile"), default="measure")
    parser.add_argument("--quick", action="store_true", help="short rounds, to try it out")
    parser.add_argument("--only", choices=tuple(PARTS), help="one part of the table")
    parser.add_argument("--write", action="store_true", help=f"also put the table into {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.what == "profile" and (options.only not in (None, *PROFILED) or options.write):
        parser.error(f"profile takes no --write, and --only for {' and '.join(PROFILED)}")
    return options


@contextmanager
def _stage(plan: Plan) -> Iterator[Stage]:
    """Make what all parts share, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="minimon-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx reads its file as another user when it is started by root
        pair = certificate.make(folder)
        yield Stage(ROOT, folder, pair, client.trust(pair.certificate), cores.choose(), plan)


def _measure(stage: Stage, options: argparse.Namespace) -> int:
    facts, parts = machine.describe(), []
    for name in [options.only] if options.only else PARTS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        folder = stage.folder / name
        folder.mkdir()
        part = PARTS[name](dataclasses.replace(stage, folder=folder))
        for text in part.skipped:
            print(f"SKIPPED: {text}", file=sys.stderr)
        parts.append(part)
    table = Table(COLUMNS, tuple(parts))
    text = f"{facts}\n{report.render(table)}"
    print(text)
    if options.write:
        report.put(DOCUMENT, text)
    return SKIPPED if table.skipped else 0


def _profile(stage: Stage, options: argparse.Namespace) -> int:
    seconds = QUICK_PROFILE_SECONDS if options.quick else PROFILE_SECONDS
    print(profiling.measure(stage, seconds, PROFILED[options.only or "generate"]))
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """Leave as on Ctrl-C, so that everything that was started is ended."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
