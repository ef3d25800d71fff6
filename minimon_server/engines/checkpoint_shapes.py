"""How an SDXL model in one file is built, by names and shapes of its tensors. Reads no file, loads nothing.

The names are those of the model's training program (Stability-AI/generative-models, configs/inference/sd_xl_base.yaml).
What shapes cannot tell is SDXL's own: 64 numbers a head of attention, 32 groups a norm, the activations, the scale of
the latents.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

Shapes = Mapping[str, tuple[int, ...]]
Settings = Mapping[str, Any]

# Where each part's tensors lie, by the part's name in diffusers' layout.
PLACES: Final = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "conditioner.embedders.0.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
}
HEAD: Final = 64  # numbers a head, in the UNet and in both text encoders
TIME_IDS: Final = 6  # original size, crop, target size: two numbers each (Podell et al. 2023, section 2.2)
SAMPLE_SIZE: Final = 128  # latents a side of the pictures that SDXL was trained on
ATTENTIONS: Final = ("attn2.to_k.weight", "attn2.to_v.weight")
# Tensors that say how a model predicts, without a number in them.
V_PREDICTION: Final = "v_pred"
ZERO_SNR: Final = "ztsnr"
# Tensors of weights that were made smaller in ways that need more than a cast to be undone.
PACKED: Final = ("scaled_fp8", ".scale_weight", ".weight_scale", ".absmax", ".quant_map", ".qweight")
# Tensors of models that are built as SDXL and noised otherwise: with SDXL's schedule they would draw noise.
OTHER_NOISE: Final = {"edm_vpred.sigma_max": "CosXL", "edm_mean": "Playground v2.5"}


class NotSdxl(Exception):
    """Why a file is no SDXL model that can be drawn with; for people."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The configuration of each part, as diffusers and transformers name it; `vae` is None where the file has none."""

    unet: Settings
    text_encoder: Settings
    text_encoder_2: Settings
    vae: Settings | None

    @property
    def layers(self) -> int:
        """How many layers of both text encoders `clip_skip` can count."""
        return min(int(one["num_hidden_layers"]) for one in (self.text_encoder, self.text_encoder_2))


@dataclass(frozen=True, slots=True)
class _Level:
    """The blocks of one resolution: how wide, how many, and how many transformers each has."""

    channels: int
    depths: tuple[int, ...]


def architecture_of(shapes: Shapes) -> Architecture:
    """Return how the model of a file is built; raise `NotSdxl` where that is not as SDXL is."""
    other = next((kind for name, kind in OTHER_NOISE.items() if name in shapes), None)
    if other is not None:
        raise NotSdxl(f"it is {other}, whose noise (EDM) this server does not draw with")
    packed = next((name for name in shapes if name.endswith(PACKED)), None)
    if packed is not None:
        raise NotSdxl(f"its weights are packed ({packed[-64:]}): a plain fp8, fp16, bf16 or fp32 file is needed")
    first = {name.removeprefix("text_model."): shape for name, shape in _under(shapes, "text_encoder").items()}
    second = _under(shapes, "text_encoder_2")
    missing = [what for what, part in (("CLIP-L", first), ("OpenCLIP-bigG", second)) if not part]
    if missing:
        raise NotSdxl(f"it holds no text encoder {' and no '.join(missing)}: it is a part of a model")
    try:
        text_encoder, text_encoder_2 = _clip(first), _open_clip(second)
        unet = _unet(_under(shapes, "unet"), text_encoder_2["projection_dim"])
        vae = _under(shapes, "vae")
        found = Architecture(unet, text_encoder, text_encoder_2, _vae(vae) if vae else None)
    except KeyError as error:
        raise NotSdxl(f"it lacks the tensor {error.args[0]} of an SDXL model") from None
    except (LookupError, ValueError):
        raise NotSdxl("its tensors do not have the shapes of an SDXL model") from None
    width = text_encoder["hidden_size"] + text_encoder_2["hidden_size"]
    if unet["cross_attention_dim"] != width:
        raise NotSdxl(f"its UNet reads {unet['cross_attention_dim']} numbers a token, its text encoders give {width}")
    return found


def prediction_of(names: Collection[str], metadata: Mapping[str, str]) -> str:
    """Return what a model says at each step: "epsilon" or "v", or "" where nothing tells.

    An empty tensor tells that trainers leave, or the metadata: the model specification's, else the training program's.
    """
    if V_PREDICTION in names:
        return "v"
    told = metadata.get("modelspec.prediction_type", "").lower()
    if not told and metadata.get("ss_v_parameterization", "").lower() == "true":
        return "v"
    return {"v": "v", "v_prediction": "v", "epsilon": "epsilon"}.get(told, "")


def has_zero_snr(names: Collection[str], metadata: Mapping[str, str]) -> bool:
    """Return whether a model was trained until the last step was nothing but noise."""
    return ZERO_SNR in names or metadata.get("ss_zero_terminal_snr", "").lower() == "true"


def scheduler_settings(prediction: str, zero_snr: bool) -> dict[str, Any]:
    """Return the configuration of the scheduler that SDXL comes with, for what a model says at each step.

    Pure noise is only ever seen where the timesteps begin at the last one (Lin et al. 2023, section 3.3).
    """
    return {
        "_class_name": "EulerDiscreteScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "num_train_timesteps": 1000,
        "interpolation_type": "linear",
        "steps_offset": 1,
        "prediction_type": "v_prediction" if prediction == "v" else "epsilon",
        "timestep_spacing": "trailing" if zero_snr else "leading",
        "rescale_betas_zero_snr": zero_snr,
        "use_karras_sigmas": False,
    }


def _under(shapes: Shapes, part: str) -> dict[str, tuple[int, ...]]:
    place = PLACES[part]
    return {name.removeprefix(place): shape for name, shape in shapes.items() if name.startswith(place)}


def _count(shapes: Shapes, start: str) -> int:
    """Return how many numbers follow `start` in the names."""
    return len({name.removeprefix(start).split(".", 1)[0] for name in shapes if name.startswith(start)})


def _clip(shapes: Shapes) -> dict[str, Any]:
    words = shapes["embeddings.token_embedding.weight"]
    places = shapes["embeddings.position_embedding.weight"][0]
    return _encoder(shapes, words, places, "encoder.layers.", "mlp.fc1") | {"hidden_act": "quick_gelu"}


def _open_clip(shapes: Shapes) -> dict[str, Any]:
    words, places = shapes["token_embedding.weight"], shapes["positional_embedding"][0]
    turned = shapes.get("text_projection.weight")
    projection = turned[0] if turned else shapes["text_projection"][1]
    found = _encoder(shapes, words, places, "transformer.resblocks.", "mlp.c_fc")
    return found | {"projection_dim": projection, "hidden_act": "gelu"}


def _encoder(shapes: Shapes, embeddings: tuple[int, ...], places: int, layers: str, inner: str) -> dict[str, Any]:
    """Return what both text encoders have, by the names that this one gives its layers and their inner matrix."""
    words, width = embeddings
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shapes[f"{layers}0.{inner}.weight"][0],
        "num_hidden_layers": _count(shapes, layers),
        "num_attention_heads": max(1, width // HEAD),
        "max_position_embeddings": places,
        # As in SDXL's own: with the end at 2 the library takes the embedding of the highest token, which is it.
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }


def _unet(shapes: Shapes, projection: int) -> Settings:
    levels = _levels(shapes)
    resnets, depths = len(levels[0].depths), [max(level.depths) for level in levels]
    even = all(level.depths == (depth,) * resnets for level, depth in zip(levels, depths, strict=True))
    after = [
        _count(shapes, f"output_blocks.{number}.1.transformer_blocks.")
        for number in range(_count(shapes, "output_blocks."))
    ]
    mirrored = [depth for depth in reversed(depths) for _ in range(resnets + 1)]
    if not even or after != mirrored or _count(shapes, "middle_block.1.transformer_blocks.") != depths[-1]:
        raise NotSdxl("its UNet has not all the blocks of an SDXL model (a pruned one, such as SSD-1B)")
    (attends,) = {shape[1] for name, shape in shapes.items() if name.endswith(ATTENTIONS)}  # all read the same
    added = shapes["label_emb.0.0.weight"][1]
    channels = [level.channels for level in levels]
    return {
        "sample_size": SAMPLE_SIZE,
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "down_block_types": [f"{'CrossAttn' if depth else ''}DownBlock2D" for depth in depths],
        "up_block_types": [f"{'CrossAttn' if depth else ''}UpBlock2D" for depth in reversed(depths)],
        "block_out_channels": channels,
        "layers_per_block": resnets,
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "attention_head_dim": [max(1, one // HEAD) for one in channels],  # the library's name for the number of heads
        "cross_attention_dim": attends,
        "use_linear_projection": len(shapes["middle_block.1.proj_in.weight"]) == 2,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (added - projection) // TIME_IDS,
        "projection_class_embeddings_input_dim": added,
    }


def _levels(shapes: Shapes) -> list[_Level]:
    """Return the resolutions of the way down: each ends where the next begins with a step down."""
    levels, depths, channels = list[_Level](), list[int](), 0
    for number in range(1, _count(shapes, "input_blocks.")):
        start = f"input_blocks.{number}."
        if f"{start}0.op.weight" in shapes:
            levels.append(_Level(channels, tuple(depths)))
            depths = []
        else:
            channels = shapes[f"{start}0.out_layers.3.weight"][0]
            depths.append(_count(shapes, f"{start}1.transformer_blocks."))
    return [*levels, _Level(channels, tuple(depths))]


def _vae(shapes: Shapes) -> Settings:
    levels = _count(shapes, "encoder.down.")
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)],
        "layers_per_block": _count(shapes, "encoder.down.0.block."),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "sample_size": 1024,
        "scaling_factor": 0.13025,
        "force_upcast": True,
    }
