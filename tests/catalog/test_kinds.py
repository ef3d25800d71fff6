"""What a file is stands in the names and shapes of its tensors, with or without metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from minimon_server.catalog.checkpoint_kinds import CheckpointKind, checkpoint_kind
from minimon_server.catalog.header import NotSafetensors, read_header
from minimon_server.catalog.network_kinds import NetworkKind, network_kind
from tests.catalog.files import ATTENTION, SD15, SDXL, VAE, Shapes, header, write

CROSS = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
SELF = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_k"
DEEP = "lora_unet_input_blocks_7_1_transformer_blocks_9_attn1_to_k"
CONV = "lora_unet_input_blocks_1_0_in_layers_2"


def lora(module: str, columns: int, rows: int = 640) -> Shapes:
    return {
        f"{module}.lora_down.weight": (4, columns),
        f"{module}.lora_up.weight": (rows, 4),
        f"{module}.alpha": (),
    }


def loha(module: str, columns: int, rows: int = 640) -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {f"{module}.alpha": ()}
    for number in (1, 2):
        shapes |= {f"{module}.hada_w{number}_a": (rows, 4), f"{module}.hada_w{number}_b": (4, columns)}
    return shapes


CONVOLUTION: Shapes = {f"{CONV}.lora_down.weight": (4, 320, 3, 3), f"{CONV}.lora_up.weight": (320, 4, 1, 1)}
POINT: Shapes = {f"{CONV}.lora_down.weight": (4, 320, 1, 1), f"{CONV}.lora_up.weight": (320, 4, 1, 1)}
WHOLE = CheckpointKind("sdxl", has_vae=True, layers=12)
PEFT = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        (lora(CROSS, 2048), NetworkKind("lora", "sdxl")),
        (lora(CROSS, 768), NetworkKind("lora", "sd15")),
        (lora(CROSS, 1024), NetworkKind("lora", "sd21")),
        (lora(CROSS, 96), NetworkKind("lora", "unknown")),
        (lora(SELF, 640), NetworkKind("lora", "unknown")),
        (lora(DEEP, 1280), NetworkKind("lora", "sdxl")),
        (lora("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280), NetworkKind("lora", "sdxl")),
        (lora("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768), NetworkKind("lora", "sd15")),
        (lora("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 1024), NetworkKind("lora", "sd21")),
        (lora("lora_unet_double_blocks_0_img_attn_qkv", 3072), NetworkKind("lora", "flux")),
        ({**lora(CROSS, 2048), **CONVOLUTION}, NetworkKind("locon", "sdxl")),
        ({**lora(CROSS, 768), **POINT}, NetworkKind("lora", "sd15")),
        ({**lora(CROSS, 2048), f"{CROSS}.dora_scale": (1, 2048)}, NetworkKind("dora", "sdxl", dora=True)),
        (loha(CROSS, 2048), NetworkKind("loha", "sdxl")),
        ({**loha(CROSS, 768), f"{CROSS}.dora_scale": (1, 768)}, NetworkKind("loha", "sd15", dora=True)),
        ({f"{CROSS}.lokr_w1": (8, 16), f"{CROSS}.lokr_w2": (80, 128)}, NetworkKind("lokr", "sdxl")),
        (
            {
                f"{CROSS}.lokr_w1_a": (8, 2),
                f"{CROSS}.lokr_w1_b": (2, 8),
                f"{CROSS}.lokr_w2_a": (80, 4),
                f"{CROSS}.lokr_w2_b": (4, 96),
            },
            NetworkKind("lokr", "sd15"),
        ),
        ({f"{CROSS}.diff": (640, 2048)}, NetworkKind("full", "sdxl")),
        ({f"{DEEP}.w_norm": (640,), f"{DEEP}.b_norm": (640,)}, NetworkKind("full", "sdxl")),
        ({f"{DEEP}.diff_b": (640,)}, NetworkKind("full", "sdxl")),
        ({f"{SELF}.b_norm": (640,)}, NetworkKind("full", "unknown")),
        ({**lora(CROSS, 2048), f"{SELF}.w_norm": (640,), f"{DEEP}.diff_b": (640,)}, NetworkKind("lora", "sdxl")),
        ({**loha(CROSS, 2048), "lora_unet_out_0.diff": (320,)}, NetworkKind("loha", "sdxl")),
        ({**lora(CROSS, 2048), **loha(SELF, 640)}, NetworkKind("mixed", "sdxl")),
        ({f"{CROSS}.weight": (640,), f"{CROSS}.on_input": ()}, NetworkKind("ia3", "unknown")),
        ({f"{PEFT}.lora_A.weight": (4, 2048), f"{PEFT}.lora_B.weight": (640, 4)}, NetworkKind("lora", "sdxl")),
        (
            {f"{PEFT[:-4]}processor.to_k_lora.{part}.weight": (4, 768) for part in ("down", "up")},
            NetworkKind("lora", "sd15"),
        ),
        ({f"{PEFT}.lora.down.weight": (4, 768), f"{PEFT}.lora.up.weight": (320, 4)}, NetworkKind("lora", "sd15")),
        (
            {
                f"{PEFT}.lora_A.weight": (4, 2048),
                f"{PEFT}.lora_B.weight": (640, 4),
                f"{PEFT}.lora_magnitude_vector": (640,),
            },
            NetworkKind("dora", "sdxl", dora=True),
        ),
        (SDXL, NetworkKind(problem="it is a whole model: put it into models/checkpoints/")),
        ({"emb_params": (8, 768)}, NetworkKind(problem="it is a textual inversion, not a LoRA")),
        ({"x": (1,)}, NetworkKind(problem="its tensors are not those of a LoRA or its kin")),
        ({}, NetworkKind(problem="its tensors are not those of a LoRA or its kin")),
    ],
)
def test_a_network_is_known_by_its_tensors(tmp_path: Path, shapes: Shapes, kind: NetworkKind) -> None:
    assert network_kind(read_header(write(tmp_path / "a.safetensors", shapes))) == kind
    misleading = {"ss_network_module": "lycoris.kohya", "ss_base_model_version": "sd_v1"}
    assert network_kind(read_header(write(tmp_path / "a.safetensors", shapes, misleading))) == kind


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        (SDXL, WHOLE),
        (SD15, CheckpointKind("sd15")),
        ({**SD15, ATTENTION: (640, 1024)}, CheckpointKind("sd21")),
        (
            {name: shape for name, shape in SD15.items() if name != VAE},
            CheckpointKind("sd15", problem="it holds no VAE"),
        ),
        ({ATTENTION: (640, 1280)}, CheckpointKind("sdxl-refiner", problem="it holds no VAE and no text encoder")),
        ({**SDXL, "v_pred": (0,)}, replace(WHOLE, prediction="v")),
        ({**SDXL, "v_pred": (0,), "ztsnr": (0,)}, replace(WHOLE, prediction="v", zero_snr=True)),
        ({**SDXL, "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}, replace(WHOLE, inpainting=True)),
        ({"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": (9, 3)}, CheckpointKind("flux")),
        ({"model.diffusion_model.joint_blocks.0.x.weight": (9, 3)}, CheckpointKind("sd3")),
        (
            {name: shape for name, shape in SDXL.items() if not name.startswith("first_stage_model.")},
            replace(WHOLE, has_vae=False),
        ),
        (
            {ATTENTION: (640, 2048)},
            CheckpointKind(
                "sdxl", problem="it holds no text encoder CLIP-L and no OpenCLIP-bigG: it is a part of a model"
            ),
        ),
        (lora(CROSS, 2048), CheckpointKind(problem="it is a LoRA: put it into models/loras/")),
        (
            {"down_blocks.0.resnets.0.conv1.weight": (8, 8, 3, 3)},
            CheckpointKind(
                problem="it is a single part of a model in the diffusers layout: put the whole folder into models/"
            ),
        ),
        ({"x": (1,)}, CheckpointKind(problem="its tensors are not those of a whole model")),
    ],
)
def test_a_checkpoint_is_known_by_its_tensors(tmp_path: Path, shapes: Shapes, kind: CheckpointKind) -> None:
    assert checkpoint_kind(read_header(write(tmp_path / "a.safetensors", shapes))) == kind


def test_the_metadata_tell_what_the_tensors_cannot(tmp_path: Path) -> None:
    for told, prediction in (("v", "v"), ("epsilon", "epsilon"), ("?", "")):
        path = write(tmp_path / "a.safetensors", SDXL, {"modelspec.prediction_type": told})
        assert checkpoint_kind(read_header(path)).prediction == prediction


def test_what_the_library_writes_is_read_and_what_it_refuses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    kinds = [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn]
    tensors = {f"t{number}": torch.zeros(number, 3).to(kind) for number, kind in enumerate(kinds)}
    save_file({**tensors, "scalar": torch.tensor(1.0)}, path, {"a": "b"})
    found = read_header(path)
    assert found.shapes == {**{f"t{number}": (number, 3) for number in range(6)}, "scalar": ()}
    assert found.metadata == {"a": "b"}


def cut(data: bytes) -> bytes:
    return data[:-1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (cut, "it was cut: 1 bytes are missing"),
        (lambda data: data + b"1", "it has 1 bytes too many"),
        (lambda data: b"", "it is not a safetensors file"),
        (lambda data: b"\x00" * 8, "it is not a safetensors file"),
        (lambda data: b"\xff" * 8 + data, "it is not a safetensors file"),
        (lambda data: b"PK\x03\x04" + data, "it is a pickle, which could run anything when it is read"),
        (lambda data: b"\x80\x02}q\x00" + data, "it is a pickle, which could run anything when it is read"),
        (lambda data: b"<!DOCTYPE html><html></html>", "it is a web page, not a model"),
        (lambda data: data[:8] + b"[" + data[9:], "it is not a safetensors file"),
        (lambda data: data[:8] + b"{" * (len(data) - 8), "its header is not JSON"),
        (lambda data: data.replace(b'"F16"', b'"F99"'), "its tensor x is not described as the format wants"),
        (lambda data: data.replace(b"[2,3]", b"[2,4]"), "its tensor x has another size than its shape"),
        (lambda data: data.replace(b"[2,3]", b"-2222"), "its tensor x is not described as the format wants"),
        (lambda data: data.replace(b"[2,3]", b"[2,-]"), "its header is not JSON"),
        (lambda data: data.replace(b"[0,12]", b"[1,13]"), "its tensors do not lie one after the other"),
    ],
)  # fmt: skip
def test_what_is_no_whole_safetensors_file_is_said(
    tmp_path: Path, change: Callable[[bytes], bytes], problem: str
) -> None:
    path = write(tmp_path / "a.safetensors", {"x": (2, 3)})
    read_header(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(NotSafetensors, match=problem):
        read_header(path)


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((1 << 33).to_bytes(8, "little") + b"{")
        file.truncate(1 << 34)  # a hole
    with pytest.raises(NotSafetensors):
        read_header(path)


def test_shapes_that_overflow_are_refused_in_no_time(tmp_path: Path) -> None:
    head, _ = header({"x": (2, 3)})
    path = tmp_path / "a.safetensors"
    huge = b'{"x":{"dtype":"F16","shape":[' + b",".join([b"999999999999"] * 100_000) + b'],"data_offsets":[0,12]}}'
    path.write_bytes(len(huge).to_bytes(8, "little") + huge + b"\0" * 12)
    with pytest.raises(NotSafetensors, match="another size"):
        read_header(path)
    assert head
