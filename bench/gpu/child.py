"""One task of a run, in a process of its own: a GPU that fails stays failed for the process that it failed in.

`python -m bench.gpu.child PLAN LINES TASK`; what it finds goes line by line to the file LINES. Starts no process.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from bench.errors import BenchError, ToolMissingError
from bench.gpu import card
from bench.gpu.attention import take_attention
from bench.gpu.floor import measure_peaks, work_of
from bench.gpu.host import measure_host
from bench.gpu.modes import Mode, prepare
from bench.gpu.paths import time_paths
from bench.gpu.plain import measure_plain
from bench.gpu.plan import HOST, PEAKS, PLAIN, Plan
from bench.gpu.rows import Left, Lines
from bench.gpu.stages import time_stages, why
from bench.gpu.weights import build
from minimon_server import logs
from minimon_server.engines.attention_kernels import ordered_kernels
from minimon_server.engines.devices import DeviceWish
from minimon_server.engines.sdxl_loading import Place, choose_place
from minimon_server.engines.sdxl_side_by_side import WIDEST


def main() -> None:
    """Run one task."""
    plan, lines, task = Plan.read(Path(sys.argv[1])), Lines(Path(sys.argv[2])), sys.argv[3]
    if plan.device == "cpu":
        torch.set_num_threads(1)  # nothing that is measured on a CPU is worth the cores of others
    try:
        run(plan, lines, task)
    finally:
        _sink().close()


def run(plan: Plan, lines: Lines, task: str) -> None:
    """Measure what a task says; write why, where that cannot be done."""
    try:
        place = _place(plan.device)
        if task == PEAKS:
            _peaks(plan, place, lines)
        elif task == PLAIN:
            measure_plain(plan, place, lines)
        elif task == HOST:
            measure_host(plan, place, lines)
        else:
            _mode(plan, place, lines, Mode.parse(task))
    except Exception as error:
        lines.tell(Left(task, why(error)))


def _place(wish: DeviceWish) -> Place:
    if wish != "cpu" and not torch.cuda.is_available():
        raise ToolMissingError("torch finds no CUDA device here")
    return choose_place(wish)


def _peaks(plan: Plan, place: Place, lines: Lines) -> None:
    device = place.device.type
    lines.fact("machine", card.describe(device) | {"dtype": str(place.dtype).removeprefix("torch.")})
    lines.fact("work", {part: asdict(work) for part, work in work_of(plan.of, place.dtype).items()})
    measure_peaks(place, plan.matmul_side, plan.copy_mib, lines)


def _mode(plan: Plan, place: Place, lines: Lines, mode: Mode) -> None:
    if mode.graphs and place.device.type != "cuda":
        raise BenchError("CUDA graphs need a CUDA device")
    batches = tuple(batch for batch in plan.batches if not mode.blocks or batch <= WIDEST)
    if batches != plan.batches:  # each batch is compiled for minutes
        lines.tell(Left(f"{mode.name}, batches above {WIDEST}", f"the server draws {WIDEST} side by side at the most"))
    if not batches:
        return
    torch.backends.cudnn.benchmark = mode.tuned  # else as the server and the plain loop leave it
    networks, log = build(plan.of, place.device, place.dtype), logs.Lines(_sink(), level="info", as_json=False).logger()
    kernel = take_attention(networks.unet, mode.blocks, place, os.environ, log)
    lines.fact(f"attention, {mode.name}", f"{kernel.value}: {kernel.reason.en}")
    calls = prepare(networks, mode, place, log)
    with torch.inference_mode(), ordered_kernels(place):
        # What the goals look at comes first, whatever ends this process early.
        time_paths(plan.of, place, calls, mode, batches, plan.base_batches, plan.effort, lines)
        time_stages(plan.of, place, calls, mode, batches, plan.effort, lines)


@cache
def _sink() -> logs.LogSink:
    return logs.LogSink(sys.stderr.fileno())


if __name__ == "__main__":
    main()
