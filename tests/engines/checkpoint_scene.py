"""Single files that carry the same networks, and the models of a folder of such: for tests of what they share."""

from __future__ import annotations

from pathlib import Path

import torch

from minimon_server.engines.checkpoint_files import Catalogued, Models
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.logs import Logger
from tests.single_file import Tensors, narrow_pipeline, save, single_file
from tests.small_pipeline import tokenizer

VAE, FIRST = "first_stage_model.", "conditioner.embedders.0."


def two_models() -> tuple[Tensors, Tensors]:
    """Return two models as single files hold them, in halves, as most do."""
    torch.set_num_threads(1)
    first, second = (single_file(narrow_pipeline(seed).to(torch.float16)) for seed in (0, 1))
    return first, second


def with_parts_of(tensors: Tensors, other: Tensors, *places: str) -> Tensors:
    """Return the first model's tensors, those in `places` the other's."""
    return {name: (other if name.startswith(places) else tensors)[name] for name in tensors}


def put(root: Path, name: str, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    """Write a single file, and beside it tokenizers that are loaded sooner than SDXL's."""
    for part in ("tokenizer", "tokenizer_2"):
        tokenizer(root / ".words").save_pretrained(root / "checkpoints" / name / part)
    return save(tensors, root / "checkpoints" / f"{name}.safetensors", metadata)


def models_of(root: Path, log: Logger, **vaes: str) -> Models:
    return Models(
        ModelFolders(root, log), lambda name: Catalogued("checkpoint", vaes[name]) if name in vaes else None, log
    )
