"""Which way of drawing faster works on which card, as a table. Chooses nothing: `acceleration` reads it.

Where a row's figure comes from is told beside it; docs/acceleration.md shows the same rows to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Capability = tuple[int, int]
Way = Literal["weight-only", "dynamic"]
Kernel = Literal["FlashAttention 3", "FlashAttention 2", "xFormers", "SDPA"]

TORCHAO: Final = "torchao==0.18.0"


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to hold weights in fewer bits.

    `way`: weight-only widens them for each product, which saves memory alone; dynamic rounds the other factor, too,
    and multiplies in few bits. `least` is the compute capability that it needs on CUDA, `on_cpu` whether a CPU can.
    """

    name: str
    way: Way
    least: Capability
    on_cpu: bool
    needs_cuda: tuple[int, int] | None = None  # version that torch is built for

    @property
    def label(self) -> str:
        """What a picture and `/ready` tell."""
        return f"{self.name} {self.way}"


# The better one first, of each name. Sources: torchao 0.18's `quantization/quant_api.py` (fp8 dynamic asserts 8.9, and
# bfloat16 for a scale a row), `int4_tile_packed_to_4d_tensor.py` (8.0, bfloat16),
# `prototype/mx_formats/inference_workflow.py` (10.0, bfloat16), torch's `_int_mm` (8.0).
# Widening the weights needs nothing of a card.
SCHEMES: Final = (
    Scheme("fp8", "dynamic", (8, 9), on_cpu=False),
    Scheme("fp8", "weight-only", (5, 0), on_cpu=True),
    Scheme("int8", "dynamic", (8, 0), on_cpu=False),
    Scheme("int8", "weight-only", (5, 0), on_cpu=True),
    Scheme("int4", "weight-only", (8, 0), on_cpu=True),
    Scheme("fp4", "dynamic", (10, 0), on_cpu=False, needs_cuda=(12, 8)),
)
# Rows of the smallest matrix product below which rounding the other factor costs more than it saves: 8 bits were 0.96
# times as fast for 1024 x 1024 x 1024 and 1.22 times for 2048 (torchao's docs/source/workflows/inference.md, on a
# B200). Not measured here: no GPU was at hand.
ROWS_FOR_DYNAMIC: Final = 512
PIXELS_A_ROW: Final = 32 * 32  # of SDXL's deepest blocks: 8 pixels a latent, halved twice
# Below this a card does not hold SDXL in 16 bits (6.9 GB of weights) beside what drawing takes.
SMALL_CARD: Final = 12 * 10**9


@dataclass(frozen=True, slots=True)
class AttentionRow:
    """One way to compute attention: the switch that permits it, the module that it needs, the cards that it runs on."""

    kernel: Kernel
    switch: Literal["use_flash_attn", "use_xformers"] | None
    module: str | None
    least: Capability
    below: Capability  # the first that it does not run on


_ANY: Final = (99, 0)
# The first that can be had is taken. FlashAttention 3: Hopper alone (github.com/Dao-AILab/flash-attention, README);
# 2: Ampere and later; xFormers: 7.5 and later.
ATTENTION: Final = (
    AttentionRow("FlashAttention 3", "use_flash_attn", "flash_attn_interface", (9, 0), (10, 0)),
    AttentionRow("FlashAttention 2", "use_flash_attn", "flash_attn", (8, 0), _ANY),
    AttentionRow("xFormers", "use_xformers", "xformers", (7, 5), _ANY),
    AttentionRow("SDPA", None, None, (0, 0), _ANY),
)
# triton, which inductor writes its kernels in on CUDA: https://github.com/triton-lang/triton (README, compatibility).
LEAST_FOR_COMPILE: Final[Capability] = (7, 0)


def shown(pair: tuple[int, int] | None) -> str:
    """Return a capability or a version as people write it."""
    return "?" if pair is None else f"{pair[0]}.{pair[1]}"
