"""A whole SDXL pipeline of the real classes, small and with random weights: built and saved by the tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

SIDE = 64  # pixels
WIDTHS = (32, 32)  # of the text encoders' hidden states
PROJECTION = 32
TIME_IDS = 8


def byte_alphabet() -> list[str]:
    """Return a printable character for each of the 256 bytes, as byte-level tokenizers have it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(moved)) for byte in range(256)]


def tokenizer(folder: Path) -> Any:
    """Return a tokenizer that knows bytes and nothing else: a prompt has as many tokens as letters."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = byte_alphabet()
    words = [*alphabet, *(mark + "</w>" for mark in alphabet), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def text_encoder(kind: Any, layers: int, width: int, words: int = 514) -> Any:
    """Return a text encoder of random weights, for so many words, of which the last two begin and end a text."""
    settings = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_attention_heads=2,
        num_hidden_layers=layers,
        max_position_embeddings=77,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
        projection_dim=PROJECTION,
        hidden_act="gelu",
    )
    return kind(settings)


def unet(in_channels: int = 4) -> Any:
    """Return a UNet of about two million parameters."""
    channels = (32, 64, 96)
    return UNet2DConditionModel(
        sample_size=SIDE // 4,
        in_channels=in_channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4, 6),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_IDS,
        projection_class_embeddings_input_dim=6 * TIME_IDS + PROJECTION,
        cross_attention_dim=sum(WIDTHS),
        norm_num_groups=16,
    )


def autoencoder() -> Any:
    """Return an autoencoder that makes four pixels a side of one latent."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=SIDE,
        scaling_factor=0.5,
        force_upcast=False,
    )


def draft_decoder(blocks: int = 3, channels: int = 4) -> Any:
    """Return a decoder of TAESD's kind: with three blocks it makes four pixels a side of one latent."""
    widths, numbers = (16,) * blocks, (1,) * blocks
    return AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=numbers,
        num_decoder_blocks=numbers,
        latent_channels=channels,
    )


def scheduler() -> Any:
    """Return the scheduler that SDXL comes with."""
    return EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="leading", steps_offset=1
    )


def build(folder: Path, seed: int = 0) -> Path:
    """Write a pipeline in diffusers' layout to `folder`; its weights follow from `seed`."""
    torch.manual_seed(seed)
    words = tokenizer(folder.parent / f".words-{folder.name}")
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=text_encoder(CLIPTextModel, 2, WIDTHS[0]),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, 3, WIDTHS[1]),
        tokenizer=words,
        tokenizer_2=words,
        unet=unet(),
        scheduler=scheduler(),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def build_kin(model: Path, folder: Path, seed: int) -> Path:
    """Write a copy of the pipeline in `model` with another UNet, whose weights follow from `seed`."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    for part in ("vae", "text_encoder", "text_encoder_2"):
        for weights in (model / part).glob("*.safetensors"):
            shutil.copyfile(weights, folder / part / weights.name)
    torch.manual_seed(seed)
    unet().save_pretrained(folder / "unet")
    return folder


def plainly_loaded(folder: Path) -> Any:
    """Return the library's own pipeline of a folder, loaded the library's own way."""
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
