"""Every kind of adapter makes of a real UNet what its own library makes of it, at any weight, alone and stacked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer

from minimon_server.engines.adapter_names import sgm_names
from minimon_server.engines.adapter_stack import AdapterStack
from minimon_server.logs import Logger
from tests.engines.adapter_scene import (
    Reference,
    answer,
    error_of,
    lycoris_over,
    nothing,
    same,
    stack_over,
    state_of,
    tensors_of,
    wanted,
    write,
)
from tests.small_pipeline import plainly_loaded

CLOSE = 1e-4
KINDS: dict[str, dict[str, Any]] = {
    "locon": {"algo": "lora"},
    "locon-tucker": {"algo": "lora", "use_tucker": True},
    "loha": {"algo": "loha"},
    "loha-tucker": {"algo": "loha", "use_tucker": True},
    "lokr": {"algo": "lokr", "factor": 4},
    "lokr-both": {"algo": "lokr", "factor": 16, "decompose_both": True, "linear_dim": 1, "conv_dim": 1},
    "lokr-tucker": {"algo": "lokr", "factor": 4, "use_tucker": True},
    "lokr-whole": {"algo": "lokr", "factor": 8, "full_matrix": True},
    "dora": {"algo": "lora", "dora_wd": True},
    "dora-columns": {"algo": "lora", "dora_wd": True, "wd_on_output": False},
    "dora-loha": {"algo": "loha", "dora_wd": True},
    "dora-lokr": {"algo": "lokr", "factor": 4, "dora_wd": True},
    "full": {"algo": "full"},
    "norms": {"algo": "lora", "train_norm": True},
}


def maker(seed: int, kind: str) -> Callable[[Any], Any]:
    """Return what makes an adapter of a kind over a UNet."""
    return lambda unet: lycoris_over(unet, seed, **KINDS[kind])


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return plainly_loaded(models / "small")


@pytest.fixture
def stack(pipeline: Any, models: Path, quiet: Logger) -> Iterator[AdapterStack]:
    stack = stack_over(pipeline, models / "small", quiet)
    yield stack
    stack.take_off()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_kind_equals_its_reference_at_any_weight(
    pipeline: Any, stack: AdapterStack, tmp_path: Path, kind: str
) -> None:
    before, bare = state_of(pipeline), answer(pipeline.unet)
    make = maker(3, kind)
    path = write(tmp_path / "one.safetensors", tensors_of(make(pipeline.unet)))
    reference = Reference(pipeline.unet, make)
    for weight in (-2.0, 0.35, 1.0):
        stack.wear([wanted(path, weight)], nothing, nothing)
        assert stack.unmatched(wanted(path).digest) == ()
        assert error_of(answer(pipeline.unet), reference.answer(weight), bare) < CLOSE
    stack.wear([wanted(path, 0.0)], nothing, nothing)
    assert torch.equal(answer(pipeline.unet), bare)
    assert same(state_of(pipeline), before)


def test_a_stack_equals_its_references_and_does_not_know_its_order(
    pipeline: Any, stack: AdapterStack, tmp_path: Path
) -> None:
    bare = answer(pipeline.unet)
    references = copy.deepcopy(pipeline.unet)
    makes = [maker(number, kind) for number, kind in enumerate(("locon", "loha", "dora-lokr", "dora"))]
    weights = (0.5, -0.7, 0.3, 1.2)
    uses = [
        wanted(write(tmp_path / f"{number}.safetensors", tensors_of(make(pipeline.unet))), weight)
        for number, (make, weight) in enumerate(zip(makes, weights, strict=True))
    ]
    stack.wear(uses, nothing, nothing)
    merged = state_of(pipeline)
    assert error_of(answer(pipeline.unet), Reference(references, *makes).answer(*weights), bare) < CLOSE
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
    tensors = tensors_of(maker(3, "locon")(pipeline.unet))
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
    tensors = tensors_of(maker(3, "locon")(pipeline.unet))
    tensors |= tensors_of(lycoris_over(pipeline.text_encoder, 3, preset="full-lin"), "lora_te1_")
    stack.wear([wanted(write(tmp_path / "one.safetensors", tensors))], nothing, nothing)
    assert not same(state_of(pipeline), before)
    stack.take_off()
    assert same(state_of(pipeline), before)
    assert not [line for line in logged() if line["event"] == "weights copied before a merge"]


PEFT_KINDS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4, "lora_alpha": 4},
    "alpha": {"r": 8, "lora_alpha": 3},
    "rs-lora": {"r": 8, "lora_alpha": 3, "use_rslora": True},
    "alpha-pattern": {"r": 4, "lora_alpha": 4, "alpha_pattern": {"attn1.to_q": 9}},
    "dora": {"r": 4, "lora_alpha": 6, "use_dora": True},
}


TARGETS = {
    "unet": ["to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "proj_in"],
    "text_encoder": ["q_proj", "out_proj", "fc1"],
    "text_encoder_2": ["k_proj", "fc2"],
}


def peft_file(path: Path, pipeline: Any, settings: dict[str, Any]) -> Path:
    """Add a LoRA of random numbers to UNet and text encoders, named as the file, which is saved as diffusers saves."""
    torch.manual_seed(len(path.stem))
    told: dict[str, Any] = {}
    for part, targets in TARGETS.items():
        network = getattr(pipeline, part)
        config = LoraConfig(target_modules=targets, init_lora_weights=False, **settings)
        network.add_adapter(config, adapter_name=path.stem)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if f"lora_magnitude_vector.{path.stem}." in name:
                    parameter.mul_(1 + 0.2 * torch.rand(parameter.shape))
        told[f"{part}_lora_layers"] = get_peft_model_state_dict(network, adapter_name=path.stem)
        told[f"{part}_lora_adapter_metadata"] = config.to_dict()  # type: ignore[no-untyped-call]
    StableDiffusionXLPipeline.save_lora_weights(path.parent, weight_name=path.name, **told)
    return path


def set_weights(network: Any, weights: dict[str, float]) -> None:
    """Let these adapters of PEFT count, with these weights."""
    for layer in network.modules():
        if isinstance(layer, LoraLayer):
            layer.set_adapter(list(weights))
            for name, weight in weights.items():
                layer.set_scale(name, weight)


@torch.no_grad()
def whole_answer(pipeline: Any) -> torch.Tensor:
    """Return what UNet and text encoders answer, in one row of numbers."""
    words = torch.arange(9)[None]
    said = [
        encoder(words, output_hidden_states=True).hidden_states[-1]
        for encoder in (pipeline.text_encoder, pipeline.text_encoder_2)
    ]
    return torch.cat([answer(pipeline.unet).flatten(), *(one.flatten() for one in said)])


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`", "ignore:The following alpha_pattern keys")
@pytest.mark.parametrize("kind", list(PEFT_KINDS))
def test_a_lora_of_peft_equals_peft_with_its_text_encoders(
    pipeline: Any, stack: AdapterStack, models: Path, tmp_path: Path, kind: str
) -> None:
    bare = whole_answer(pipeline)
    reference = plainly_loaded(models / "small")
    paths = [peft_file(tmp_path / f"{name}.safetensors", reference, PEFT_KINDS[kind]) for name in ("a", "bb")]
    for weights in ((1.0, 0.0), (-2.0, 0.0), (0.4, 1.3)):
        if kind == "dora" and all(weights):
            continue  # PEFT applies one DoRA to what the other has made; here each is defined against the pristine W
        used = [(path, weight) for path, weight in zip(paths, weights, strict=True) if weight]
        for part in TARGETS:
            set_weights(getattr(reference, part), {path.stem: weight for path, weight in used})
        stack.wear([wanted(path, weight) for path, weight in used], nothing, nothing)
        assert all(stack.unmatched(wanted(path).digest) == () for path, _ in used)
        assert error_of(whole_answer(pipeline), whole_answer(reference), bare) < CLOSE
