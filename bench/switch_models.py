"""The two models and the LoRAs that switches are measured over: written, and found again. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file

from tests import small_pipeline

RANK: Final = 8
MODELS: Final = ("one", "two")
STACKS: Final = (("ink", "neon"), ("neon", "glow"))
LORAS: Final = tuple(sorted({name for stack in STACKS for name in stack}))


def build(folder: Path, channels: tuple[int, ...]) -> None:
    """Write the models and LoRAs; the UNets are as wide as `channels` say."""
    for seed, name in enumerate(MODELS):
        small_pipeline.build(folder / name, seed)
        settings = {**small_pipeline.unet().config, "block_out_channels": channels}
        unet: Any = UNet2DConditionModel.from_config(settings)
        unet.save_pretrained(folder / name / "unet")
    (folder / "loras").mkdir()
    for seed, name in enumerate(LORAS):
        numbers, tensors = torch.Generator().manual_seed(seed), {}
        for layer, module in adapted(unet):
            rows, columns = module.weight.shape
            tensors[f"unet.{layer}.lora_A.weight"] = torch.randn(RANK, columns, generator=numbers) * 0.05
            tensors[f"unet.{layer}.lora_B.weight"] = torch.randn(rows, RANK, generator=numbers) * 0.05
        save_file(tensors, lora(folder, name))


def lora(folder: Path, name: str) -> Path:
    """Return the file of a LoRA."""
    return folder / "loras" / f"{name}.safetensors"


def adapted(unet: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers that the LoRAs change, by name."""
    ends = ("to_q", "to_k", "to_v", "to_out.0")
    yield from ((name, module) for name, module in unet.named_modules() if name.endswith(ends))


def weights(folder: Path) -> list[Path]:
    """Return the files of a model's weights."""
    return sorted(folder.glob("*/*.safetensors"))
