"""The large linear layers of a UNet in few bits, by torchao: which ones, and how they are written anew. Chooses no way.

A quantised weight follows from the weight of the file alone. A layer that something is merged into holds what comes of
it in the network's own numbers for as long as it is worn, as if it had never been quantised: few bits would round the
change away. By a switch it is quantised as the weight itself was. Either way a merge and its undoing are exact, to the
last bit of what is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import torch

from minimon_server.engines.acceleration_table import Scheme
from minimon_server.engines.captured_graphs import drop_graphs
from minimon_server.engines.host_copies import outside_inference
from minimon_server.engines.quantised_weights import held_bytes, inner, is_quantised
from minimon_server.logs import Logger

# Where it pays (docs/acceleration.md): products of all pixels. `attn2.to_k` and `to_v` see the tokens of a prompt.
PAYING: Final = re.compile(
    r"\.transformer_blocks\.\d+\.(attn1\.to_(q|k|v|out\.0)|attn2\.to_(q|out\.0)|ff\.net\.(0\.proj|2))$"
)
GROUP: Final = {"cuda": 64, "cpu": 32}  # weights that share a scale in 4 bits
# What both sides of a weight must be multiples of: `_fp8_mm_compat` and `inference_workflow` of torchao 0.18.
SIDES: Final = 16
ATTRIBUTE: Final = "minimon_quantised"


class QuantisedLayers:
    """Those of one UNet. For one thread."""

    def __init__(
        self,
        network: torch.nn.Module,
        scheme: Scheme,
        device: torch.device,
        log: Logger,
        *,
        quantises_merged: bool = False,
    ) -> None:
        """Quantise, layer by layer on `device`; where a layer's weight lies afterwards is where it lay.

        `quantises_merged`: layers stay in few bits whatever is merged into them.
        """
        self.label = scheme.label
        self.quantises_merged = quantises_merged
        self._config = config_of(scheme, device)
        self._device = device
        self._network = network
        self._modules: dict[str, torch.nn.Linear] = {}
        self._in_full: dict[str, int] = {}  # and the bytes that each takes beyond those of few bits
        self._names_in_full: frozenset[str] | None = None
        before, skipped = 0, list[str]()
        for name, module in network.named_modules():
            if not isinstance(module, torch.nn.Linear) or not PAYING.search(name):
                continue
            if not fits(scheme, module.weight, device):
                skipped.append(name)
                continue
            before += module.weight.nbytes
            held = self._made(module.weight.detach()).to(module.weight.device)
            module.weight = torch.nn.Parameter(held, requires_grad=False)
            self._modules[f"{name}.weight"] = module
        after = sum(held_bytes(module.weight) for module in self._modules.values())
        counted = {"layers": len(self._modules), "before_mib": before // 2**20, "after_mib": after // 2**20}
        log.info("layers quantised", scheme=scheme.label, **counted)
        if skipped or not self._modules:
            told = {"layers": len(skipped), "first": skipped[:1]}
            log.warning("layers not quantised", scheme=scheme.label, reason="their sides do not fit", **told)
        setattr(network, ATTRIBUTE, self)

    @property
    def in_full(self) -> frozenset[str]:
        """The parameters that are held in the network's own numbers now, since something is merged into them."""
        if self._names_in_full is None:
            self._names_in_full = frozenset(self._in_full)
        return self._names_in_full

    @property
    def is_all_in_full(self) -> bool:
        """Whether nothing is quantised now."""
        return len(self._in_full) == len(self._modules)

    @property
    def bytes_in_full(self) -> int:
        """What those take beyond what they take in few bits."""
        return sum(self._in_full.values())

    def holds(self, name: str) -> bool:
        """Return whether a parameter, by its dotted name, is quantised while nothing is merged into it."""
        return name in self._modules

    def more_for(self, names: Iterable[str]) -> int:
        """Return the bytes that these parameters, by name, would take more in full, where merges compute."""
        if self.quantises_merged:
            return 0
        weights = [self._modules[name].weight for name in names if self.holds(name) and name not in self._in_full]
        here = [weight for weight in weights if weight.device.type == self._device.type]
        return sum(weight.numel() * weight.dtype.itemsize - held_bytes(weight) for weight in here)

    def write(self, name: str, values: torch.Tensor) -> None:
        """Hold what came of a merge; over what is held, once it is held so: then graphs stay."""
        if not self.quantises_merged and name not in self._in_full:
            self._make_full(name)
        self._write(name, values)

    def restore(self, name: str, values: torch.Tensor) -> None:
        """Hold in few bits, as at first, what came from the file; without room for a copy of what came."""
        self._write(name, values)
        if name not in self._in_full:
            return
        layer = self._modules[name]
        drop_graphs(self._network)
        with outside_inference():
            held = self._made(layer.weight.detach()).to(layer.weight.device)
            layer.weight = torch.nn.Parameter(held, requires_grad=False)
        del self._in_full[name]
        self._names_in_full = None

    def is_made_of(self, name: str, values: torch.Tensor) -> bool:
        """Return whether these numbers, quantised, are what is held."""
        weight = self._modules[name].weight
        if values.shape != weight.shape:
            return False
        ours, theirs = inner(weight), inner(self._made(values.to(weight.dtype)))
        return all(torch.equal(one, theirs[at].to(one.device)) for at, one in ours.items())

    def _write(self, name: str, values: torch.Tensor) -> None:
        weight = self._modules[name].weight
        if name in self._in_full:
            weight.copy_(values)
        else:
            weight.copy_(self._made(values.to(weight.dtype)).to(weight.device))

    def _make_full(self, name: str) -> None:
        layer = self._modules[name]
        few = held_bytes(layer.weight)
        drop_graphs(self._network)  # they read what is let go of now
        with outside_inference():
            room = torch.empty(layer.weight.shape, dtype=layer.weight.dtype, device=layer.weight.device)
            layer.weight = torch.nn.Parameter(room, requires_grad=False)
        self._in_full[name] = room.nbytes - few
        self._names_in_full = None

    def _made(self, values: torch.Tensor) -> torch.Tensor:
        from torchao.quantization import quantize_

        rows, columns = values.shape
        layer = torch.nn.Linear(columns, rows, bias=False, device="meta")
        layer.weight = torch.nn.Parameter(values.to(self._device), requires_grad=False)
        quantize_(layer, self._config, lambda _module, _name: True)
        if not is_quantised(layer.weight):
            raise RuntimeError(f"torchao left a weight of {rows} x {columns} as it was")
        return layer.weight.detach()


def config_of(scheme: Scheme, device: torch.device) -> Any:
    """Return torchao's own name for a scheme; it is not to set inductor's flags for the whole process."""
    from torchao import quantization as ao

    plain = {"set_inductor_config": False}
    if scheme.label == "fp8 dynamic":
        return ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow(), **plain)
    if scheme.label == "fp8 weight-only":
        return ao.Float8WeightOnlyConfig(**plain)
    if scheme.label == "int8 dynamic":
        return ao.Int8DynamicActivationInt8WeightConfig(**plain)
    if scheme.label == "int8 weight-only":
        return ao.Int8WeightOnlyConfig(**plain)
    if scheme.label == "int4 weight-only":
        if device.type == "cpu":
            four_bits = torch.int4  # type: ignore[attr-defined] # torch's own stubs lack it
            return ao.IntxWeightOnlyConfig(weight_dtype=four_bits, granularity=ao.PerGroup(GROUP["cpu"]))
        # The only packing whose kernel comes with torch: the others need the package mslk.
        packing = "tile_packed_to_4d"
        return ao.Int4WeightOnlyConfig(group_size=GROUP["cuda"], int4_packing_format=packing, **plain)
    from torchao.prototype.mx_formats import NVFP4DynamicActivationNVFP4WeightConfig

    # The kernel that rounds in one go needs the package mslk; without it, the same is done by torch's own operations.
    return NVFP4DynamicActivationNVFP4WeightConfig(use_triton_kernel=False)


def fits(scheme: Scheme, weight: torch.Tensor, device: torch.device) -> bool:
    """Return whether the sides of a weight are what the scheme needs."""
    rows, columns = weight.shape
    if scheme.name == "int4":
        return columns % GROUP[device.type] == 0
    return not (rows % SIDES or columns % SIDES)


def quantised_of(network: Any) -> QuantisedLayers | None:
    """Return what quantised a network, if somebody did."""
    found = vars(network).get(ATTRIBUTE) if isinstance(network, torch.nn.Module) else None
    return found if isinstance(found, QuantisedLayers) else None
