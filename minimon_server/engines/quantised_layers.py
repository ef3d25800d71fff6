"""The large linear layers of a UNet in few bits, by torchao: which ones, and how they are written anew. Chooses no way.

A quantised weight follows from the weight of the file alone: what is merged into it is summed and rounded first, and
then quantised as the weight itself was. So a merge and its undoing are exact, to the last bit of what is held.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from minimon_server.engines.acceleration_table import Scheme
from minimon_server.logs import Logger

# Where it pays (docs/acceleration.md): products of all pixels. `attn2.to_k` and `to_v` see the tokens of a prompt.
PAYING: Final = re.compile(
    r"\.transformer_blocks\.\d+\.(attn1\.to_(q|k|v|out\.0)|attn2\.to_(q|out\.0)|ff\.net\.(0\.proj|2))$"
)
GROUP: Final = {"cuda": 64, "cpu": 32}  # weights that share a scale in 4 bits
# What both sides of a weight must be multiples of: `_fp8_mm_compat` and `inference_workflow` of torchao 0.18.
SIDES: Final = 16


class QuantisedLayers:
    """Those of one UNet. For one thread."""

    def __init__(self, network: torch.nn.Module, scheme: Scheme, device: torch.device, log: Logger) -> None:
        """Quantise, layer by layer on `device`; where a layer's weight lies afterwards is where it lay."""
        self.label = scheme.label
        self._config = config_of(scheme, device)
        self._device = device
        self._modules: dict[str, torch.nn.Linear] = {}
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

    def holds(self, name: str) -> bool:
        """Return whether a parameter of the network, by its dotted name, is quantised."""
        return name in self._modules

    def write(self, name: str, values: torch.Tensor) -> None:
        """Quantise these numbers, and write them over what is held: the same storage, so that compiled graphs stay."""
        weight = self._modules[name].weight
        weight.copy_(self._made(values.to(weight.dtype)).to(weight.device))

    def is_made_of(self, name: str, values: torch.Tensor) -> bool:
        """Return whether these numbers, quantised, are what is held."""
        weight = self._modules[name].weight
        if values.shape != weight.shape:
            return False
        ours, theirs = inner(weight), inner(self._made(values.to(weight.dtype)))
        return all(torch.equal(one, theirs[at].to(one.device)) for at, one in ours.items())

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


def is_quantised(weight: torch.Tensor) -> bool:
    """Return whether a weight is one of torchao's."""
    return type(weight).__module__.startswith("torchao.")


def inner(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the plain tensors that a quantised weight is made of, by their names."""
    names, _ = weight.__tensor_flatten__()  # type: ignore[attr-defined] # what every wrapping tensor has
    return {name: getattr(weight, name) for name in names}


def held_bytes(value: torch.Tensor) -> int:
    """Return what a tensor takes in memory, quantised or not."""
    return sum(one.nbytes for one in inner(value).values()) if is_quantised(value) else value.nbytes


@contextmanager
def widened_layers(network: torch.nn.Module) -> Iterator[None]:
    """Let quantised layers hold plain 32-bit floats of the same values: their scales do not follow `network.to`."""
    held: list[tuple[Any, Any]] = [
        (layer, layer.weight) for layer in network.modules() if is_quantised(getattr(layer, "weight", _NONE))
    ]
    try:
        for layer, weight in held:
            layer.weight = torch.nn.Parameter(_values(weight).float(), requires_grad=False)
        yield
    finally:
        for layer, weight in held:
            layer.weight = weight


def _values(weight: Any) -> torch.Tensor:
    """Return what a quantised weight stands for, in the numbers of its network."""
    if type(weight).dequantize is not torch.Tensor.dequantize:
        return weight.dequantize()  # type: ignore[no-any-return] # of a class of torchao's
    # Four bits as the kernel on CUDA wants them can only be multiplied (torchao 0.18, Int4TilePackedTo4dTensor). Each
    # sum has one addend that is not 0: nothing is rounded.
    ones = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    return torch.nn.functional.linear(ones, weight).T.contiguous()


_NONE: Final = torch.empty(0)
