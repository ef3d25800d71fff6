"""What a configuration of PEFT says of an adapter, to the last member that changes a picture. Reads no file, no torch.

It is the same in `adapter_config.json` and in the metadata that diffusers writes into a single file. Members that are
applied are read; those that only trained are known by name; whatever else says anything is refused by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

LARGEST_RANK: Final = 1 << 16
LARGEST_ALPHA: Final = 1e6
MOST_PATTERNS: Final = 4096
MOST_TOLD: Final = 512  # characters of a layer's name, which a file may make as long as it likes
# The classes that an adapter may have been trained on, and what they are to a pipeline.
NETWORKS: Final = {
    "UNet2DConditionModel": "unet",
    "CLIPTextModel": "text_encoder",
    "CLIPTextModelWithProjection": "text_encoder_2",
}
# Ways to begin a training that leave the model's own weights alone; others change them, and the file holds the rest.
_BEGINNINGS: Final = (None, True, False, "gaussian", "eva", "orthogonal")
# Members of PEFT's LoraConfig, 0.21 and all before (tuners/lora/config.py). What is read here:
READ: Final = frozenset(
    ["peft_type", "auto_mapping", "bias", "init_lora_weights", "r", "lora_alpha", "rank_pattern", "alpha_pattern"]
) | frozenset(["use_rslora", "use_dora", "lora_bias"])
# What says how it was trained, or which layers have factors, as the tensors do; no network here has tied weights. The
# settings of beginnings mean something beside their beginning alone. All others make something else of the factors.
INERT: Final = frozenset(
    [
        *("task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "runtime_config"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "ensure_weight_tying"),
        *("lora_dropout", "merge_weights", "megatron_core", "qalora_group_size"),
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config"),
    ]
)
# diffusers begins a name that is whole with "^" (loaders/peft.py).
_PLAIN_PATTERN: Final = re.compile(r"\^?[\w.]{1,512}")
_CLIP_BODY: Final = "text_model."  # a layer of its own in some versions of transformers only


Number = TypeVar("Number", int, float)


class BadPeft(Exception):
    """Why an adapter cannot be applied, for people and without paths."""


@dataclass(frozen=True, slots=True)
class PeftSettings:
    """What a configuration says of one network's factors; `said` is where, for people."""

    network: str
    said: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    dora: bool

    def alpha_of(self, layer: str) -> float:
        """Return the alpha of a layer, by its name in the network."""
        return _of(self.alpha_pattern, layer, self.alpha)

    def check(self, layer: str, factors: Mapping[str, Sequence[int]]) -> None:
        """Raise `BadPeft` where a layer's factors, the shapes by their names, are not those that were configured."""
        if "down" not in factors:
            return
        rank, found = _of(self.rank_pattern, layer, self.rank), factors["down"][0] if factors["down"] else 0
        if rank != found:
            member = "r" if rank == self.rank else "rank_pattern"
            raise BadPeft(
                f"{member} in its {self.said} is {rank} for {layer[:MOST_TOLD]}, whose factors have rank {found}"
            )
        if self.dora != ("magnitude" in factors):
            there = "a" if "magnitude" in factors else "no"
            switch = f"use_dora in its {self.said} is {str(self.dora).lower()}"
            raise BadPeft(f"{switch}, and {layer[:MOST_TOLD]} has {there} magnitude")


def settings_of_text(text: str | bytes, said: str) -> Mapping[str, Any]:
    """Return the members of a configuration that is JSON; `said` is where it stands, for people; raise `BadPeft`."""
    try:
        members = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadPeft(f"its {said} is not JSON") from None
    if not isinstance(members, dict):
        raise BadPeft(f"its {said} is not a JSON object")
    return members


def settings_by_network(members: Mapping[str, Any], said: str) -> Mapping[str, PeftSettings]:
    """Return what metadata say of each network; raise `BadPeft` with the member that is wrong.

    diffusers writes the members of all networks into one object, `<network>.<member>` (a pipeline's
    `save_lora_weights`), or those of the UNet alone by their names (the UNet's own `save_lora_adapter`).
    """
    parted: dict[tuple[str, str], dict[str, Any]] = {}
    for name, value in members.items():
        before, dot, member = name.partition(".")
        if dot and before not in NETWORKS.values():
            raise BadPeft(f"{ascii(name)[:64]} in its {said} is of a network that is not one of SDXL's")
        key = (before, f"{before}.") if dot else ("unet", "")
        parted.setdefault(key, {})[member if dot else name] = value
    if ("unet", "") in parted and len(parted) > 1:
        raise BadPeft(f"{ascii(next(iter(parted['unet', ''])))[:64]} in its {said} is of no network, and others are")
    return {
        network: _Members({"peft_type": "LORA", **held, "auto_mapping": None}, said, before).settings(network)
        for (network, before), held in parted.items()
    }


def settings_of_folder(members: Mapping[str, Any], said: str) -> PeftSettings:
    """Return what the configuration of a folder says, its network included; raise `BadPeft` as the other."""
    found = _Members(members, said, "")
    return found.settings(found.network())


class _Members:
    """The members of one network's configuration, and where they stand: `said`, with `before` before each name."""

    def __init__(self, members: Mapping[str, Any], said: str, before: str) -> None:
        self._held = members
        self._said = said
        self._before = before

    def settings(self, network: str) -> PeftSettings:
        """Return them, each checked."""
        held = self._held
        if held.get("peft_type") != "LORA":
            raise self._wrong("peft_type", held.get("peft_type"), '"LORA"')
        if held.get("bias", "none") != "none":
            raise self._wrong("bias", held["bias"], '"none": the others hold weights of the model')
        beginning = held.get("init_lora_weights")
        if not any(beginning is one or (isinstance(one, str) and beginning == one) for one in _BEGINNINGS):
            raise self._wrong("init_lora_weights", beginning, "one that leaves the model's own weights alone")
        for member, value in held.items():
            # null, false and nothing are how PEFT writes what is not used, in versions that are not yet made, too
            is_off = value is None or value is False or value in ("", [], {})
            if member not in READ and member not in INERT and not is_off:
                raise self._wrong(member, value, "absent: this server does not apply it")
        self._switch("lora_bias")  # it is applied as the tensors have it
        return PeftSettings(
            network,
            self._said,
            self._rank("r", held.get("r")),
            self._alpha("lora_alpha", held.get("lora_alpha")),
            {name: self._rank(f"rank_pattern.{name}", one) for name, one in self._pattern("rank_pattern").items()},
            {name: self._alpha(f"alpha_pattern.{name}", one) for name, one in self._pattern("alpha_pattern").items()},
            self._switch("use_rslora"),
            self._switch("use_dora"),
        )

    def network(self) -> str:
        """Return the network that an adapter was trained on: the UNet where the configuration does not say."""
        mapping = self._held.get("auto_mapping")
        named = mapping.get("base_model_class") if isinstance(mapping, dict) else mapping
        if named is None:
            return "unet"
        if not isinstance(named, str) or named not in NETWORKS:
            raise self._wrong("auto_mapping.base_model_class", named, f"one of {', '.join(NETWORKS)}")
        return NETWORKS[named]

    def _rank(self, member: str, value: Any) -> int:
        if type(value) is not int or not 1 <= value <= LARGEST_RANK:
            raise self._wrong(member, value, f"a whole number from 1 to {LARGEST_RANK}")
        return value

    def _alpha(self, member: str, value: Any) -> float:
        if type(value) not in (int, float) or not abs(value) <= LARGEST_ALPHA:
            raise self._wrong(member, value, f"a number from {-LARGEST_ALPHA:g} to {LARGEST_ALPHA:g}")
        return float(value)

    def _switch(self, member: str) -> bool:
        value = self._held.get(member, False)
        if type(value) is not bool:
            raise self._wrong(member, value, "true or false")
        return value

    def _pattern(self, member: str) -> Mapping[str, Any]:
        found = self._held.get(member) or {}
        if not isinstance(found, dict) or len(found) > MOST_PATTERNS:
            raise self._wrong(member, type(found).__name__, f"an object of at most {MOST_PATTERNS} members")
        if not all(_PLAIN_PATTERN.fullmatch(name) for name in found):
            raise BadPeft(f"{self._before}{member} in its {self._said} is not made of layers' names")
        return found

    def _wrong(self, member: str, value: Any, wanted: str) -> BadPeft:
        name = f"{self._before}{ascii(member)[1:-1][:128]}"
        if value is None:
            return BadPeft(f"{name} is missing in its {self._said}")
        return BadPeft(f"{name} in its {self._said} is {ascii(value)[:64]}, and not {wanted}")


def _of(pattern: Mapping[str, Number], layer: str, usual: Number) -> Number:
    """Return what holds for a layer: as PEFT has it, the first name that it ends with counts (`get_pattern_key`)."""
    bare = layer.removeprefix(_CLIP_BODY)
    for name, one in pattern.items():
        end = name.removeprefix("^").removeprefix(_CLIP_BODY)
        if bare == end or (not name.startswith("^") and bare.endswith(f".{end}")):
            return one
    return usual


def _no_number(said: str) -> float:
    raise ValueError(said)
