"""Every kind of adapter makes of UNet and text encoders what its own library makes; stacks: test_adapter_stacks.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.adapter_names import sgm_names
from minimon_server.engines.adapter_stack import AdapterStack
from minimon_server.logs import Logger
from tests.engines.adapter_references import LYCORIS_KINDS, PEFT_KINDS, answers, networks_of, reference, worst_error
from tests.engines.adapter_scene import (
    lycoris_over,
    nothing,
    reading_once,
    same,
    stack_over,
    state_of,
    tensors_of,
    wanted,
    write,
)

CLOSE = 1e-4


def adapter(seed: int, kind: str, network: Any) -> Any:
    """Return an adapter of LyCORIS of a kind over a network."""
    return lycoris_over(network, seed, **LYCORIS_KINDS[kind])


@pytest.fixture
def stack(pipeline: Any, models: Path, quiet: Logger) -> Iterator[AdapterStack]:
    stack = stack_over(pipeline, models / "small", quiet, read=reading_once())
    yield stack
    stack.take_off()


@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys")
@pytest.mark.parametrize("kind", [*LYCORIS_KINDS, *PEFT_KINDS])
def test_a_kind_equals_its_library_at_any_weight_in_unet_and_text_encoders(
    pipeline: Any, stack: AdapterStack, tmp_path: Path, kind: str
) -> None:
    before, bare, networks = state_of(pipeline), answers(pipeline), networks_of(pipeline)
    told = reference(kind, 3)
    path = told.write(networks, tmp_path / "one.safetensors")
    set_weight = told.apply(networks)
    for weight in (-2.0, 0.35, 1.0):
        stack.wear([wanted(path, weight)], nothing, nothing)
        assert stack.unmatched(wanted(path).digest) == ()
        set_weight(weight)
        assert worst_error(answers(pipeline), answers(networks), bare) < CLOSE
    stack.wear([wanted(path, 0.0)], nothing, nothing)
    assert same(answers(pipeline), bare)
    assert same(state_of(pipeline), before)


def test_a_stack_does_not_know_its_order(pipeline: Any, stack: AdapterStack, tmp_path: Path) -> None:
    uses = [
        wanted(write(tmp_path / f"{kind}.safetensors", tensors_of(adapter(number, kind, pipeline.unet))), weight)
        for number, (kind, weight) in enumerate({"locon": 0.5, "loha": -0.7, "dora-lokr": 0.3, "dora": 1.2}.items())
    ]
    stack.wear(uses, nothing, nothing)
    merged = state_of(pipeline)
    for order in ((3, 2, 1, 0), (1, 3, 0, 2)):
        stack.wear(uses[:1], nothing, nothing)
        stack.wear([uses[number] for number in order], nothing, nothing)
        assert same(state_of(pipeline), merged)
    zero = replace(uses[0], weight=0.0)
    stack.wear([*uses[1:], zero], nothing, nothing)
    without = state_of(pipeline)
    stack.wear(uses[1:], nothing, nothing)
    assert same(state_of(pipeline), without)


def test_one_adapter_under_the_names_of_every_trainer_is_the_same(
    pipeline: Any, stack: AdapterStack, tmp_path: Path
) -> None:
    tensors = tensors_of(adapter(3, "locon", pipeline.unet))
    layers = [name for name, module in pipeline.unet.named_modules() if getattr(module, "weight", None) is not None]
    sgm = {own: other for other, own in sgm_names(layers)}
    peft = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
    names: list[Callable[[str, str], str]] = [
        lambda layer, what: f"lora_unet_{sgm[layer].replace('.', '_')}.{what}",
        lambda layer, what: f"unet.{layer}.{peft.get(what, what)}",
        lambda layer, what: f"diffusion_model.{sgm[layer]}.{what}",
    ]
    by_flat = {name.replace(".", "_"): name for name in layers}
    stack.wear([wanted(write(tmp_path / "kohya.safetensors", tensors))], nothing, nothing)
    merged = state_of(pipeline)
    for number, name in enumerate(names):
        parted = [key.removeprefix("lora_unet_").partition(".") for key in tensors]
        keys = [name(by_flat[layer], what) for layer, _, what in parted]
        path = write(tmp_path / f"{number}.safetensors", dict(zip(keys, tensors.values(), strict=True)))
        stack.wear([wanted(path)], nothing, nothing)
        assert stack.unmatched(wanted(path).digest) == ()
        assert same(state_of(pipeline), merged)


def test_a_single_file_serves_as_the_copy_of_what_it_holds(
    pipeline: Any, tmp_path: Path, log: Logger, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    before = state_of(pipeline)
    layers = [name for name, module in pipeline.unet.named_modules() if getattr(module, "weight", None) is not None]
    sgm = {own: other for other, own in sgm_names(layers)}
    parted = {name: name.rpartition(".") for name in pipeline.unet.state_dict()}
    held = {
        f"model.diffusion_model.{sgm[layer]}.{kind}": pipeline.unet.state_dict()[name].clone()
        for name, (layer, _, kind) in parted.items()
    }
    for name, tensor in pipeline.text_encoder.state_dict().items():
        held[f"conditioner.embedders.0.transformer.text_model.{name}"] = tensor.clone()
    single = write(tmp_path / "whole.safetensors", held)
    stack = AdapterStack(pipeline, {"unet": [single], "text_encoder": [single]}, torch.device("cpu"), log)
    tensors = tensors_of(adapter(3, "locon", pipeline.unet))
    tensors |= tensors_of(lycoris_over(pipeline.text_encoder, 3, preset="full-lin"), "lora_te1_")
    stack.wear([wanted(write(tmp_path / "one.safetensors", tensors))], nothing, nothing)
    assert not same(state_of(pipeline), before)
    stack.take_off()
    assert same(state_of(pipeline), before)
    assert not [line for line in logged() if line["event"] == "weights copied before a merge"]
