"""What kind of model a single-file checkpoint is, by names and shapes of its tensors. Reads no file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from minimon_server.catalog.header import Header
from minimon_server.engines.checkpoint_shapes import (
    ATTENTIONS,
    PLACES,
    NotSdxl,
    architecture_of,
    has_zero_snr,
    prediction_of,
)

UNKNOWN: Final = "unknown"
SDXL: Final = "sdxl"
_UNET: Final = PLACES["unet"]
# The width of the text embeddings that a UNet's cross-attention reads (the `context_dim` of its training
# configuration): CLIP-L 768; OpenCLIP-H 1024; OpenCLIP-bigG 1280, which the SDXL refiner has alone; both of SDXL 2048.
BY_CONTEXT: Final = {768: "sd15", 1024: "sd21", 1280: "sdxl-refiner", 2048: "sdxl"}
# Transformers that are no UNet, by a part of their tensors' names.
BY_BLOCKS: Final = {"double_blocks.": "flux", "joint_blocks.": "sd3", "cap_embedder.": "lumina"}


@dataclass(frozen=True, slots=True)
class CheckpointKind:
    """`base` is its family; `prediction` what its UNet says at each step: "epsilon", "v", or "" where nothing tells.

    `zero_snr`: its last step is nothing but noise. `has_vae`: one is in the file. `layers` are those of its text
    encoders, None where they are not SDXL's. `problem` says why it is no whole model that could be drawn with.
    """

    base: str = UNKNOWN
    prediction: str = ""
    inpainting: bool = False
    problem: str = ""
    zero_snr: bool = False
    has_vae: bool = False
    layers: int | None = None

    @property
    def is_other_family(self) -> bool:
        """Whether it is known to be something else than an SDXL."""
        return self.base not in (SDXL, UNKNOWN)


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
    prediction = prediction_of(shapes.keys(), header.metadata)
    found = CheckpointKind(base or UNKNOWN, prediction, inpainting)
    if found.is_other_family:
        missing = [] if base in BY_BLOCKS.values() else _missing(header, found.base)
        return replace(found, problem=f"it holds no {' and no '.join(missing)}" if missing else "")
    try:
        # Small models and those that were trained anew may be built as SDXL with other widths.
        architecture = architecture_of(shapes)
    except NotSdxl as error:
        return replace(found, problem=str(error))
    return replace(
        found,
        zero_snr=has_zero_snr(shapes.keys(), header.metadata),
        has_vae=architecture.vae is not None,
        layers=architecture.layers,
    )


def context_base(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Return the family whose text embeddings the cross-attentions take, or None where there is none of them."""
    widths = {shape[-1] for name, shape in shapes.items() if name.endswith(ATTENTIONS) and len(shape) == 2}
    return BY_CONTEXT.get(widths.pop(), UNKNOWN) if len(widths) == 1 else None


def _missing(header: Header, base: str) -> list[str]:
    encoders = "conditioner.embedders." if base.startswith("sdxl") else "cond_stage_model."
    parts = {"VAE": "first_stage_model.", "text encoder": encoders}
    return [part for part, start in parts.items() if not any(name.startswith(start) for name in header.shapes)]


def _no_model(header: Header) -> str:
    if any(".lora_" in name or ".hada_" in name or ".lokr_" in name for name in header.shapes):
        return "it is a LoRA: put it into models/loras/"
    if any(name.startswith(("down_blocks.", "mid_block.")) for name in header.shapes):
        return "it is a single part of a model in the diffusers layout: put the whole folder into models/"
    if any(name.startswith(("input_blocks.", "diffusion_model.")) for name in header.shapes):
        return "it is a UNet alone, without text encoders and VAE"
    if any(name.startswith(("encoder.down.", PLACES["vae"])) for name in header.shapes):
        return "it is a VAE alone: a model needs it, and it is none"
    return "its tensors are not those of a whole model"
