"""From an adapter's file to what it changes in the layers of one pipeline, checked to the last number. Merges nothing.

Everything that can be wrong with a file is found here, before any weight is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from minimon_server.engines.adapter_deltas import (
    BadAdapter,
    Factors,
    Scaling,
    bias_change,
    extremes,
    shapes_of,
    weight_change,
)
from minimon_server.engines.adapter_names import Layer, LayerNames, split
from minimon_server.engines.adapter_ranks import check_ranks
from minimon_server.engines.host_copies import copies
from minimon_server.engines.peft_folders import WEIGHTS, check_tensors, name_in_pipeline, read_settings
from minimon_server.engines.peft_settings import BadPeft, PeftSettings, settings_by_network, settings_of_text

PEFT_SETTINGS: Final = "lora_adapter_metadata"  # diffusers/loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY
NO_SCALING: Final = Scaling()
_SCALARS: Final = ("alpha", "scale")
_FOR_BIAS: Final = ("diff_b", "b_norm", "up_bias")
# The factors of one layer, by what they are: their names and their shapes.
Shapes = tuple[tuple[str, torch.Size], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What an adapter changes in one layer: its factors on the CPU, as the file has them."""

    factors: Factors
    scaling: Scaling

    def has(self, kind: str) -> bool:
        """Return whether there is anything for the layer's `weight`, or for its `bias`."""
        for_bias = self.factors.keys() & set(_FOR_BIAS)
        return bool(for_bias if kind == "bias" else self.factors.keys() - for_bias - set(_SCALARS))

    def wide(self, device: torch.device) -> Factors:
        """Return the factors as float32 where they are computed with."""
        return {
            name: tensor.float() if name in _SCALARS else tensor.to(device, non_blocking=True).float()
            for name, tensor in self.factors.items()
        }


@dataclass(frozen=True, slots=True, eq=False)
class AdapterFile:
    """What a file holds, for whichever model: its tensors, mapped or in memory, and PEFT's settings beside them."""

    tensors: Mapping[str, torch.Tensor]
    settings: Mapping[str, PeftSettings]  # by the networks that they are of

    @property
    def size(self) -> int:
        """The bytes of its tensors."""
        return sum(one.nbytes for one in self.tensors.values())

    def in_memory(self, pinned: bool) -> AdapterFile:
        """Return the same with tensors of its own, whatever becomes of the file; raise where there is no room.

        Pinned ones are copied to a GPU without a stop on the way.
        """
        found = copies(list(self.tensors.values()), pin=pinned)
        return AdapterFile({name: found[id(one)] for name, one in self.tensors.items()}, self.settings)


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """One adapter for one pipeline; `unmatched` are the tensors of the file that fit no layer of it."""

    changes: Mapping[Layer, Change]
    unmatched: tuple[str, ...]


def read_file(path: Path) -> AdapterFile:
    """Return what the file at `path` holds, or a folder as PEFT saves it, the tensors mapped; raise `BadAdapter`."""
    try:
        if path.is_dir():
            return _read_folder(path)
        with safe_open(path, framework="pt") as file:
            settings = _settings((file.metadata() or {}).get(PEFT_SETTINGS))
            return AdapterFile({key: file.get_tensor(key) for key in file.keys()}, settings)  # noqa: SIM118 # no dict
    except BadPeft as error:
        raise BadAdapter(str(error)) from None
    except SafetensorError:
        raise BadAdapter("it is not a whole safetensors file") from None
    except OSError as error:
        raise BadAdapter(f"it cannot be read ({(error.strerror or 'error').lower()})") from None


def _read_folder(path: Path) -> AdapterFile:
    """Return the tensors of a folder, each with the network that it is of, and the folder's own settings."""
    said = read_settings(path)
    with safe_open(path / WEIGHTS, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # no dict
    check_tensors(said, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    named = {name_in_pipeline(said, key): tensor for key, tensor in tensors.items()}
    return AdapterFile(named, {said.network: said})


def fitted(file: AdapterFile, names: LayerNames, layers: Mapping[Layer, Any]) -> Adapter:
    """Return what a file changes in `layers`, modules by their names.

    Raise `BadAdapter` when it holds anything that is no number, fits a layer wrongly, or fits nothing.
    """
    tensors = file.tensors
    found, unmatched = _sorted_out(list(tensors), names)
    changes = {}
    for layer, keys in found.items():
        module = layers[layer]
        if getattr(module, "bias", None) is None:
            unmatched += [keys.pop(what) for what in _FOR_BIAS if what in keys]
        if not set(keys) - set(_SCALARS):  # nothing is left, or an alpha of factors that this server does not know
            unmatched += keys.values()
            continue
        factors = {what: tensors[key] for what, key in keys.items()}
        try:
            changes[layer] = Change(factors, _scaling(file.settings, layer, factors))
            _check(changes[layer], module)
        except BadPeft as error:
            raise BadAdapter(str(error)) from None
        except BadAdapter as error:
            raise BadAdapter(f"{'.'.join(layer)}: {error}") from None
    if not changes:
        raise BadAdapter(f"none of its {len(tensors)} tensors fits this model")
    return Adapter(changes, tuple(sorted(unmatched)))


def _sorted_out(keys: list[str], names: LayerNames) -> tuple[dict[Layer, dict[str, str]], list[str]]:
    """Return the names of tensors by layer and by what they are to it, and those that fit no layer."""
    found: dict[Layer, dict[str, str]] = {}
    unmatched = []
    for key in keys:
        parted = split(key)
        layer = names.find(parted[0]) if parted else None
        if parted is None or layer is None:
            unmatched.append(key)
            continue
        first = found.setdefault(layer, {}).setdefault(parted[1], key)
        if first != key:
            raise BadAdapter(f"it changes {'.'.join(layer)} twice: {first} and {key}")
    return found, unmatched


def _check(change: Change, module: Any) -> None:
    """Raise `BadAdapter` where a layer's factors are no numbers, or make something of another shape than the layer.

    Shapes are computed without numbers (torch's meta device): a file that claims terabytes takes none.
    """
    for name, tensor in change.factors.items():
        if 0 in tensor.shape:
            raise BadAdapter(f"its {name} is empty, {list(tensor.shape)}, as of rank 0")
        if name in _SCALARS and tensor.numel() != 1:
            raise BadAdapter(f"its {name} is not one number: {list(tensor.shape)}")
        if name not in _SCALARS and not tensor.is_floating_point():
            raise BadAdapter(f"its {name} is not made of floating-point numbers ({tensor.dtype})")
        if not bool(torch.isfinite(extremes(tensor.float())).all()):
            raise BadAdapter(f"its {name} holds something that is not a number")
    has_bias = bool(set(change.factors) & set(_FOR_BIAS))
    shapes = tuple((name, tensor.shape) for name, tensor in sorted(change.factors.items()))
    try:
        has_weight = _changes_weight(shapes, module.weight.shape, module.bias.shape if has_bias else None)
    except (RuntimeError, ValueError, LookupError) as error:
        raise BadAdapter(f"its tensors do not fit each other ({shapes_of(change.factors)})") from error
    if not has_weight and not has_bias:
        raise BadAdapter(f"its factors are not whole: {', '.join(sorted(change.factors))}")


@lru_cache(maxsize=4096)
def _changes_weight(shapes: Shapes, weight: torch.Size, bias: torch.Size | None) -> bool:
    """Return whether factors of these shapes change a weight; raise as computing raises where they do not fit it.

    `bias` is the shape of the layer's where they change that, too. Kept, for a model has few kinds of layers and a
    thousand of them: without numbers each costs a millisecond, which was most of reading an adapter.
    """
    shadow = {
        name: torch.ones(shape) if name in _SCALARS else torch.empty(shape, device="meta") for name, shape in shapes
    }
    check_ranks(shadow, weight)
    made = weight_change(shadow, torch.empty(weight, device="meta"), 1.0)
    if bias is not None:
        bias_change(shadow, torch.empty(bias, device="meta"), 1.0, NO_SCALING)
    return made is not None


def _settings(text: str | None) -> Mapping[str, PeftSettings]:
    """Return PEFT's configuration of each network, as diffusers writes it beside the tensors."""
    return {} if text is None else settings_by_network(settings_of_text(text, PEFT_SETTINGS), PEFT_SETTINGS)


def _scaling(settings: Mapping[str, PeftSettings], layer: Layer, factors: Factors) -> Scaling:
    """Return how a layer's factors are scaled; raise `BadPeft` where they are not those that were configured."""
    network, name = layer
    said = settings.get(network)
    if said is None or "down" not in factors:
        return NO_SCALING
    said.check(name, {what: tuple(tensor.shape) for what, tensor in factors.items()})
    return Scaling(said.alpha_of(name), said.rank_stabilised)
