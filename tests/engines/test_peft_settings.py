"""What diffusers and PEFT say of adapters in a single file is applied; what changes pictures beyond it is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from minimon_server.engines.adapter_deltas import BadAdapter
from minimon_server.engines.adapter_reading import PEFT_SETTINGS
from minimon_server.engines.adapter_stack import AdapterStack
from minimon_server.engines.peft_settings import INERT, READ, BadPeft, settings_by_network
from tests.engines.adapter_references import networks_of
from tests.engines.adapter_scene import nothing, same, state_of, wanted

SAID: dict[str, Any] = {"r": 4, "lora_alpha": 6}
# Members of PEFT 0.21 that this server does not apply.
BEYOND = {
    *("fan_in_fan_out", "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters"),
    *("alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "velora_config"),
    *("monteclora_config", "megatron_config"),
}


@pytest.fixture(scope="module")
def written(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file as diffusers writes it today, of the UNet and a text encoder."""
    folder, told = tmp_path_factory.mktemp("written"), dict[str, Any]()
    for part, targets in (("unet", ["to_q", "proj_in"]), ("text_encoder", ["q_proj"])):
        network = networks_of(pipeline)[part]
        torch.manual_seed(3)
        network.add_adapter(LoraConfig(target_modules=targets, init_lora_weights=False, **SAID))
        told[f"{part}_lora_layers"] = get_peft_model_state_dict(network, adapter_name="default")
        told[f"{part}_lora_adapter_metadata"] = network.peft_config["default"].to_dict()
    StableDiffusionXLPipeline.save_lora_weights(folder, weight_name="one.safetensors", **told)
    return folder / "one.safetensors"


def said_in(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()[PEFT_SETTINGS])
    return found


def again(source: Path, path: Path, said: dict[str, Any]) -> Path:
    """Write a file with the tensors of another, and other settings."""
    save_file(load_file(source), path, {PEFT_SETTINGS: json.dumps(said)})
    return path


def test_every_member_of_the_installed_peft_is_known() -> None:
    held = {one.name for one in dataclasses.fields(LoraConfig)}
    assert held <= READ | INERT | BEYOND
    config: Any = LoraConfig(**SAID)
    plain = json.loads(json.dumps(config.to_dict(), default=list))
    (found,) = settings_by_network(plain, "said").values()
    assert (found.network, found.rank, found.alpha) == ("unet", 4, 6.0)
    for member in BEYOND:
        with pytest.raises(BadPeft, match=f"unet.{member} in its said is .* does not apply it"):
            settings_by_network({f"unet.{name}": one for name, one in (plain | {member: [1]}).items()}, "said")


def test_what_older_and_other_writers_say_is_what_diffusers_says(
    stack: AdapterStack, pipeline: Any, written: Path, tmp_path: Path
) -> None:
    bare = state_of(pipeline)
    said = said_in(written)
    stack.wear([wanted(written)], nothing, nothing)
    merged = state_of(pipeline)
    assert not same(merged, bare)
    few = {name: one for name, one in said.items() if name.partition(".")[2] in ("r", "lora_alpha")}
    first, *_ = (name for name in load_file(written) if name.startswith("unet."))
    layer = first.removeprefix("unet.").partition(".lora_")[0]
    whole = {"unet.alpha_pattern": {f"^{layer}": 6}, "unet.rank_pattern": {f"^{layer}": 4}}
    later = {"unet.use_what_is_not_yet_made": False, "text_encoder.other_config": None}
    for number, other in enumerate((few, said | whole, said | later, said | {"unet.merge_weights": True})):
        path = again(written, tmp_path / f"{number}.safetensors", other)
        stack.wear([wanted(path)], nothing, nothing)
        assert same(state_of(pipeline), merged)
    other = said | {"unet.lora_alpha": 9, "unet.alpha_pattern": {f"^{layer}": 6}}
    stack.wear([wanted(again(written, tmp_path / "other.safetensors", other))], nothing, nothing)
    changed = {name for name, one in state_of(pipeline).items() if not torch.equal(one, merged[name])}
    assert changed
    assert f"unet.{layer}.weight" not in changed


def test_what_the_unet_itself_saves_is_scaled_as_it_says(stack: AdapterStack, pipeline: Any, tmp_path: Path) -> None:
    network = networks_of(pipeline)["unet"]
    torch.manual_seed(3)
    network.add_adapter(LoraConfig(target_modules=["to_q"], init_lora_weights=False, **SAID))
    network.save_lora_adapter(tmp_path, adapter_name="default", weight_name="own.safetensors")
    own = tmp_path / "own.safetensors"
    stack.wear([wanted(own)], nothing, nothing)
    made = state_of(pipeline)
    named = {f"unet.{name}": one for name, one in load_file(own).items()}
    said = {f"unet.{name}": one for name, one in said_in(own).items()}
    save_file(named, tmp_path / "named.safetensors", {PEFT_SETTINGS: json.dumps(said)})
    stack.wear([wanted(tmp_path / "named.safetensors")], nothing, nothing)
    assert same(state_of(pipeline), made)
    network.fuse_lora()
    right = network.state_dict()
    name = next(name for name in right if name.endswith("to_q.base_layer.weight"))
    merged = made[f"unet.{name.replace('.base_layer', '')}"]
    assert torch.allclose(merged, right[name], atol=1e-6)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a beginning": (
        {"unet.init_lora_weights": "pissa"},
        r"unet\.init_lora_weights in its lora_adapter_metadata is 'pi",
    ),
    "biases": ({"text_encoder.bias": "all"}, r"text_encoder\.bias in .* is 'all'"),
    "no DoRA": ({"unet.use_dora": True}, "use_dora in .* is true, and .* has no magnitude"),
    "another rank": ({"unet.r": 8}, "r in .* is 8 for .*, whose factors have rank 4"),
    "rs-LoRA of text": ({"unet.use_rslora": "yes"}, r"unet\.use_rslora in .* is 'yes', and not true or false"),
    "alpha of text": ({"unet.lora_alpha": "6"}, r"unet\.lora_alpha in .* is '6', and not a number"),
    "no alpha": ({"unet.lora_alpha": None}, r"unet\.lora_alpha is missing in its lora_adapter_metadata"),
    "a typo": ({"unet.use_rslorra": True}, r"unet\.use_rslorra in .* is True, and not absent"),
    "another kind": ({"unet.peft_type": "LOHA"}, r"unet\.peft_type in .* is 'LOHA'"),
    "another network": ({"transformer.r": 4}, "'transformer.r' in .* is of a network that is not one of SDXL's"),
    "no network": ({"use_rslora": True}, "'use_rslora' in .* is of no network, and others are"),
    "a pattern": ({"unet.alpha_pattern": {"(a+)+$": 1}}, r"unet\.alpha_pattern in .* is not made of layers' names"),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_what_a_single_file_says_wrongly_is_said_by_its_member(
    stack: AdapterStack, written: Path, tmp_path: Path, wrong: str
) -> None:
    members, said = WRONG[wrong]
    path = again(written, tmp_path / "wrong.safetensors", said_in(written) | members)
    with pytest.raises(BadAdapter, match=said):
        stack.wear([wanted(path)], nothing, nothing)
