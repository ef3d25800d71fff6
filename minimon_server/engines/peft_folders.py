"""Adapters as PEFT saves them: a folder of tensors and what scales them, read and held against each other. No torch.

A configuration counts only in a folder of its own: beside single files nobody looks for one. What it says is checked to
the last member that changes a picture; nothing of it is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minimon_server.engines.adapter_names import split
from minimon_server.engines.file_hashes import FileHashes

# peft/utils/constants.py: SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME, CONFIG_NAME
WEIGHTS: Final = "adapter_model.safetensors"
PICKLE: Final = "adapter_model.bin"
CONFIG: Final = "adapter_config.json"
LARGEST: Final = 1 << 20  # bytes of a configuration
LARGEST_RANK: Final = 1 << 16
LARGEST_ALPHA: Final = 1e6
MOST_PATTERNS: Final = 4096
WRAPPER: Final = "base_model.model."
# The classes that an adapter may have been trained on, and what they are to a pipeline.
NETWORKS: Final = {
    "UNet2DConditionModel": "unet",
    "CLIPTextModel": "text_encoder",
    "CLIPTextModelWithProjection": "text_encoder_2",
}
# Ways to begin a training that leave the model's own weights alone; others change them, and the file holds the rest.
_BEGINNINGS: Final = (None, True, False, "gaussian", "eva", "orthogonal")
# Members that make something else of the factors than LoRA or DoRA, where they say anything (tuners/lora/config.py).
_BEYOND: Final = (
    *("fan_in_fan_out", "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters"),
    *("alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "velora_config"),
    *("monteclora_config", "megatron_config"),
)
_PLAIN_PATTERN: Final = re.compile(r"[\w.]{1,512}")


class BadPeft(Exception):
    """Why a folder is no adapter that can be applied, for people and without paths."""


@dataclass(frozen=True, slots=True)
class PeftSettings:
    """What a configuration says: of which network, and how its factors are scaled."""

    network: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilised: bool
    dora: bool

    @property
    def told(self) -> Mapping[str, Any]:
        """The same by the names that diffusers writes into a file: flat, with the network before each."""
        told = {"lora_alpha": self.alpha, "alpha_pattern": self.alpha_pattern, "use_rslora": self.rank_stabilised}
        return {f"{self.network}.{name}": value for name, value in told.items()}

    def name(self, key: str) -> str:
        """Return the name of a tensor with the network that it is of."""
        return f"{self.network}.{key.removeprefix(WRAPPER)}" if key.startswith(WRAPPER) else key

    def check(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Raise `BadPeft` where the tensors, by names and shapes, are not those that were configured."""
        held: dict[str, dict[str, Sequence[int]]] = {}
        for key, shape in shapes.items():
            if parted := split(key):
                held.setdefault(parted[0].removeprefix(WRAPPER), {})[parted[1]] = shape
        for layer, factors in held.items():
            if "alpha" in factors or "scale" in factors:
                raise BadPeft(f"{layer} has a scale of its own beside its {CONFIG}")
            if "down" not in factors:
                continue
            rank, found = _of(self.rank_pattern, layer, self.rank), factors["down"][0] if factors["down"] else 0
            if rank != found:
                member = "r" if rank == self.rank else "rank_pattern"
                raise BadPeft(f"{member} in its {CONFIG} is {rank} for {layer}, whose factors have rank {found}")
            if self.dora != ("magnitude" in factors):
                there = "a" if "magnitude" in factors else "no"
                raise BadPeft(
                    f"use_dora in its {CONFIG} is {str(self.dora).lower()}, and {layer} has {there} magnitude"
                )


def is_peft_folder(path: Path) -> bool:
    """Return whether something is a folder with any of the files that PEFT saves."""
    return path.is_dir() and any((path / name).is_file() for name in (WEIGHTS, PICKLE, CONFIG))


def files_of_adapter(path: Path) -> list[Path]:
    """Return the files of an adapter: a single file, or those of its folder that count."""
    return [path / CONFIG, path / WEIGHTS] if path.is_dir() else [path]


def digest_of_adapter(path: Path, hashes: FileHashes) -> str:
    """Return the SHA-256 of an adapter, its settings included (`FileHashes.of_several`); raise `OSError`."""
    return hashes.of_several(files_of_adapter(path))


def read_settings(folder: Path) -> PeftSettings:
    """Return what the configuration of a folder says; raise `BadPeft` with the member that is wrong, or `OSError`."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            is_pickle = name == WEIGHTS and (folder / PICKLE).is_file()
            why = f": {PICKLE} is a pickle, which could run anything when it is read" if is_pickle else ""
            raise BadPeft(f"{name} is missing{why}")
    with (folder / CONFIG).open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BadPeft(f"its {CONFIG} has more than {LARGEST >> 20} MiB")
    try:
        said = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadPeft(f"its {CONFIG} is not JSON") from None
    if not isinstance(said, dict):
        raise BadPeft(f"its {CONFIG} is not a JSON object")
    return _settings(said)


def _settings(said: Mapping[str, Any]) -> PeftSettings:
    if said.get("peft_type") != "LORA":
        raise _wrong("peft_type", said.get("peft_type"), '"LORA"')
    if said.get("bias", "none") != "none":
        raise _wrong("bias", said["bias"], '"none": the others hold weights of the model')
    beginning = said.get("init_lora_weights")
    if not any(beginning is one or (isinstance(one, str) and beginning == one) for one in _BEGINNINGS):
        raise _wrong("init_lora_weights", beginning, "one that leaves the model's own weights alone")
    for member in _BEYOND:
        if said.get(member):
            raise _wrong(member, said[member], "absent: this server does not apply it")
    return PeftSettings(
        _network(said.get("auto_mapping")),
        _rank("r", said.get("r")),
        _alpha("lora_alpha", said.get("lora_alpha")),
        {name: _rank(f"rank_pattern.{name}", one) for name, one in _pattern(said, "rank_pattern").items()},
        {name: _alpha(f"alpha_pattern.{name}", one) for name, one in _pattern(said, "alpha_pattern").items()},
        _switch(said, "use_rslora"),
        _switch(said, "use_dora"),
    )


def _network(mapping: Any) -> str:
    """Return the network that an adapter was trained on: the UNet where the configuration does not say."""
    named = mapping.get("base_model_class") if isinstance(mapping, dict) else mapping
    if named is None:
        return "unet"
    if not isinstance(named, str) or named not in NETWORKS:
        raise _wrong("auto_mapping.base_model_class", named, f"one of {', '.join(NETWORKS)}")
    return NETWORKS[named]


def _rank(member: str, said: Any) -> int:
    if type(said) is not int or not 1 <= said <= LARGEST_RANK:
        raise _wrong(member, said, f"a whole number from 1 to {LARGEST_RANK}")
    return said


def _alpha(member: str, said: Any) -> float:
    if type(said) not in (int, float) or not abs(said) <= LARGEST_ALPHA:
        raise _wrong(member, said, f"a number from {-LARGEST_ALPHA:g} to {LARGEST_ALPHA:g}")
    return float(said)


def _switch(said: Mapping[str, Any], member: str) -> bool:
    value = said.get(member, False)
    if type(value) is not bool:
        raise _wrong(member, value, "true or false")
    return value


def _pattern(said: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    found = said.get(member) or {}
    if not isinstance(found, dict) or len(found) > MOST_PATTERNS:
        raise _wrong(member, type(found).__name__, f"an object of at most {MOST_PATTERNS} members")
    if not all(_PLAIN_PATTERN.fullmatch(name) for name in found):
        raise BadPeft(f"{member} in its {CONFIG} is not made of layers' names")
    return found


def _of(pattern: Mapping[str, int], layer: str, usual: int) -> int:
    """Return what holds for a layer: as PEFT has it, the first name that it ends with counts (`get_pattern_key`)."""
    return next((one for name, one in pattern.items() if f".{layer}".endswith(f".{name}")), usual)


def _wrong(member: str, said: Any, wanted: str) -> BadPeft:
    told = ascii(said)[:64]
    return BadPeft(f"{member} in its {CONFIG} is {told}, and not {wanted}" if said is not None else _missing(member))


def _missing(member: str) -> str:
    return f"{member} is missing in its {CONFIG}"


def _no_number(said: str) -> float:
    raise ValueError(said)
