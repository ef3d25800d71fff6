"""What the libraries of adapters make of a pipeline's networks: LyCORIS and PEFT, on copies. Nothing of the engine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from lycoris import FullModule, LoConModule, NormModule
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer

from tests.engines.adapter_scene import Tensors, answer, lycoris_over, tensors_of, write

# The networks that an adapter changes, and how Kohya's trainers begin the names of their layers.
PARTS: Mapping[str, str] = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
LYCORIS_KINDS: Mapping[str, dict[str, Any]] = {
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
PEFT_KINDS: Mapping[str, dict[str, Any]] = {
    "peft-lora": {"r": 4, "lora_alpha": 4},
    "peft-alpha": {"r": 8, "lora_alpha": 3},
    "peft-rs-lora": {"r": 8, "lora_alpha": 3, "use_rslora": True},
    "peft-alpha-pattern": {"r": 4, "lora_alpha": 4, "alpha_pattern": {"attn1.to_q": 9}},
    "peft-dora": {"r": 4, "lora_alpha": 6, "use_dora": True},
}
PEFT_TARGETS = {
    "unet": ["to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "proj_in"],
    "text_encoder": ["q_proj", "out_proj", "fc1"],
    "text_encoder_2": ["k_proj", "fc2"],
}
Networks = Mapping[str, Any]
SetWeight = Callable[[float], None]


def networks_of(pipeline: Any) -> Networks:
    """Return the networks that adapters change, in float32 and as copies."""
    return {part: copy.deepcopy(getattr(pipeline, part)).float() for part in PARTS}


@torch.no_grad()
def answers(networks: Any) -> Tensors:
    """Return what each network answers; `networks` are those of `networks_of`, or a pipeline."""
    found = {}
    for part in PARTS:
        network = networks[part] if isinstance(networks, Mapping) else getattr(networks, part)
        if part == "unet":
            found[part] = answer(network)
        else:
            said = network(torch.arange(9)[None])
            pooled = said.text_embeds if "text_embeds" in said else said.pooler_output
            found[part] = torch.cat([said.last_hidden_state.flatten(), pooled.flatten()])
    return found


def worst_error(ours: Tensors, reference: Tensors, bare: Tensors) -> float:
    """Return how far the worst of the tensors is from its reference, relative to what the adapters change of it.

    NaN where any is no number, or where the adapters change nothing of it: close to nothing.
    """
    errors = [(ours[name] - told).norm() / (told - bare[name]).norm() for name, told in reference.items()]
    return float(torch.stack(errors).max())  # unlike Python's, torch's max is NaN where any number is


class Reference(Protocol):
    """An adapter of random numbers, made by its own library."""

    def write(self, originals: Networks, path: Path) -> Path:
        """Write its file."""

    def apply(self, networks: Networks) -> SetWeight:
        """Let the library apply it to these networks as it does for training; return what sets its weight."""

    def changes(self, originals: Networks, weight: float) -> Tensors:
        """Return what the library adds to each parameter at this weight, in float32."""


class Lycoris:
    """Of one of `LYCORIS_KINDS`, over every layer that the kind knows."""

    def __init__(self, kind: str, seed: int) -> None:
        self._settings = LYCORIS_KINDS[kind]
        self._seed = seed

    def write(self, originals: Networks, path: Path) -> Path:
        """Write its file, with the names of Kohya's trainers."""
        tensors: Tensors = {}
        for part, prefix in PARTS.items():
            tensors |= tensors_of(self._over(originals[part]), prefix)
        return write(path, tensors)

    def apply(self, networks: Networks) -> SetWeight:
        """Call `apply_to`."""
        made = [self._over(networks[part]) for part in PARTS]
        for network in made:
            network.apply_to()

        def set_weight(weight: float) -> None:
            for layer in (layer for network in made for layer in network.loras):
                layer.multiplier = weight

        return set_weight

    def changes(self, originals: Networks, weight: float) -> Tensors:
        """Return what LyCORIS adds: as it tells it, or as its layers compute with it after `apply_to`.

        `get_diff_weight` and `merge_to` apply the scale of LoHa and LoKr twice (4.1.3) and know no DoRA: the
        changes of those are recorded where applied layers hand them to torch, less exact by a rounding of W + change.
        """
        found: Tensors = {}
        for part in PARTS:
            network = copy.deepcopy(originals[part])
            names = {id(module): f"{part}.{name}" for name, module in network.named_modules()}
            for layer in self._over(network).loras:
                name = names[id(layer.org_module[0])]
                layer.multiplier = weight
                for kind, change in zip(("weight", "bias"), _told(layer) or _recorded(layer), strict=True):
                    if change is not None:
                        found[f"{name}.{kind}"] = change
        return found

    def _over(self, network: Any) -> Any:
        return lycoris_over(network, self._seed, **self._settings)


@torch.no_grad()
def _told(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Return what a layer of LyCORIS tells that it adds to weight and bias; None where that is not what it trains."""
    if isinstance(layer, FullModule | NormModule) or (isinstance(layer, LoConModule) and not layer.wd):
        weight, bias = layer.get_diff_weight(layer.multiplier)
        return weight.view(layer.org_module[0].weight.shape), bias
    return None


@torch.no_grad()
def _recorded(layer: Any) -> tuple[torch.Tensor, None]:
    """Return what a layer of LyCORIS hands to torch beside the weight of the network."""
    layer.apply_to()
    given: list[torch.Tensor] = []
    compute = layer.op

    def record(x: torch.Tensor, weight: torch.Tensor, bias: None, **settings: Any) -> torch.Tensor:
        given.append(weight)
        found: torch.Tensor = compute(x, weight, bias, **settings)
        return found

    layer.op = record
    _, columns, *window = layer.org_module[0].weight.shape
    layer.org_module[0](torch.zeros(1, columns, *(4 for _ in window)))
    (change,) = given
    return change, None


def lora_layers(network: Any) -> list[tuple[str, Any]]:
    """Return the layers that PEFT has put around others, by name."""
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, LoraLayer)]


class Peft:
    """Of one of `PEFT_KINDS`, over the layers that trainers of LoRA name; saved as diffusers saves."""

    def __init__(self, kind: str, seed: int) -> None:
        self._kind = kind
        self._seed = seed
        self._name = f"{kind}-{seed}"

    def write(self, originals: Networks, path: Path) -> Path:
        """Write its file, with the names of PEFT and its configuration."""
        networks = copy.deepcopy(originals)
        self.apply(networks)
        told: dict[str, Any] = {}
        for part, network in networks.items():
            told[f"{part}_lora_layers"] = get_peft_model_state_dict(network, adapter_name=self._name)
            told[f"{part}_lora_adapter_metadata"] = network.peft_config[self._name].to_dict()
        StableDiffusionXLPipeline.save_lora_weights(path.parent, weight_name=path.name, **told)
        return path

    def apply(self, networks: Networks) -> SetWeight:
        """Add it to the networks, beside those that are there; every adapter of PEFT counts."""
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            for part, network in networks.items():
                settings: dict[str, Any] = {"target_modules": PEFT_TARGETS[part], "init_lora_weights": False}
                network.add_adapter(LoraConfig(**settings, **PEFT_KINDS[self._kind]), adapter_name=self._name)
                with torch.no_grad():
                    for name, parameter in network.named_parameters():
                        if f"lora_magnitude_vector.{self._name}." in name:
                            parameter.mul_(1 + 0.2 * torch.rand(parameter.shape))
        layers = [layer for network in networks.values() for _, layer in lora_layers(network)]
        for layer in layers:
            layer.set_adapter(list(layer.scaling))

        def set_weight(weight: float) -> None:
            for layer in layers:
                layer.set_scale(self._name, weight)

        return set_weight

    @torch.no_grad()
    def changes(self, originals: Networks, weight: float) -> Tensors:
        """Return PEFT's delta; of a DoRA, which has none of its own, what `merge` changes."""
        networks = copy.deepcopy(originals)
        self.apply(networks)(weight)
        found: Tensors = {}
        for part, network in networks.items():
            for name, layer in lora_layers(network):
                change = layer.get_delta_weight(self._name)
                if layer.use_dora[self._name]:
                    before = layer.base_layer.weight.clone()
                    layer.merge(adapter_names=[self._name])
                    change = layer.base_layer.weight - before
                found[f"{part}.{name}.weight"] = change
        return found


def reference(kind: str, seed: int) -> Reference:
    """Return an adapter of one of both libraries' kinds."""
    return Peft(kind, seed) if kind in PEFT_KINDS else Lycoris(kind, seed)


def together(originals: Networks, adapters: Sequence[Reference], weights: Sequence[float]) -> Tensors:
    """Return what the networks answer with these adapters applied to one copy by their libraries, PEFT's last."""
    networks = copy.deepcopy(originals)
    for adapter, weight in sorted(zip(adapters, weights, strict=True), key=lambda one: isinstance(one[0], Peft)):
        adapter.apply(networks)(weight)
    return answers(networks)
