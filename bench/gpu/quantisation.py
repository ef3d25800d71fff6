"""The UNet's large matrices in fewer bits, through torchao, each by its published configuration. Measures nothing.

Convolutions stay (fp8 ones need kernels for Blackwell alone), and so do matrices of which a call multiplies few rows:
embeddings of time and size, and what attention reads of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch

from bench.errors import ToolMissingError

LINEARS: Final = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
SMALL_ONES: Final = ("attn2.to_k", "attn2.to_v")  # of 77 rows a prompt


def quantise(unet: torch.nn.Module, name: str) -> None:
    """Quantise in place; raise `ToolMissingError` without torchao, and what torchao raises for what it cannot do here.

    The one place where a quantisation is made: where the engine has a function for it, call that here, so that what is
    measured is what is served.
    """
    if find_spec("torchao") is None:
        raise ToolMissingError("torchao is missing; install it with: pip install -r bench/gpu/requirements.txt")
    import_module("torchao.quantization").quantize_(unet, CONFIGURATIONS[name](), filter_fn=is_large)


def is_large(module: torch.nn.Module, name: str) -> bool:
    """Return whether a layer of the UNet, by its dotted name, is one that pays."""
    return isinstance(module, torch.nn.Linear) and name.endswith(LINEARS) and not name.endswith(SMALL_ONES)


def _of(name: str, **settings: Any) -> Callable[[], Any]:
    return lambda: getattr(import_module("torchao.quantization"), name)(**settings)


def _fp8() -> Any:
    ao = import_module("torchao.quantization")
    return ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow())  # one scale a row: no overflow


def _int4() -> Any:
    ao = import_module("torchao.quantization.quant_api")
    # The packing of torch's own kernel; the others need a package (mslk) that is not published.
    return ao.Int4WeightOnlyConfig(int4_packing_format=ao.Int4PackingFormat.TILE_PACKED_TO_4D)


def _fp4() -> Any:
    # The other way of rounding needs the package mslk.
    return import_module("torchao.prototype.mx_formats").NVFP4DynamicActivationNVFP4WeightConfig(
        use_triton_kernel=False
    )


CONFIGURATIONS: Final[Mapping[str, Callable[[], Any]]] = {
    "int8-weight": _of("Int8WeightOnlyConfig"),
    "int8": _of("Int8DynamicActivationInt8WeightConfig"),
    "fp8-weight": _of("Float8WeightOnlyConfig"),
    "fp8": _fp8,
    "int4-weight": _int4,
    "fp4": _fp4,
}
