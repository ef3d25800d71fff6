"""How large the networks are that are measured: SDXL's published configurations, and a small kin for the CPU.

Builds nothing. The values are those of stabilityai/stable-diffusion-xl-base-1.0 (config.json of each part; Podell et
al. 2023); SDXL Turbo has the same networks and another scheduler (stabilityai/sdxl-turbo); the draft decoder is that
of madebyollin/taesdxl, whose values are AutoencoderTiny's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Config = Mapping[str, Any]
TOKENS: Final = 77  # of a prompt, with its beginning and its end
TIME_IDS: Final = 6  # original size, crop, target size: two numbers each (Podell et al. 2023, section 2.2)

_NOISE: Final[Config] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
TURBO_SCHEDULER: Final[Config] = {**_NOISE, "timestep_spacing": "trailing"}  # of EulerAncestralDiscreteScheduler
BASE_SCHEDULER: Final[Config] = {**_NOISE, "timestep_spacing": "leading"}  # of EulerDiscreteScheduler


@dataclass(frozen=True)
class Sizes:
    """The configuration of every network, and what is drawn with them: pixels a side, steps, guidance."""

    name: str
    unet: Config
    vae: Config
    draft: Config
    text_encoder: Config
    text_encoder_2: Config
    turbo_side: int
    base_side: int
    base_steps: int
    guidance: float = 5.0

    @property
    def shrink(self) -> int:
        """How many pixels a side one latent stands for."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def words_width(self) -> int:
        """Numbers a token that the UNet reads."""
        return int(self.text_encoder["hidden_size"]) + int(self.text_encoder_2["hidden_size"])


def _clip(width: int, layers: int, heads: int, projection: int, activation: str) -> Config:
    return {
        "vocab_size": 49408,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": TOKENS,
        "projection_dim": projection,
        "hidden_act": activation,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def _unet(channels: tuple[int, ...], depths: tuple[int, ...], resnets: int, words: int, time: int) -> dict[str, Any]:
    return {
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": channels,
        "layers_per_block": resnets,
        "transformer_layers_per_block": depths,
        "cross_attention_dim": words,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": time,
    }


def _vae(channels: tuple[int, ...], resnets: int, side: int) -> dict[str, Any]:
    return {
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "block_out_channels": channels,
        "layers_per_block": resnets,
        "latent_channels": 4,
        "sample_size": side,
        "scaling_factor": 0.13025,
        "force_upcast": True,
    }


SDXL: Final = Sizes(
    "sdxl",
    unet=_unet((320, 640, 1280), (1, 2, 10), 2, 2048, 256)
    | {"sample_size": 128, "attention_head_dim": (5, 10, 20), "projection_class_embeddings_input_dim": 2816},
    vae=_vae((128, 256, 512, 512), 2, 1024),
    draft={},
    text_encoder=_clip(768, 12, 12, 768, "quick_gelu"),
    text_encoder_2=_clip(1280, 32, 20, 1280, "gelu"),
    turbo_side=512,
    base_side=1024,
    base_steps=30,
)
SMALL: Final = Sizes(
    "small",
    unet=_unet((32, 64, 64), (1, 1, 1), 1, 64, 8)
    | {
        "sample_size": 8,
        "attention_head_dim": (2, 4, 4),
        "projection_class_embeddings_input_dim": TIME_IDS * 8 + 32,
        "norm_num_groups": 16,
    },
    vae=_vae((32, 32, 32, 32), 1, 64),
    draft={"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4},
    text_encoder=_clip(32, 2, 2, 32, "quick_gelu"),
    text_encoder_2=_clip(32, 2, 2, 32, "gelu"),
    turbo_side=64,
    base_side=64,
    base_steps=2,
)
ALL: Final[Mapping[str, Sizes]] = {sizes.name: sizes for sizes in (SDXL, SMALL)}
