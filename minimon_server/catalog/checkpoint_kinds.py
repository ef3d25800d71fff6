"""What kind of model a single-file checkpoint is, by names and shapes of its tensors. Reads no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from minimon_server.catalog.header import Header

UNKNOWN: Final = "unknown"
_UNET: Final = "model.diffusion_model."
# The width of the text embeddings that a UNet's cross-attention reads (the `context_dim` of its training
# configuration): CLIP-L 768; OpenCLIP-H 1024; OpenCLIP-bigG 1280, which the SDXL refiner has alone; both of SDXL 2048.
BY_CONTEXT: Final = {768: "sd15", 1024: "sd21", 1280: "sdxl-refiner", 2048: "sdxl"}
# Transformers that are no UNet, by a part of their tensors' names.
BY_BLOCKS: Final = {"double_blocks.": "flux", "joint_blocks.": "sd3", "cap_embedder.": "lumina"}
_ATTENTIONS: Final = ("attn2.to_k.weight", "attn2.to_v.weight")


@dataclass(frozen=True, slots=True)
class CheckpointKind:
    """`base` is its family; `prediction` what its UNet says at each step: "epsilon", "v", or "" where nothing tells.

    `problem` says why the file is no whole model.
    """

    base: str = UNKNOWN
    prediction: str = ""
    inpainting: bool = False
    problem: str = ""


def checkpoint_kind(header: Header) -> CheckpointKind:
    """Return what kind of model a file holds."""
    shapes = header.shapes
    unet = {name: shape for name, shape in shapes.items() if name.startswith(_UNET)}
    if not unet:
        return CheckpointKind(problem=_no_model(header))
    base = context_base(unet) or next((base for part, base in BY_BLOCKS.items() if any(part in n for n in unet)), None)
    first = shapes.get(f"{_UNET}input_blocks.0.0.weight", ())
    # Nine channels in: four of the picture, four of its masked self, one mask.
    inpainting = len(first) == 4 and first[1] == 9
    missing = [] if base in (None, "flux", "sd3", "lumina") else _missing(header, base or UNKNOWN)
    problem = f"it holds no {' and no '.join(missing)}" if missing else ""
    return CheckpointKind(base or UNKNOWN, _prediction(header), inpainting, problem)


def context_base(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Return the family whose text embeddings the cross-attentions take, or None where there is none of them."""
    widths = {shape[-1] for name, shape in shapes.items() if name.endswith(_ATTENTIONS) and len(shape) == 2}
    return BY_CONTEXT.get(widths.pop(), UNKNOWN) if len(widths) == 1 else None


def _prediction(header: Header) -> str:
    """Return what tells itself: an empty tensor that trainers leave, or the metadata of the model specification."""
    if "v_pred" in header.shapes or "edm_vpred.sigma_max" in header.shapes:
        return "v"
    told = header.metadata.get("modelspec.prediction_type", "").lower()
    return {"v": "v", "v_prediction": "v", "epsilon": "epsilon"}.get(told, "")


def _missing(header: Header, base: str) -> list[str]:
    encoders = "conditioner.embedders." if base.startswith("sdxl") else "cond_stage_model."
    parts = {"VAE": "first_stage_model.", "text encoder": encoders}
    return [part for part, start in parts.items() if not any(name.startswith(start) for name in header.shapes)]


def _no_model(header: Header) -> str:
    if any(".lora_" in name or ".hada_" in name or ".lokr_" in name for name in header.shapes):
        return "it is a LoRA: put it into models/loras/"
    if any(name.startswith(("down_blocks.", "mid_block.")) for name in header.shapes):
        return "it is a single part of a model in the diffusers layout: put the whole folder into models/"
    return "its tensors are not those of a whole model"
