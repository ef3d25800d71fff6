"""The architecture of a file follows from its shapes; what is not built as SDXL is said to be so, and what it is."""

from __future__ import annotations

import pytest

from minimon_server.engines.checkpoint_shapes import (
    Architecture,
    NotSdxl,
    Shapes,
    architecture_of,
    has_zero_snr,
    prediction_of,
    scheduler_settings,
)
from minimon_server.engines.schedulers import has_zero_snr as schedules_zero_snr
from tests.single_file import narrow_pipeline, single_file, true_networks

UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in single_file(narrow_pipeline()).items()}


def test_sdxl_in_its_true_size_is_known_by_its_shapes() -> None:
    pipeline = true_networks()
    shapes = {name: tuple(tensor.shape) for name, tensor in single_file(pipeline).items()}
    assert len(shapes) == 1680 + 248 + 196 + 389  # tensors of the UNet, the VAE, CLIP-L and OpenCLIP-bigG
    found = architecture_of(shapes)
    for part, said in (("unet", found.unet), ("vae", found.vae)):
        config = getattr(pipeline, part).config
        assert said is not None
        for name, value in said.items():
            if name not in ("sample_size", "force_upcast"):
                own = config[name]
                assert value == (list(own) if isinstance(own, tuple) else own), name
    for part, encoder in (("text_encoder", found.text_encoder), ("text_encoder_2", found.text_encoder_2)):
        config = getattr(pipeline, part).config
        wanted = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings")
        assert {name: encoder[name] for name in wanted} == {name: getattr(config, name) for name in wanted}
    assert (found.text_encoder["num_attention_heads"], found.text_encoder_2["num_attention_heads"]) == (12, 20)
    assert found.text_encoder_2["projection_dim"] == 1280
    assert found.layers == 12


def without(shapes: Shapes, part: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if part not in name}


def test_a_file_without_vae_has_none(shapes: Shapes) -> None:
    found: Architecture = architecture_of(without(shapes, "first_stage_model."))
    assert found.vae is None


def test_what_is_not_built_as_sdxl_is_said(shapes: Shapes) -> None:
    attention = f"{UNET}input_blocks.3.1.transformer_blocks.0.attn2.to_k.weight"
    assert attention in shapes
    cases: dict[str, Shapes] = {
        "no text encoder CLIP-L and no OpenCLIP-bigG": without(shapes, "conditioner."),
        "no text encoder OpenCLIP-bigG": without(shapes, "embedders.1"),
        "all the blocks of an SDXL model": without(shapes, "middle_block.1.transformer_blocks.1."),
        "do not have the shapes": {**shapes, attention: (64, 768)},
        "lacks the tensor label_emb.0.0.weight": without(shapes, "label_emb.0.0."),
        "numbers a token, its text encoders give": {
            name: (shape[0], 96) if "attn2.to_k.w" in name or "attn2.to_v.w" in name else shape
            for name, shape in shapes.items()
        },
        "CosXL, whose noise": {**shapes, "edm_vpred.sigma_max": ()},
        "Playground v2.5, whose noise": {**shapes, "edm_mean": (1, 4, 1, 1)},
        "its weights are packed (scaled_fp8)": {**shapes, "scaled_fp8": (0,)},
        "its weights are packed (time_embed.0.weight.absmax)": {**shapes, "time_embed.0.weight.absmax": (3,)},
    }
    for said, wrong in cases.items():
        with pytest.raises(NotSdxl) as caught:
            architecture_of(wrong)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("names", "metadata", "expected"),
    [
        ((), {}, ("", False)),
        (("v_pred",), {}, ("v", False)),
        (("v_pred", "ztsnr"), {}, ("v", True)),
        ((), {"modelspec.prediction_type": "v"}, ("v", False)),
        ((), {"modelspec.prediction_type": "epsilon"}, ("epsilon", False)),
        ((), {"modelspec.prediction_type": "epsilon", "ss_v_parameterization": "True"}, ("epsilon", False)),
        ((), {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, ("v", True)),
        ((), {"ss_v_parameterization": "False"}, ("", False)),
    ],
)
def test_what_a_model_predicts_is_told_by_marks_then_by_metadata(
    names: tuple[str, ...], metadata: dict[str, str], expected: tuple[str, bool]
) -> None:
    assert (prediction_of(names, metadata), has_zero_snr(names, metadata)) == expected
    settings = scheduler_settings(*expected)
    assert settings["prediction_type"] == ("v_prediction" if expected[0] == "v" else "epsilon")
    assert schedules_zero_snr(settings) is expected[1]
