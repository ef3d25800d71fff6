"""Text encoders and UNet as networks, their schedule of noise and the loss. Trains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tools.tiny.recipe import PainterShape
from tools.tiny.tokenizer import LENGTH

HEAD: Final = 32
TIME_IDS: Final = 8
TIMES: Final = 1000
# How much more the middle of a picture weighs than its corners, and how far it reaches, as a part of the side.
FACE_GAIN: Final = 8.0
FACE_SPREAD: Final = 0.22


class Words(torch.nn.Module):
    """Both text encoders, read as SDXL reads them: the last layer but one of each, and the second's projection."""

    def __init__(self, pieces: int, shape: PainterShape) -> None:
        super().__init__()
        self.first = _encoder(CLIPTextModel, pieces, shape.first_words, 2, shape.pooled)
        self.second = _encoder(CLIPTextModelWithProjection, pieces, shape.second_words, 3, shape.pooled)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the UNet attends to, and the pooled meaning."""
        first = self.first(rows, output_hidden_states=True).hidden_states[-2]
        second = self.second(rows, output_hidden_states=True)
        return torch.cat([first, second.hidden_states[-2]], -1), second.text_embeds


class Painter(torch.nn.Module):
    """Everything between the words and the latents."""

    def __init__(self, pieces: int, shape: PainterShape, side: int) -> None:
        super().__init__()
        self.words = Words(pieces, shape)
        self.unet = _unet(shape, side)


def _encoder(kind: Any, pieces: int, width: int, layers: int, pooled: int) -> Any:
    settings = CLIPTextConfig(
        vocab_size=pieces,
        hidden_size=width,
        intermediate_size=2 * width,
        num_attention_heads=max(1, width // HEAD),
        num_hidden_layers=layers,
        max_position_embeddings=LENGTH,
        bos_token_id=pieces - 2,
        eos_token_id=pieces - 1,
        pad_token_id=pieces - 1,
        projection_dim=pooled,
        hidden_act="gelu",
    )
    return kind(settings)


def _unet(shape: PainterShape, side: int) -> Any:
    down = ("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(shape.widths) - 1))
    return UNet2DConditionModel(
        block_out_channels=shape.widths,
        layers_per_block=1,
        sample_size=side,
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        down_block_types=down,
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        attention_head_dim=tuple(max(1, width // HEAD) for width in shape.widths),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_IDS,
        transformer_layers_per_block=shape.transformers,
        projection_class_embeddings_input_dim=6 * TIME_IDS + shape.pooled,
        cross_attention_dim=shape.first_words + shape.second_words,
        norm_num_groups=16,
    )


def make_scheduler() -> Any:
    """Return the scheduler that the model is trained for and comes with."""
    return DDIMScheduler(
        num_train_timesteps=TIMES,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def time_ids(sides: torch.Tensor) -> torch.Tensor:
    """Return what SDXL is told of a picture's size: asked for, cut at nothing, wanted, all the same."""
    nothing = torch.zeros_like(sides)
    return torch.stack([sides, sides, nothing, nothing, sides, sides], 1)


def face_weights(side: int) -> torch.Tensor:
    """Return how much each place of a picture weighs, [side, side], 1 in the mean.

    Eyes, mouth and horns are a few latents in the middle: weighed like any other, the plain sky around them would
    decide what is learnt first. Where the error is least stays where it was.
    """
    away = (torch.arange(side) + 0.5) / side - 0.5
    near = torch.exp(-(away.square().view(-1, 1) + away.square()) / (2 * FACE_SPREAD**2))
    weights = 1 + FACE_GAIN * near
    return weights / weights.mean()


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What the UNet made of a batch: the loss, the latents it foresees, the signal's share of what it saw."""

    loss: torch.Tensor
    latents: torch.Tensor  # [pictures, channels, side, side]
    share: torch.Tensor  # [pictures], from 0 for noise alone to 1


def foresee(net: Any, batch: dict[str, torch.Tensor], signal_shares: torch.Tensor) -> Foreseen:
    """Return the squared error of the predicted velocity, weighted towards the middle, and where it would lead.

    `batch` holds latents, noise, times, token rows, the sides that SDXL wants told, and `spoken`, 0 where the words
    are left out.
    """
    latents, noise, times = batch["latents"], batch["noise"], batch["times"]
    share = signal_shares[times].view(-1, 1, 1, 1)
    noisy = share.sqrt() * latents + (1 - share).sqrt() * noise
    velocity = share.sqrt() * noise - (1 - share).sqrt() * latents
    with torch.autocast(latents.device.type, torch.bfloat16):
        said, pooled = net.words(batch["rows"])
        spoken = batch["spoken"].view(-1, 1)
        told = {"text_embeds": pooled * spoken, "time_ids": time_ids(batch["sides"])}
        found = net.unet(
            noisy.contiguous(memory_format=torch.channels_last),
            times,
            encoder_hidden_states=said * spoken.unsqueeze(-1),
            added_cond_kwargs=told,
            return_dict=False,
        )[0]
    found = found.float()
    errors = functional.mse_loss(found, velocity, reduction="none")
    loss = (errors * face_weights(errors.shape[-1]).to(errors.device)).mean()
    return Foreseen(loss, share.sqrt() * noisy - (1 - share).sqrt() * found, share.flatten())
