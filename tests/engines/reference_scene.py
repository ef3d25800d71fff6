"""IP-Adapters for the small pipeline: made with random numbers in the layout of their repository. Tests nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from minimon_server.engines.ip_adapter_files import ROOT, Variant
from minimon_server.engines.messages import IpAdapterUse
from tests.engines.beginnings import sent
from tests.hostile_pictures import plain
from tests.small_pipeline import WIDTHS

VARIANTS: tuple[Variant, ...] = ("plain", "plus", "full")
HIDDEN, PROJECTED, SIDE = 32, 24, 32
CONTEXT = sum(WIDTHS)
TOKENS = 6  # of the plus variant
SHOWN_IMAGE = plain(96, 72)
SHOWN = sent(SHOWN_IMAGE)
Tensors = dict[str, torch.Tensor]


def encoder(seed: int = 3) -> Any:
    """Return an image encoder of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        settings = CLIPVisionConfig(
            hidden_size=HIDDEN,
            intermediate_size=2 * HIDDEN,
            projection_dim=PROJECTED,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=8,
        )
        return CLIPVisionModelWithProjection(settings)


def projection(variant: Variant, numbers: torch.Generator) -> Tensors:
    """Return the tensors of a projection under the names of the adapter's own trainer."""

    def some(*shape: int) -> torch.Tensor:
        found: torch.Tensor = torch.randn(shape, generator=numbers) / shape[-1] ** 0.5
        return found

    if variant == "plain":
        return {
            "proj.weight": some(4 * CONTEXT, PROJECTED),
            "proj.bias": some(4 * CONTEXT),
            "norm.weight": some(CONTEXT) + 1,
            "norm.bias": some(CONTEXT),
        }
    if variant == "full":
        return {
            "proj.0.weight": some(HIDDEN, HIDDEN),
            "proj.0.bias": some(HIDDEN),
            "proj.2.weight": some(CONTEXT, HIDDEN),
            "proj.2.bias": some(CONTEXT),
            "proj.3.weight": some(CONTEXT) + 1,
            "proj.3.bias": some(CONTEXT),
        }
    inner, width = 64, 16
    found = {"latents": some(1, TOKENS, width)}
    for name, rows, columns in (("proj_in", width, HIDDEN), ("proj_out", CONTEXT, width)):
        found |= {f"{name}.weight": some(rows, columns), f"{name}.bias": some(rows)}
    found |= {"norm_out.weight": some(CONTEXT) + 1, "norm_out.bias": some(CONTEXT)}
    for layer in range(4):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            found |= {f"layers.{layer}.{norm}.weight": some(width) + 1, f"layers.{layer}.{norm}.bias": some(width)}
        shapes = {"0.to_q": (inner, width), "0.to_kv": (2 * inner, width), "0.to_out": (width, inner)}
        shapes |= {"1.1": (4 * width, width), "1.3": (width, 4 * width)}
        found |= {f"layers.{layer}.{name}.weight": some(*shape) for name, shape in shapes.items()}
    return found


def tensors(unet: Any, variant: Variant, seed: int = 1) -> Tensors:
    """Return an IP-Adapter of random numbers for a UNet."""
    numbers = torch.Generator().manual_seed(seed)
    found = {f"image_proj.{name}": tensor for name, tensor in projection(variant, numbers).items()}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for part in ("to_k_ip", "to_v_ip"):
                shape = (layer.to_k.out_features, layer.to_k.in_features)
                found[f"ip_adapter.{number}.{part}.weight"] = torch.randn(shape, generator=numbers) / shape[1] ** 0.5
    return found


def write(root: Path, name: str, held: Tensors, inside: str = "models/image_encoder") -> Path:
    """Write an IP-Adapter to a folder of models as `download_models.py` would, and return its folder."""
    folder = root / ROOT / name
    (folder / "sdxl_models").mkdir(parents=True, exist_ok=True)
    save_file(held, folder / "sdxl_models" / f"{name}_sdxl.safetensors")
    encoder().save_pretrained(folder / inside, safe_serialization=True)
    return folder


def use(name: str, scale: float = 0.6) -> IpAdapterUse:
    """Return the use of one, with the picture of this scene."""
    return IpAdapterUse(name, SHOWN.picture, scale)


def librarys(models: Path, root: Path, name: str, scale: float = 0.6, kind: Any = StableDiffusionXLPipeline) -> Any:
    """Return the library's own pipeline, which has loaded an IP-Adapter its own way."""
    pipeline = kind.from_pretrained(models / "small", use_safetensors=True, local_files_only=True)
    load_into(pipeline, root, name, scale)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_into(pipeline: Any, root: Path, name: str, scale: float) -> None:
    """Let a pipeline of the library load an IP-Adapter its own way."""
    pipeline.load_ip_adapter(
        str(root / ROOT / name),
        subfolder="sdxl_models",
        weight_name=f"{name}_sdxl.safetensors",
        image_encoder_folder="models/image_encoder",
    )
    pipeline.set_ip_adapter_scale(scale)
