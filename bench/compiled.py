"""What compiling a UNet of SDXL's depth takes, from nothing and from what an earlier process kept. Draws nothing.

    python -m bench.compiled [--modes eager blocks whole] [--folder FOLDER]

builds the UNet of SDXL with all its blocks and a tenth of its width, and evaluates it in fresh processes, one thread:
as it is written, with its blocks compiled as the server does it (`blocks`), and compiled as a whole; those two once
with an empty folder and once with what that left. It prints how many graphs there are, and how many were found there;
the seconds until the first answer, wall and processor's, after everything is imported and built; the processor's ms of
a step; and how far the answer is from that of the eager network, relative to it. Tracing begins anew in every process,
so that a second start is mostly Python: it tells of a GPU's, too, but for reading its kernels. It needs a C++ compiler,
writes to FOLDER alone, which is a temporary one by default, and takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch._dynamo.utils import counters

from bench.gpu.sizes import SDXL
from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Wishes
from minimon_server.engines.compiled_unet import CompiledUnet
from minimon_server.engines.machine_facts import this_machine
from minimon_server.logs import Lines, LogSink

MODES: Final = ("eager", "blocks", "whole")
NARROW: Final = {
    "block_out_channels": (32, 64, 128),
    "attention_head_dim": (2, 4, 8),
    "cross_attention_dim": 64,
    "norm_num_groups": 8,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 6 * 32 + 32,
}
LATENTS: Final = 32
STEPS: Final = 5


def network() -> Any:
    """Return the UNet: SDXL's 70 transformer blocks and 17 residual ones, narrow, of the same random weights always."""
    torch.manual_seed(0)
    settings: Any = {**SDXL.unet, **NARROW}
    return UNet2DConditionModel.from_config(settings).eval().requires_grad_(False)


def asked() -> dict[str, Any]:
    """Return what a UNet is given for one picture with guidance: two rows."""
    numbers = torch.Generator().manual_seed(1)
    return {
        "sample": torch.randn(2, 4, LATENTS, LATENTS, generator=numbers),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(2, 77, 64, generator=numbers),
        "added_cond_kwargs": {"text_embeds": torch.randn(2, 32, generator=numbers), "time_ids": torch.ones(2, 6)},
    }


def compiled(unet: Any, mode: str) -> Callable[..., Any]:
    """Return what evaluates the network in one of `MODES`."""
    if mode == "blocks":
        log = Lines(LogSink(os.open(os.devnull, os.O_WRONLY)), level="ERROR", as_json=True, secrets=()).logger()
        plan = choose(Wishes("none", use_compile=True, by_hand=frozenset({"use_compile"})), this_machine("cpu"))
        CompiledUnet(unet, plan, "cpu", log)
    if mode == "whole":
        unet.forward = torch.compile(unet.forward, dynamic=False, fullgraph=True)
    found: Callable[..., Any] = unet
    return found


@torch.inference_mode()
def measured(mode: str) -> dict[str, Any]:
    """Evaluate the network in this process; return what that took and answered."""
    torch.set_num_threads(1)
    call = compiled(network(), mode)
    wall, spent = time.perf_counter(), time.process_time()
    answer = call(**asked(), return_dict=False)[0]
    first = time.perf_counter() - wall, time.process_time() - spent
    took = []
    for _ in range(STEPS):
        spent = time.process_time()
        call(**asked(), return_dict=False)
        took.append(time.process_time() - spent)
    counted = {"graphs": counters["stats"]["unique_graphs"], "found": counters["inductor"]["fxgraph_cache_hit"]}
    times = {"wall": first[0], "spent": first[1], "step": min(took) * 1e3}
    return {**counted, **times, "answer": answer.flatten().tolist()}


def _in_a_process(mode: str, folder: Path) -> dict[str, Any]:
    called = [sys.executable, "-m", "bench.compiled", "--child", mode]
    # Triton has a cache of its own, which torch puts there late.
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
    done = subprocess.run(called, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="bench.compiled", description="What compiling SDXL's UNet takes.")
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--folder", type=Path, help="where what was compiled is kept")
    parser.add_argument("--child", choices=MODES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(measured(options.child)))
        return 0
    with tempfile.TemporaryDirectory() as made:
        right = torch.tensor(_in_a_process("eager", Path(made))["answer"])
        for mode in options.modes:
            for start in ("first", "second") if mode != "eager" else ("only",):
                found = _in_a_process(mode, (options.folder or Path(made)) / mode)
                off = float((torch.tensor(found["answer"]) - right).norm() / right.norm())
                print(
                    f"{mode}, {start} start: {found['graphs']} graphs, {found['found']} of them kept; first answer "
                    f"after {found['wall']:.1f} s ({found['spent']:.1f} s of this process), a step "
                    f"{found['step']:.0f} ms, off by {off:.1e}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
