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
SDXL: Shapes = {
    ATTENTION: (640, 2048),
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
    VAE: (512, 4, 3, 3),
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    "conditioner.embedders.1.model.positional_embedding": (77, 1280),
}
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
