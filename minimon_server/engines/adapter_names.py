"""From the names that trainers give the tensors of an adapter to the layers of a pipeline. Reads no file, no torch.

The same layer is `lora_unet_input_blocks_4_1_proj_in` in Kohya's files (sgm's blocks, as of the Civitai layout), or
`lora_unet_down_blocks_1_attentions_0_proj_in`, or `unet.down_blocks.1.attentions.0.proj_in` in those of diffusers and
PEFT. Dots and underscores are not told apart, so one table, made from the names of the loaded networks, finds them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

# A network of the pipeline and the dotted name of a layer in it.
Layer = tuple[str, str]

ADAPTED: Final = ("unet", "text_encoder", "text_encoder_2")
# What stands before a layer's name, longest first, and the network that is meant.
_PREFIXES: Final = (
    ("base_model_model_", "unet"),
    ("model_diffusion_model_", "unet"),
    ("diffusion_model_", "unet"),
    ("lycoris_unet_", "unet"),
    ("lora_unet_", "unet"),
    ("unet_", "unet"),
    ("lycoris_te1_", "text_encoder"),
    ("lycoris_te2_", "text_encoder_2"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("text_encoder_2_", "text_encoder_2"),
    ("text_encoder_", "text_encoder"),
    ("lycoris_", "unet"),  # LyCORIS' own wrapper around a bare UNet
    ("", "unet"),
)
# PEFT's wrapper may stand between the network and the layer; CLIP's body is a layer of its own in some versions only.
_BETWEEN: Final = ("base_model_model_", "text_model_")
_ENDING: Final = re.compile(
    r"\.(lora_down|lora_A|lora\.down|lora_up|lora_B|lora\.up|lora_mid|hada_w[12]_[ab]|hada_t[12]|"
    r"lokr_w[12](?:_[ab])?|lokr_t2|lora_magnitude_vector|dora_scale|diff|diff_b|w_norm|b_norm|alpha|scale)"
    r"(?:\.default)?(\.weight|\.bias)?$"
)
_SAME: Final = {
    "lora_A": "down", "lora_down": "down", "lora.down": "down", "lora_B": "up", "lora_up": "up", "lora.up": "up",
    "lora_mid": "mid", "lora_magnitude_vector": "magnitude",
}  # fmt: skip
# diffusers before 0.22: layers inside attention processors, and those of the text encoders.
_PROCESSOR: Final = re.compile(r"\.(?:processor\.)?to_(q|k|v|out)_lora\.(down|up)\.weight$")
_LINEAR_LAYER: Final = re.compile(r"\.lora_linear_layer\.(down|up)\.weight$")


def plain(name: str) -> str:
    """Return a tensor's name in today's form, where it is of an older diffusers."""
    if old := _PROCESSOR.search(name):
        layer = "to_out.0" if old[1] == "out" else f"to_{old[1]}"
        return f"{name[: old.start()]}.{layer}.lora.{old[2]}.weight"
    return _LINEAR_LAYER.sub(r".lora.\1.weight", name)


def split(name: str) -> tuple[str, str] | None:
    """Return the name of the adapted layer and what the tensor is to it (`down`, `hada_w1_a`, `alpha`…); None: nothing.

    Every trainer's word for a factor is the same here: `down` and `up` are also PEFT's `lora_A` and `lora_B`.
    """
    name = plain(name)
    found = _ENDING.search(name)
    if found is None:
        return None
    what = _SAME.get(found[1], found[1])
    if found[2] == ".bias":
        if what != "up":
            return None
        what = "up_bias"
    return name[: found.start()], what


class LayerNames:
    """The layers of a pipeline by any name that an adapter's file may give them."""

    def __init__(self, layers: Mapping[str, Iterable[str]]) -> None:
        """`layers` are the dotted names of each network's layers."""
        self._known: dict[Layer, Layer] = {}
        for network, names in layers.items():
            listed = list(names)
            if network == "unet":
                for other, name in sgm_names(listed):
                    self._known[network, other.replace(".", "_")] = network, name
            for name in listed:  # a network's own names go before those of another layout
                self._known[network, _bare(name.replace(".", "_"))] = network, name

    def find(self, name: str) -> Layer | None:
        """Return the layer that a name of a file means; None where this pipeline has none of it."""
        flat = name.replace(".", "_")
        for prefix, network in _PREFIXES:
            if flat.startswith(prefix):
                found = self._known.get((network, _bare(flat.removeprefix(prefix))))
                if found is not None:
                    return found
        return None


def _bare(flat: str) -> str:
    for wrapper in _BETWEEN:
        flat = flat.removeprefix(wrapper)
    return flat


# The layers of a ResNet block: diffusers' names and sgm's (stabilityai/generative-models, openaimodel.py).
_RESNET: Final = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE: Final = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def sgm_names(layers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield sgm's name and diffusers' name of each layer of a UNet, whatever its depth, from diffusers' names alone.

    sgm counts the blocks of each half through: every ResNet block (with its attention) is one, and so is every
    downsampler; an upsampler belongs to the block before it.
    """
    names = list(layers)
    blocks = _blocks(names)
    for name in names:
        if name in _OUTSIDE:
            yield _OUTSIDE[name], name
            continue
        for own, other in blocks.items():
            if name == own:  # the convolution of a sampler
                yield other, name
            elif name.startswith(f"{own}."):
                rest = name.removeprefix(f"{own}.")
                inner = _RESNET.get(rest) if ".resnets." in own else rest
                if inner is not None:
                    yield f"{other}.{inner}", name


def _blocks(names: list[str]) -> dict[str, str]:
    """Return sgm's name of each block by diffusers'."""

    def count(prefix: str) -> int:
        found = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in names]
        return max((int(one[1]) + 1 for one in found if one), default=0)

    blocks = {
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }

    def take(block: str, half: str, number: int) -> int:
        """Number the layers of one level from `number` on, and return the next number."""
        layers = count(f"{block}.resnets")
        for layer in range(layers):
            blocks[f"{block}.resnets.{layer}"] = f"{half}.{number + layer}.0"
            blocks[f"{block}.attentions.{layer}"] = f"{half}.{number + layer}.1"
        return number + layers

    number = 1  # the first of the input is conv_in
    for level in range(count("down_blocks")):
        block = f"down_blocks.{level}"
        number = take(block, "input_blocks", number)
        if count(f"{block}.downsamplers"):
            blocks[f"{block}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    number = 0
    for level in range(count("up_blocks")):
        block = f"up_blocks.{level}"
        number = take(block, "output_blocks", number)
        if count(f"{block}.upsamplers"):
            place = 2 if count(f"{block}.attentions") else 1
            blocks[f"{block}.upsamplers.0.conv"] = f"output_blocks.{number - 1}.{place}.conv"
    return blocks
