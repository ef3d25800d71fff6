"""A pipeline as one file in the layout of SDXL's training program: names and shapes mapped here, not by the library.

The names are those of Stability-AI/generative-models (sgm/modules/diffusionmodules/openaimodel.py, model.py) and of
open_clip (transformer.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from minimon_server.engines.clip_words import clip_words
from tests.small_pipeline import scheduler

Tensors = dict[str, torch.Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def _unet_name(name: str, resnets: int, attends: set[int]) -> str:
    """Return a tensor's name; `resnets` of each level of the way down, `attends` the levels of the way up that do."""
    step = resnets + 1
    if found := re.match(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", name):
        level, kind, number = int(found[1]), found[2], int(found[3])
        name = f"input_blocks.{1 + level * step + number}.{0 if kind == 'resnets' else 1}.{name[found.end() :]}"
    elif found := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.", name):
        return f"input_blocks.{(int(found[1]) + 1) * step}.0.op.{name[found.end() :]}"
    elif found := re.match(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", name):
        level, kind, number = int(found[1]), found[2], int(found[3])
        name = f"output_blocks.{level * step + number}.{0 if kind == 'resnets' else 1}.{name[found.end() :]}"
    elif found := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.", name):
        level = int(found[1])
        return f"output_blocks.{level * step + resnets}.{2 if level in attends else 1}.conv.{name[found.end() :]}"
    for ours, theirs in UNET_ENDS.items():
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
    if ".transformer_blocks." in name:
        return name  # which have norms of their own
    return re.sub(r"\b(" + "|".join(RESNET) + r")\.(?=weight$|bias$)", lambda one: RESNET[one[1]] + ".", name)


def _vae_name(name: str, levels: int) -> str:
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda one: f"mid.block_{int(one[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        for ours, theirs in VAE_ATTENTION.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda one: f"up.{levels - 1 - int(one[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda one: f"up.{levels - 1 - int(one[1])}.upsample.", name)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _open_clip(weights: Tensors) -> Tensors:
    found: Tensors = {}
    for name, tensor in weights.items():
        name = name.removeprefix("text_model.")
        if "_proj." in name and ".out_proj." not in name:  # queries, keys and values lie in one
            if ".q_proj." in name:
                kind = name.rsplit(".", 1)[1]
                three = [weights[_as(weights, name.replace(".q_proj.", f".{one}_proj."))] for one in "qkv"]
                layer = name.split(".")[2]
                found[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(three)
            continue
        if name == "text_projection.weight":
            found["text_projection"] = tensor.T.contiguous()
            continue
        for ours, theirs in OPEN_CLIP.items():
            name = name.replace(ours, theirs)
        found[name] = tensor
    return found


def _as(weights: Tensors, name: str) -> str:
    return name if name in weights else f"text_model.{name}"


def single_file(pipeline: Any) -> Tensors:
    """Return the weights of a pipeline by the names, and in the shapes, that they have in one file."""
    unet, vae = pipeline.unet, pipeline.vae
    resnets = int(unet.config.layers_per_block)
    attends = {number for number, kind in enumerate(unet.config.up_block_types) if kind.startswith("CrossAttn")}
    found: Tensors = {}
    for name, tensor in unet.state_dict().items():
        found[f"model.diffusion_model.{_unet_name(name, resnets, attends)}"] = tensor
    for name, tensor in vae.state_dict().items():
        name = _vae_name(name, len(vae.config.block_out_channels))
        is_point = "attn_1" in name and tensor.ndim == 2
        found[f"first_stage_model.{name}"] = tensor[:, :, None, None] if is_point else tensor
    for name, tensor in pipeline.text_encoder.state_dict().items():
        name = name.removeprefix("text_model.")
        found[f"conditioner.embedders.0.transformer.text_model.{name}"] = tensor
    for name, tensor in _open_clip(dict(pipeline.text_encoder_2.state_dict())).items():
        found[f"conditioner.embedders.1.model.{name}"] = tensor
    return found


def save(tensors: Tensors, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def tokenizer(padding: str = "<|endoftext|>") -> Any:
    """Return a tokenizer of SDXL."""
    words, merges = clip_words()
    kind: Any = CLIPTokenizer
    return kind(words, merges, pad_token=padding, model_max_length=77)


def text_encoder(kind: Any, layers: int, **settings: Any) -> Any:
    """Return a text encoder as SDXL's are built, with its vocabulary and one head of attention."""
    plain = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 1, "projection_dim": 64}
    words = {"vocab_size": 49408, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    return kind(CLIPTextConfig(num_hidden_layers=layers, max_position_embeddings=77, **{**plain, **words, **settings}))


def unet(**settings: Any) -> Any:
    """Return a UNet as SDXL's is built (64 numbers a head, 32 groups a norm), narrow and with few blocks."""
    plain = {
        "sample_size": 128,
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (1, 1, 1),
        "cross_attention_dim": 128,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 64,
    }
    return UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
        addition_embed_type="text_time",
        **{**plain, **settings},
    )


def autoencoder(**settings: Any) -> Any:
    """Return an autoencoder as SDXL's is built, narrow."""
    plain = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=1024,
        scaling_factor=0.13025,
        **{**plain, **settings},
    )


def narrow_pipeline(seed: int = 0) -> Any:
    """Return a pipeline that is built as SDXL in all that shapes do not tell; its weights follow from `seed`."""
    torch.manual_seed(seed)
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=text_encoder(CLIPTextModel, 2, hidden_act="quick_gelu"),
        text_encoder_2=text_encoder(CLIPTextModelWithProjection, 3, hidden_act="gelu"),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer("!"),
        unet=unet(),
        scheduler=scheduler(),
        add_watermarker=False,
    )


def true_networks() -> Any:
    """Return the networks of SDXL in their true size, without a number in them."""
    with torch.device("meta"):
        return SimpleNamespace(
            vae=autoencoder(block_out_channels=(128, 256, 512, 512), layers_per_block=2),
            text_encoder=text_encoder(CLIPTextModel, 12, hidden_size=768, intermediate_size=3072),
            text_encoder_2=text_encoder(
                CLIPTextModelWithProjection, 32, hidden_size=1280, intermediate_size=5120, projection_dim=1280
            ),
            unet=unet(
                block_out_channels=(320, 640, 1280),
                layers_per_block=2,
                transformer_layers_per_block=(1, 2, 10),
                attention_head_dim=(5, 10, 20),
                cross_attention_dim=2048,
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
            ),
        )
