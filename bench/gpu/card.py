"""On what a run was made: card, clocks, driver, versions. Measures no times."""

from __future__ import annotations

import datetime
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from bench import machine

PACKAGES: Final = (
    "torch", "torchao", "triton", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "pillow", "isal",
    "xformers", "flash-attn", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12",
)  # fmt: skip
# What nvidia-smi is asked for, each second. Only numbers count, and only of a card that works.
ASKED: Final = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu", "utilization.gpu")
STANDING: Final = (
    "driver_version",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.limit",
    "memory.total",
    "mig.mode.current",
)
NO_PROGRAM: Final = "nvidia-smi is not there"
BUSY: Final = 50.0  # per cent
LIMIT_SECONDS: Final = 20.0


def describe(device: str) -> dict[str, Any]:
    """Return the facts that hold for a whole run; `device` is `cuda` or `cpu`."""
    return {
        "measured": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "card": torch.cuda.get_device_name() if device == "cuda" else machine.processor(),
        "device": device,
        "capability": list(torch.cuda.get_device_capability()) if device == "cuda" else None,
        "processor": machine.processor(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call] # as the library has it
        "nvidia-smi": standing(),
        "versions": {name: machine.version(name) for name in PACKAGES},
    }


def standing() -> dict[str, str]:
    """Return what nvidia-smi tells of the first card for a whole run; why not, where it tells nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {"unknown": NO_PROGRAM}
    argv = [program, f"--query-gpu={','.join(STANDING)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"unknown": f"nvidia-smi: {error}"}
    values = [one.strip() for one in done.stdout.strip().split(",")]
    if done.returncode or len(values) != len(STANDING):
        return {"unknown": f"nvidia-smi ended with status {done.returncode}: {(done.stdout + done.stderr)[:300]}"}
    return dict(zip(STANDING, values, strict=True))


@contextmanager
def clocks(log: Path) -> Iterator[dict[str, str]]:
    """Sample the first card each second, into the file `log`; the dictionary is filled at the end."""
    found: dict[str, str] = {}
    program = shutil.which("nvidia-smi")
    if program is None:
        found["unknown"] = NO_PROGRAM
        yield found
        return
    argv = [program, f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits", "--id=0", "--loop=1"]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield found
    finally:
        process.kill()
        process.wait()
        found |= summary(log.read_text("utf-8", "replace"))


def summary(samples: str) -> dict[str, str]:
    """Return least, median and greatest of each figure, of the samples in which the card was busy."""
    read = [_numbers(line) for line in samples.splitlines()]
    busy = [one for one in read if one is not None and one["utilization.gpu"] >= BUSY]
    if not busy:
        return {"unknown": f"none of {len(read)} samples shows a card that is {BUSY:.0f} % busy"}
    found = {"samples": str(len(busy))}
    for name in ASKED:
        values = [one[name] for one in busy]
        found[name] = f"{statistics.median(values):g} ({min(values):g}-{max(values):g})"
    return found


def _numbers(line: str) -> dict[str, float] | None:
    """Return the figures of a line; None for one that is not whole, as the last may be."""
    try:
        return dict(zip(ASKED, (float(one) for one in line.split(",")), strict=True))
    except ValueError:
        return None
