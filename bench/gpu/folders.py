"""Models and adapters of random weights as folders and files, for the server to draw with. Measures nothing.

`python -m bench.gpu.folders PLAN MODELS` writes them in a process of its own, which gives the GPU back whole.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file

from bench.errors import BenchError
from bench.gpu.plain import pipeline
from bench.gpu.plan import Plan
from bench.gpu.weights import build
from minimon_server.engines.sdxl_loading import choose_place

MODELS: Final = ("turbo-one", "turbo-two")
ADAPTERS: Final = ("adapter-one", "adapter-two")
ROOM: Final = 1.5  # times what the weights take: pictures and the journal lie there, too
CHANGE: Final = 0.01  # of a weight's own size


def main() -> None:
    """Write what a plan needs."""
    plan, models = Plan.read(Path(sys.argv[1])), Path(sys.argv[2])
    if plan.device == "cpu":
        torch.set_num_threads(1)
    place = choose_place(plan.device)
    dtype = torch.bfloat16  # as served: half the bytes, and no overflow
    for seed, name in enumerate(MODELS):
        networks = build(plan.of, place.device, dtype, seed)
        if not seed:
            check_room(models, len(MODELS) * sum(_bytes(one) for one in vars(networks).values()))
            for number, adapter in enumerate(ADAPTERS):
                write_adapter(models / "loras" / f"{adapter}.safetensors", networks.unet, plan.adapter_rank, number)
        pipeline(networks, turbo=True).save_pretrained(models / name, safe_serialization=True)
        del networks


def check_room(folder: Path, needed: int) -> None:
    """Raise `BenchError` where the disk has not the room for so many bytes and what comes with them."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < ROOM * needed:
        raise BenchError(
            f"{ROOM * needed / 1e9:.1f} GB are needed below {folder}, {free / 1e9:.1f} GB are free; set TMPDIR"
        )


def write_adapter(path: Path, unet: Any, rank: int, seed: int) -> None:
    """Write a LoRA, named as Kohya's trainers do, over every attention of a UNet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in unet.named_modules():
        if not isinstance(layer, torch.nn.Linear) or ".attn" not in name:
            continue
        stem = f"lora_unet_{name.replace('.', '_')}"
        down = torch.randn(rank, layer.in_features, generator=numbers) * layer.in_features**-0.5
        up = torch.randn(layer.out_features, rank, generator=numbers) * CHANGE * rank**-0.5
        tensors |= {f"{stem}.lora_down.weight": down.half(), f"{stem}.lora_up.weight": up.half()}
        tensors[f"{stem}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path)


def _bytes(network: Any) -> int:
    return sum(one.numel() * one.element_size() for one in network.parameters())


if __name__ == "__main__":
    main()
