"""Quantised by the real torchao on the CPU: little changes, LoRAs stay exact, and every picture says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.quantised import decibels
from minimon_server.engines.acceleration_table import SCHEMES
from minimon_server.engines.host_copies import move
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.quantised_layers import PAYING, QuantisedLayers, fits
from minimon_server.engines.quantised_weights import held_bytes, inner, is_quantised, widened_layers
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_memory import parts_bytes
from minimon_server.engines.sdxl_numbers import in_float32
from minimon_server.logs import Logger
from tests.engines.adapter_scene import answer, drawn, uses
from tests.engines.exhaustion import pipeline
from tests.engines.quantised_scene import engine_over, planned
from tests.small_pipeline import unet

pytest.importorskip("torchao")
Asking = Callable[..., DrawRequest]
CPU = torch.device("cpu")
ON_CPU = [scheme for scheme in SCHEMES if scheme.on_cpu]
# Least PSNR against no quantisation, of a small model of random weights; measured: 64 to 66, 56 to 58 and 52 to 54.
LEAST = {"int8": 58.0, "fp8": 50.0, "int4": 46.0}


def quantised(network: Any) -> dict[str, torch.Tensor]:
    """Return the plain tensors of every quantised weight, by its name."""
    found: dict[str, torch.Tensor] = {}
    for name, layer in network.named_modules():
        if is_quantised(getattr(layer, "weight", torch.empty(0))):
            found |= {f"{name}.{part}": tensor.clone() for part, tensor in inner(layer.weight).items()}
    return found


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("scheme", ON_CPU, ids=lambda scheme: scheme.label)
def test_it_changes_little_and_takes_less(scheme: Any, models: Path, log: Logger, request_for: Asking) -> None:
    plain = drawn(SdxlEngine(ModelFolders(models, log), "cpu", log), request_for())
    engine = engine_over(models, log, planned(scheme.name))
    other = drawn(engine, request_for())
    assert LEAST[scheme.name] < decibels(plain, other) < 100
    versions = other.metadata["versions"]
    assert (versions["quantization"], versions["torchao"]) == (scheme.label, "0.18.0")
    assert "quantization" not in plain.metadata["versions"]
    held = pipeline(engine).unet
    assert parts_bytes([held]) < 0.8 * parts_bytes([unet()])
    assert drawn(engine, request_for()).pixels == other.pixels


def test_the_layers_where_it_pays_are_quantised_and_no_others(quiet: Logger) -> None:
    network = unet()
    layers = QuantisedLayers(network, ON_CPU[0], CPU, quiet)
    held = {name for name, layer in network.named_modules() if is_quantised(getattr(layer, "weight", torch.empty(0)))}
    blocks = {name for name in held if ".transformer_blocks." in name}
    assert held == blocks
    kinds = {name.partition(".transformer_blocks.")[2].partition(".")[2] for name in held}
    own = {"attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_out.0"}
    assert kinds == own | {"ff.net.0.proj", "ff.net.2"}
    assert all(layers.holds(f"{name}.weight") for name in held)
    assert not layers.holds("conv_in.weight")
    assert not PAYING.search("down_blocks.1.attentions.0.proj_in")


def test_sides_that_a_scheme_cannot_take_are_left_and_told(
    log: Logger, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    network = unet()
    block = network.down_blocks[1].attentions[0].transformer_blocks[0]
    block.attn1.to_q = torch.nn.Linear(64, 72, bias=False)
    QuantisedLayers(network, next(one for one in ON_CPU if one.name == "fp8"), CPU, log)
    assert not is_quantised(block.attn1.to_q.weight)
    (line,) = [line for line in logged() if line["event"] == "layers not quantised"]
    assert line["layers"] == 1
    assert line["first"] == ["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"]
    four = next(one for one in SCHEMES if one.name == "int4")
    assert fits(four, torch.empty(8, 96), CPU)
    assert not fits(four, torch.empty(8, 96), torch.device("cuda"))


@pytest.mark.parametrize("name", ["int8", "fp8", "int4"])
def test_a_merge_is_that_of_plain_weights_quantised_anew(
    name: str, shelf: Path, log: Logger, request_for: Asking
) -> None:
    stack = request_for(adapters=uses(lora=0.8, dora=0.5), steps=1)
    plain = SdxlEngine(ModelFolders(shelf, log), "cpu", log)
    drawn(plain, stack)
    expected = pipeline(plain).unet
    QuantisedLayers(expected, planned(name).quantization.scheme, CPU, log)  # type: ignore[arg-type]

    engine = engine_over(shelf, log, planned(name, quantize_loras=True))
    bare = drawn(engine, request_for(steps=1))
    before = quantised(pipeline(engine).unet)
    merged = drawn(engine, stack)
    assert same(quantised(pipeline(engine).unet), quantised(expected))
    assert merged.pixels != bare.pixels
    assert merged.metadata["loras_rounded_to"] == planned(name).quantization.scheme.label  # type: ignore[union-attr]
    nought = drawn(engine, request_for(adapters=uses(lora=0.0), steps=1))
    assert nought.pixels == bare.pixels
    assert "layers_in_full" not in {**bare.metadata, **merged.metadata}
    assert "loras_rounded_to" not in {**bare.metadata, **nought.metadata, **drawn(plain, stack).metadata}
    assert drawn(engine, request_for(steps=1)).pixels == bare.pixels
    assert same(quantised(pipeline(engine).unet), before)


def test_a_merge_writes_into_the_same_memory(shelf: Path, log: Logger, request_for: Asking) -> None:
    engine = engine_over(shelf, log, planned("int8", quantize_loras=True))
    drawn(engine, request_for(steps=1))
    layers = [
        layer for layer in pipeline(engine).unet.modules() if is_quantised(getattr(layer, "weight", torch.empty(0)))
    ]
    before = [(id(layer.weight), layer.weight.qdata.data_ptr()) for layer in layers]
    drawn(engine, request_for(adapters=uses(lora=0.8), steps=1))
    assert [(id(layer.weight), layer.weight.qdata.data_ptr()) for layer in layers] == before


def test_what_is_quantised_and_not_in_its_file_takes_no_adapter(shelf: Path, log: Logger, request_for: Asking) -> None:
    engine = engine_over(shelf, log, planned("int8"))
    drawn(engine, request_for(steps=1))
    layer = pipeline(engine).unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q
    with torch.no_grad():
        layer.weight.scale.mul_(2)
    with pytest.raises(EngineFault, match="SDXL_QUANTIZATION=none"):
        drawn(engine, request_for(adapters=uses(lora=1.0), steps=1))


@pytest.mark.parametrize("name", ["int8", "fp8", "int4"])
def test_what_overflows_is_drawn_in_plain_floats_and_comes_back(name: str, log: Logger) -> None:
    network = unet().to(torch.bfloat16).eval().requires_grad_(False)
    QuantisedLayers(network, planned(name).quantization.scheme, CPU, log)  # type: ignore[arg-type]
    before = quantised(network)
    narrow = network.dtype
    with torch.inference_mode(), in_float32(network, []):  # as drawing does
        assert not quantised(network)
        assert answer(network).dtype == torch.float32
        assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert network.dtype == narrow
    assert same(quantised(network), before)


@pytest.mark.parametrize("few", [True, False])
def test_it_is_moved_between_stages_though_it_was_written_while_drawing(few: bool, log: Logger) -> None:
    network = unet().eval().requires_grad_(False)
    scheme = planned("int8").quantization.scheme
    layers = QuantisedLayers(network, scheme, CPU, log, quantises_merged=few)  # type: ignore[arg-type]
    name = next(name for name, _ in network.named_parameters() if layers.holds(name))
    with torch.inference_mode():
        layers.write(name, network.get_parameter(name).dequantize())
        before = answer(network)
        move(SimpleNamespace(unet=network), ["unet"], CPU)
        assert torch.equal(answer(network), before)


def test_the_values_stay_while_layers_are_wide(log: Logger) -> None:
    network = unet().eval().requires_grad_(False)
    QuantisedLayers(network, planned("int8").quantization.scheme, CPU, log)  # type: ignore[arg-type]
    expected = answer(network)
    with widened_layers(network):
        assert torch.allclose(answer(network), expected, atol=1e-4)
    layer = network.down_blocks[1].attentions[0].transformer_blocks[0].attn1.to_q
    assert held_bytes(layer.weight) < 0.5 * layer.weight.nbytes
