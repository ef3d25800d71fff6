"""The peer: diffusers' own SDXL pipeline called in a loop, as its documents show it, part by part and whole.

16-bit floats on a GPU, nothing compiled or captured, the autoencoder cast to 32 bits and back, Pillow's PNG.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPTokenizer

from bench.gpu.host import COPY, ENCODE, photograph
from bench.gpu.modes import Mode
from bench.gpu.paths import BASE, TURBO, order
from bench.gpu.plan import PLAIN, Plan
from bench.gpu.rows import Lines
from bench.gpu.sizes import BASE_SCHEDULER, TOKENS, TURBO_SCHEDULER
from bench.gpu.stages import TEXT, UNET, VAE, attempt, inputs
from bench.gpu.timing import measure
from bench.gpu.weights import Networks, build
from minimon_server.engines.checkpoint_loading import PADDING
from minimon_server.engines.clip_words import clip_words
from minimon_server.engines.sdxl_loading import Place

MODE = Mode(PLAIN, None, compiled=False, graphs=False)
PROMPT = "a small lighthouse under two moons"
AVOIDED = "blurry"


def pipeline(networks: Networks, turbo: bool) -> Any:
    """Return the library's pipeline over these networks, with SDXL's own tokenizers and scheduler."""
    words, merges = clip_words()
    kind: Any = CLIPTokenizer  # which says that it takes texts, and takes pairs
    first, second = (
        kind(words, merges, pad_token=PADDING[part], model_max_length=TOKENS) for part in ("tokenizer", "tokenizer_2")
    )
    scheduler: Any = (
        EulerAncestralDiscreteScheduler(**TURBO_SCHEDULER) if turbo else EulerDiscreteScheduler(**BASE_SCHEDULER)
    )
    made: Any = StableDiffusionXLPipeline(
        vae=networks.vae,
        text_encoder=networks.text_encoder,
        text_encoder_2=networks.text_encoder_2,
        tokenizer=first,
        tokenizer_2=second,
        unet=networks.unet,
        scheduler=scheduler,
        add_watermarker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def measure_plain(plan: Plan, place: Place, lines: Lines) -> None:
    """Time whole pictures as the library makes them, as `paths.order` says, then parts of Turbo's."""
    if place.device.type == "cuda":
        place = replace(place, dtype=torch.float16)
    networks = build(plan.of, place.device, place.dtype)
    turbo, base, sizes = pipeline(networks, turbo=True), pipeline(networks, turbo=False), plan.of

    def note(part: str, batch: int, call: Callable[[], object]) -> None:
        attempt(part, MODE, batch, lines, lambda: measure(call, place.device, plan.effort))

    def turbos(batch: int) -> None:
        size = {"width": sizes.turbo_side, "height": sizes.turbo_side}
        told: dict[str, Any] = {"prompt": [PROMPT] * batch, "num_inference_steps": 1, "guidance_scale": 0.0, **size}
        note(TURBO, batch, partial(_drawn, turbo, told))

    def bases(batch: int) -> None:
        size = {"width": sizes.base_side, "height": sizes.base_side}
        told: dict[str, Any] = {"prompt": [PROMPT] * batch, "negative_prompt": [AVOIDED] * batch, **size}
        told |= {"num_inference_steps": sizes.base_steps, "guidance_scale": sizes.guidance}
        note(BASE, batch, partial(_drawn, base, told))

    with torch.no_grad():
        for part, batch in order(plan.batches, plan.base_batches):
            (bases if part == BASE else turbos)(batch)
        for batch in plan.batches:
            for part, call in _parts(plan, place, turbo, batch).items():
                note(part, batch, call)


def _parts(plan: Plan, place: Place, made: Any, batch: int) -> dict[str, Callable[[], object]]:
    """Return each part of Turbo's pictures as the pipeline does it within a call."""
    given = inputs(plan.of, place, batch, plan.of.turbo_side)
    latents = given.latents
    added = {"text_embeds": given.pooled, "time_ids": given.time_ids}
    image = torch.rand(batch, 3, plan.of.turbo_side, plan.of.turbo_side, device=place.device, dtype=torch.float32)
    files = made.image_processor.postprocess(photograph(plan.of.turbo_side).expand(batch, -1, -1, -1), "pil")
    prompts = [PROMPT] * batch

    def decode() -> object:
        cast = made.vae.dtype == torch.float16  # StableDiffusionXLPipeline.__call__, "needs_upcasting"
        vae = made.vae.float() if cast else made.vae
        found = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
        if cast:
            vae.half()
        return found

    return {
        TEXT: lambda: made.encode_prompt(prompts, device=place.device, do_classifier_free_guidance=False),
        UNET: lambda: made.unet(
            latents, given.at[0], encoder_hidden_states=given.words, added_cond_kwargs=added, return_dict=False
        ),
        VAE: decode,
        COPY: lambda: made.image_processor.postprocess(image * 2 - 1, output_type="pil"),
        ENCODE: lambda: _files(files),
    }


def _drawn(made: Any, told: dict[str, Any]) -> list[bytes]:
    return _files(made(**told).images)


def _files(pictures: list[Any]) -> list[bytes]:
    written = []
    for picture in pictures:
        file = io.BytesIO()
        picture.save(file, "PNG")
        written.append(file.getvalue())
    return written
