"""The UNet's large matrices in fewer bits, as the engine quantises them. Measures nothing, has no settings of its own.

Which layers, and with which of torchao's configurations: `minimon_server.engines.quantised_layers`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

import torch

from bench.errors import ToolMissingError
from minimon_server.engines.acceleration_table import SCHEMES, Scheme
from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.logs import Logger

WEIGHT_ONLY: Final = "-weight"  # ends the name of a mode that rounds weights alone


def quantise(unet: torch.nn.Module, name: str, device: torch.device, log: Logger) -> None:
    """Quantise in place; raise `ToolMissingError` without torchao, and what torchao raises for what cannot be here."""
    if find_spec("torchao") is None:
        raise ToolMissingError("torchao is missing; install it with: pip install -r bench/gpu/requirements.txt")
    QuantisedLayers(unet, scheme_of(name), device, log)


def scheme_of(name: str) -> Scheme:
    """Return the engine's row for a name of `plan.QUANTISATIONS`."""
    way = "weight-only" if name.endswith(WEIGHT_ONLY) else "dynamic"
    wanted = name.removesuffix(WEIGHT_ONLY), way
    return next(one for one in SCHEMES if (one.name, one.way) == wanted)
