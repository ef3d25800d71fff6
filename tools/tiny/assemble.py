"""The model as a folder: puts the trained parts into a standard pipeline and writes it in halves. Trains nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

from tools.tiny.enlarging import best_autoencoder
from tools.tiny.finishing import NotYet
from tools.tiny.painter import FOLDER, TOKENIZER
from tools.tiny.painter_net import Painter, make_scheduler
from tools.tiny.recipe import Recipe
from tools.tiny.tokenizer import load_tokenizer
from tools.tiny.training import load_checkpoint

NAME: Final = "minimon-tiny"
LARGEST: Final = 25_000_000
STEPS: Final = 8
GUIDANCE: Final = 3.0
RESCALE: Final = 0.7  # what the server takes for every model of zero terminal SNR


def assemble(recipe: Recipe, work: Path, folder: Path, weights: str = "averaged") -> int:
    """Write the pipeline to `folder` and return its size in bytes; `weights` may be "raw" for the last step's own."""
    pipeline = build(recipe, work, weights).to(torch.float16)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(partial, safe_serialization=True)
    side = int(pipeline.unet.config.sample_size * pipeline.vae_scale_factor)
    notes = {"name": "Minimon Tiny", "licence": "MIT", "steps": STEPS, "guidance_scale": GUIDANCE, "native_size": side}
    (partial / "minimon.json").write_text(json.dumps(notes, indent=2) + "\n", "utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def build(recipe: Recipe, work: Path, weights: str = "averaged") -> Any:
    """Return the pipeline of the parts in the work folder, in full precision."""
    state = load_checkpoint(work / FOLDER)
    if state is None:
        raise NotYet("There is no UNet yet: train it first.")
    tokenizer = load_tokenizer(work / TOKENIZER)
    autoencoder = best_autoencoder(recipe, work)
    painter = Painter(len(tokenizer), recipe.painter_shape, recipe.side // recipe.autoencoder_shape.factor)
    painter.load_state_dict(state[weights])
    painter.eval().requires_grad_(False)
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder,
        text_encoder=painter.words.first,
        text_encoder_2=painter.words.second,
        tokenizer=tokenizer,
        tokenizer_2=load_tokenizer(work / TOKENIZER),
        unet=painter.unet,
        scheduler=make_scheduler(),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[no-untyped-call]
    return pipeline


def trained(work: Path) -> dict[str, int]:
    """Return how far the UNet's training is."""
    state = load_checkpoint(work / FOLDER)
    return {"step": 0, "samples": 0} if state is None else {"step": state["step"], "samples": state["samples"]}


def write_card(folder: Path, text: str, figures: dict[str, Any]) -> None:
    """Write the model's card and its figures beside the weights."""
    (folder / "README.md").write_text(text, "utf-8")
    (folder / "figures.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
