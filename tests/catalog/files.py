"""Safetensors files made by hand, with the names and shapes that real ones have, and next to no bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from minimon_server.catalog.stock import Stock
from minimon_server.engines.model_folders import ModelFolders
from tests.jobs.scene import quiet

Shapes = Mapping[str, tuple[int, ...]]

# What each family's cross-attention reads, at a layer that its checkpoint has.
ATTENTION = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
VAE = "first_stage_model.decoder.conv_in.weight"
LABELS = "model.diffusion_model.label_emb.0.0.weight"


def _sdxl() -> Shapes:
    """Return what an SDXL model is known by, in its true sizes: a part of its 2,515 tensors."""
    unet, clip, big = (
        "model.diffusion_model.",
        "conditioner.embedders.0.transformer.text_model.",
        "conditioner.embedders.1.model.",
    )
    found: dict[str, tuple[int, ...]] = {
        f"{unet}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{unet}out.2.weight": (4, 320, 3, 3),
        f"{unet}middle_block.1.proj_in.weight": (1280, 1280),
        LABELS: (1280, 2816),
        f"{clip}embeddings.token_embedding.weight": (49408, 768),
        f"{clip}embeddings.position_embedding.weight": (77, 768),
        f"{big}token_embedding.weight": (49408, 1280),
        f"{big}positional_embedding": (77, 1280),
        f"{big}text_projection": (1280, 1280),
        "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
        "first_stage_model.decoder.conv_out.weight": (3, 128, 3, 3),
        VAE: (512, 4, 3, 3),
    }
    levels = ((320, 0), (640, 2), (1280, 10))
    for level, (channels, depth) in enumerate(levels):
        for number in (1 + 3 * level, 2 + 3 * level):
            found[f"{unet}input_blocks.{number}.0.out_layers.3.weight"] = (channels, channels, 3, 3)
            found |= _transformers(f"{unet}input_blocks.{number}.1.", channels, depth)
        for number in range(3 * (2 - level), 3 * (3 - level)):
            found[f"{unet}output_blocks.{number}.0.out_layers.3.weight"] = (channels, channels, 3, 3)
            found |= _transformers(f"{unet}output_blocks.{number}.1.", channels, depth)
        if level:
            found[f"{unet}input_blocks.{3 * level}.0.op.weight"] = (levels[level - 1][0], levels[level - 1][0], 3, 3)
    found |= _transformers(f"{unet}middle_block.1.", 1280, 10)
    for level, channels in enumerate((128, 256, 512, 512)):
        for block in (0, 1):
            found[f"first_stage_model.encoder.down.{level}.block.{block}.conv1.weight"] = (channels, channels, 3, 3)
    found |= {f"{clip}encoder.layers.{layer}.mlp.fc1.weight": (3072, 768) for layer in range(12)}
    found |= {f"{big}transformer.resblocks.{layer}.mlp.c_fc.weight": (5120, 1280) for layer in range(32)}
    return found


def _transformers(start: str, channels: int, depth: int) -> Shapes:
    return {f"{start}transformer_blocks.{block}.attn2.to_k.weight": (channels, 2048) for block in range(depth)}


SDXL: Shapes = _sdxl()
SD15: Shapes = {
    ATTENTION: (640, 768),
    VAE: (512, 4, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
}


def header(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> tuple[bytes, int]:
    """Return the head of a file of half-precision tensors, and how many bytes of numbers follow."""
    told: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        told[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    said = orjson.dumps(told)
    return len(said).to_bytes(8, "little") + said, at


def write(path: Path, shapes: Shapes, metadata: Mapping[str, str] | None = None) -> Path:
    """Write such a file; its numbers are a hole, which takes no room on the disk."""
    head, size = header(shapes, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


def stock_of(root: Path) -> Stock:
    """Return the stock of a folder of models."""
    return Stock(root, ModelFolders(root, quiet()), quiet())
