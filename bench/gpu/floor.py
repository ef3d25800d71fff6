"""The least time that a device could take: operations counted over the real networks, peaks measured in the same run.

A matrix product of m x k by k x n counts 2 m k n operations, attention its two products, a convolution likewise
(torch.utils.flop_counter); all else counts as nothing, so a floor cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu.modes import calls_of
from bench.gpu.paths import BASE, TURBO, TURBO_DRAFT
from bench.gpu.rows import Left, Lines
from bench.gpu.sizes import Sizes
from bench.gpu.stages import DRAFT, STAGES, TEXT, UNET, VAE, calls_by_stage, inputs, why
from bench.gpu.timing import Effort, measure
from bench.gpu.weights import build
from minimon_server.engines.sdxl_loading import Place

META: Final = torch.device("meta")
LINEAR, CONVOLUTION = ("aten.mm", "aten.addmm"), ("aten.convolution", "aten._convolution", "aten.cudnn_convolution")
PEAKS: Final = Effort(30, 5.0)


@dataclass(frozen=True)
class Work:
    """Operations of one call, and the bytes of weights that it reads at the least."""

    linear: float
    convolution: float
    attention: float
    weights: float

    @property
    def total(self) -> float:
        """All operations."""
        return self.linear + self.convolution + self.attention

    def times(self, count: float, more: Work | None = None, reads: float = 1) -> Work:
        """Return this work for `count` rows with its weights read `reads` times, and `more` after it."""
        other = more or Work(0, 0, 0, 0)
        return Work(
            self.linear * count + other.linear,
            self.convolution * count + other.convolution,
            self.attention * count + other.attention,
            self.weights * reads + other.weights,
        )


@dataclass(frozen=True)
class Peaks:
    """The fastest that this device was seen to be, in this run: operations and bytes a second; None: not measured."""

    matmul: float
    fp8: float | None
    copy: float

    def floor_ms(self, work: Work, *, fp8: bool = False) -> float | None:
        """Return the milliseconds below which no call can come; with `fp8`, linear layers at that peak.

        It is the longer of all operations at their peak and all weights read once; fp8 weights are half of 16 bits,
        which is not counted. None where the peak is not known.
        """
        if fp8 and self.fp8 is None:
            return None
        at_once = work.linear / (self.fp8 or self.matmul) if fp8 else work.linear / self.matmul
        operations = at_once + (work.convolution + work.attention) / self.matmul
        return 1000 * (operations if fp8 else max(operations, work.weights / self.copy))


def count(call: Callable[[], object]) -> Work:
    """Return the operations of a call, by kind, without weights."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        call()
    counted = {str(name): float(number) for name, number in counter.get_flop_counts().get("Global", {}).items()}
    linear = sum(counted.pop(name, 0.0) for name in LINEAR)
    convolution = sum(counted.pop(name, 0.0) for name in CONVOLUTION)
    return Work(linear, convolution, sum(counted.values()), 0.0)


def work_of(sizes: Sizes, dtype: torch.dtype) -> dict[str, Work]:
    """Return the work of every part for one picture; counted on torch's `meta` device, where nothing is computed.

    Operations grow with the batch, weights are read once a call.
    """
    networks, place = build(sizes, META, dtype), Place(META, dtype, "nothing is computed")
    read = {
        TEXT: (networks.text_encoder, networks.text_encoder_2),
        UNET: (networks.unet,),
        VAE: (networks.vae.decoder,),
        DRAFT: (networks.draft.decoder,),
    }
    calls = calls_by_stage(calls_of(networks))
    small = {stage: _counted(sizes, place, calls[stage], stage, read[stage], sizes.turbo_side) for stage in STAGES}
    unet, vae = (_counted(sizes, place, calls[one], one, read[one], sizes.base_side) for one in (UNET, VAE))
    steps = sizes.base_steps
    return small | {
        TURBO: small[TEXT].times(1, small[UNET].times(1, small[VAE])),
        TURBO_DRAFT: small[TEXT].times(1, small[UNET].times(1, small[DRAFT])),
        BASE: small[TEXT].times(2, unet.times(2 * steps, vae, reads=steps)),
    }


def _counted(
    sizes: Sizes, place: Place, call: Callable[..., Any], stage: str, read: tuple[Any, ...], side: int
) -> Work:
    given = inputs(sizes, place, 1, side).of(stage)
    work = count(lambda: call(*given))
    weights = sum(_read_bytes(network) for network in read)
    return Work(work.linear, work.convolution, work.attention, weights)


def _read_bytes(network: torch.nn.Module) -> int:
    """Return the bytes of all weights but tables, of which a call reads some rows."""
    read = (layer for layer in network.modules() if not isinstance(layer, torch.nn.Embedding))
    return sum(one.numel() * one.element_size() for layer in read for one in layer.parameters(recurse=False))


def measure_peaks(place: Place, side: int, mebibytes: int, lines: Lines) -> Peaks:
    """Multiply large matrices, and copy much memory; the fastest of some calls counts. Tell what cannot be measured."""
    device = place.device
    one, other = (torch.randn(side, side, device=device, dtype=place.dtype) for _ in range(2))
    matmul = 2 * side**3 / (measure(lambda: one @ other, device, PEAKS).low / 1000)
    fp8: float | None = None
    try:
        fp8 = 2 * side**3 / (measure(_in_fp8(one, other), device, PEAKS).low / 1000)
    except Exception as error:
        lines.tell(Left("peak of fp8 products", why(error)))
    held = torch.randint(255, (mebibytes * 2**20,), device=device, dtype=torch.uint8)
    into = torch.empty_like(held)
    copied = 2 * held.numel() / (measure(lambda: into.copy_(held), device, PEAKS).low / 1000)  # read and written
    peaks = Peaks(matmul, fp8, copied)
    lines.fact("peaks", asdict(peaks) | {"dtype": str(place.dtype).removeprefix("torch."), "side": side})
    return peaks


def _in_fp8(one: torch.Tensor, other: torch.Tensor) -> Callable[[], object]:
    if not one.is_cuda:
        raise NotImplementedError("there is no such unit in a CPU")
    scale = torch.ones((), device=one.device)
    small, turned = one.to(torch.float8_e4m3fn), other.to(torch.float8_e4m3fn).t().contiguous().t()
    return lambda: torch._scaled_mm(small, turned, scale, scale, out_dtype=torch.bfloat16, use_fast_accum=True)
