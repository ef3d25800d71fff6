"""The names of every trainer lead to the same layers, in a small pipeline and in SDXL's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from minimon_server.engines.adapter_names import LayerNames, plain, sgm_names, split
from tests.small_pipeline import unet

SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def layers_of(network: Any) -> list[str]:
    return [name for name, module in network.named_modules() if getattr(module, "weight", None) is not None]


@pytest.fixture(scope="module")
def sdxl() -> Any:
    with torch.device("meta"):
        return UNet2DConditionModel(**SDXL)


@pytest.fixture(scope="module")
def names() -> LayerNames:
    encoders = ["text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.1.mlp.fc1"]
    return LayerNames(
        {"unet": layers_of(unet()), "text_encoder": encoders, "text_encoder_2": [*encoders, "text_projection"]}
    )


def test_the_blocks_of_sgm_are_those_of_the_librarys_converter(sdxl: Any) -> None:
    for network in (sdxl, unet()):
        layers = layers_of(network)
        found = dict(sgm_names(layers))
        assert sorted(found.values()) == sorted(layers)
        # Each weight is a number that says which it is.
        prefix = "model.diffusion_model."
        kinds = ("weight", "bias")
        numbered = {f"{prefix}{name}.{kind}": torch.tensor(at) for at, name in enumerate(found) for kind in kinds}
        config = {**network.config, "class_embed_type": None}
        converted = convert_ldm_unet_checkpoint(numbered, config)  # type: ignore[no-untyped-call]
        theirs = {list(found)[int(at)]: name.rpartition(".")[0] for name, at in converted.items()}
        assert theirs == found


SAME = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0", ("unet", SAME)),
        ("lycoris_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0", ("unet", SAME)),
        ("lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0", ("unet", SAME)),
        ("lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_out_0", ("unet", SAME)),
        ("diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_out.0", ("unet", SAME)),
        ("model.diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_out.0", ("unet", SAME)),
        (f"unet.{SAME}", ("unet", SAME)),
        (f"base_model.model.{SAME}", ("unet", SAME)),
        (f"unet.base_model.model.{SAME}", ("unet", SAME)),
        (SAME, ("unet", SAME)),
        ("lora_unet_output_blocks_1_2_conv", ("unet", "up_blocks.0.upsamplers.0.conv")),
        ("lora_unet_input_blocks_2_0_op", ("unet", "down_blocks.0.downsamplers.0.conv")),
        ("lora_unet_middle_block_0_emb_layers_1", ("unet", "mid_block.resnets.0.time_emb_proj")),
        ("lora_unet_label_emb_0_2", ("unet", "add_embedding.linear_2")),
        (
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
            ("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"),
        ),
        (
            "text_encoder.encoder.layers.0.self_attn.q_proj",
            ("text_encoder", "text_model.encoder.layers.0.self_attn.q_proj"),
        ),
        (
            "text_encoder_2.text_model.encoder.layers.1.mlp.fc1",
            ("text_encoder_2", "text_model.encoder.layers.1.mlp.fc1"),
        ),
        ("lora_te2_text_projection", ("text_encoder_2", "text_projection")),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", None),
        ("lora_unet_input_blocks_99_1_proj_in", None),
        ("lora_unet_", None),
        ("", None),
    ],
)
def test_every_name_of_a_layer_is_found(names: LayerNames, name: str, layer: tuple[str, str] | None) -> None:
    assert names.find(name) == layer


@pytest.mark.parametrize(
    ("name", "parted"),
    [
        ("a.lora_down.weight", ("a", "down")),
        ("a.lora_A.weight", ("a", "down")),
        ("a.lora_A.default.weight", ("a", "down")),
        ("a.lora.up.weight", ("a", "up")),
        ("a.lora_B.bias", ("a", "up_bias")),
        ("a.lora_A.bias", None),
        ("a.lora_mid.weight", ("a", "mid")),
        ("a.lora_magnitude_vector", ("a", "magnitude")),
        ("a.lora_magnitude_vector.weight", ("a", "magnitude")),
        ("a.hada_t1", ("a", "hada_t1")),
        ("a.lokr_w2_b", ("a", "lokr_w2_b")),
        ("a.diff_b", ("a", "diff_b")),
        ("a.alpha", ("a", "alpha")),
        (f"unet.{QUERY[:-5]}.processor.to_q_lora.down.weight", (f"unet.{QUERY}", "down")),
        (f"unet.{SAME[:-9]}.processor.to_out_lora.up.weight", (f"unet.{SAME}", "up")),
        ("text_encoder.q_proj.lora_linear_layer.down.weight", ("text_encoder.q_proj", "down")),
        ("a.oft_blocks", None),
        ("a.weight", None),
        ("lora_down.weight", None),
    ],
)
def test_what_a_tensor_is_stands_at_the_end_of_its_name(name: str, parted: tuple[str, str] | None) -> None:
    assert split(name) == parted
    assert split(plain(name)) == parted


def test_the_own_name_of_a_layer_goes_before_that_of_another_layout() -> None:
    found = LayerNames({"unet": ["conv_in", "input_blocks.0.0"]})
    assert found.find("lora_unet_input_blocks_0_0") == ("unet", "input_blocks.0.0")
    assert found.find("lora_unet_conv_in") == ("unet", "conv_in")
