"""What a LoRA over quantised weights is worth: in full, in few bits, and beside them. Says nothing of speed.

    python -m bench.quantised_stacks models minimon-tiny --lora ink --lora synthwave

draws prompts with each LoRA at two weights: in plain weights; over quantised ones as the server does it, which holds
what the LoRA changes in full, and with SDXL_QUANTIZE_LORAS=1 (summed with what the file holds, then quantised anew);
and as if it were applied beside quantised weights that stay as they are, (Q + change) x for each product. It prints the
median PSNR in dB of those against the plain picture with the same LoRA; how far that is from the plain picture without
it; and by how much the change of weights in few bits is off, relative to the LoRA's own change. It writes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from bench.quantised import PROMPTS, decibels
from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Refused, Wishes
from minimon_server.engines.machine_facts import this_machine
from minimon_server.engines.messages import AdapterUse, DrawnPicture, DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.quantised_weights import is_quantised
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Lines, LogSink

QUANTIZATIONS: Final = ("int8", "fp8", "int4")
WEIGHTS: Final = (0.2, 1.0)
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Worth:
    """What one LoRA at one weight is worth with one quantisation; medians of PSNR in dB, infinite for the same picture.

    `lora` is how far it takes the plain picture, `bare` what quantisation alone leaves. `off` is the norm of what the
    held weights' change lacks, relative to the norm of the LoRA's change, the median over the layers.
    """

    lora: float
    bare: float
    full: float
    merged: float
    beside: float
    off: float

    def __str__(self) -> str:
        merged = f"in full {self.full:.1f}, in few bits {self.merged:.1f}"
        pictures = f"bare {self.bare:.1f}, {merged}, beside {self.beside:.1f} dB"
        return f"the LoRA {self.lora:.1f} dB; {pictures}; weights off by {self.off:.2f}"


class Drawer:
    """An engine of one quantisation that draws the same prompts over and over."""

    def __init__(self, engine: SdxlEngine, asked: DrawRequest, prompts: Sequence[str]) -> None:
        self._engine = engine
        self._asked = asked
        self._prompts = prompts

    def pictures(self, *stack: AdapterUse) -> list[DrawnPicture]:
        """Draw every prompt with these adapters."""
        asked = [replace(self._asked, prompt=prompt, adapters=stack) for prompt in self._prompts]
        return [self._engine.draw(one, lambda _: True).pictures[0] for one in asked]

    def layers(self) -> dict[str, Any]:
        """Return the linear layers of the UNet as they are after the last drawing."""
        assert self._engine._model is not None
        unet = self._engine._model.pipeline.unet
        return {name: layer for name, layer in unet.named_modules() if isinstance(layer, torch.nn.Linear)}


def values(layers: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return float32 copies of what layers multiply by."""
    found = {}
    for name, layer in layers.items():
        held = layer.weight.detach()
        found[name] = (held.dequantize() if is_quantised(held) else held).to(torch.float32, copy=True)
    return found


@contextmanager
def instead(layers: Mapping[str, Any], others: Weights) -> Iterator[None]:
    """Let layers multiply by other numbers meanwhile."""
    before = {name: layers[name].weight.detach().clone() for name in others}
    try:
        with torch.inference_mode():
            for name, other in others.items():
                layers[name].weight.copy_(other)
        yield
    finally:
        with torch.inference_mode():
            for name, weight in before.items():
                layers[name].weight.copy_(weight)


@dataclass(frozen=True, slots=True)
class Bare:
    """Pictures without a LoRA, and what the layers that are quantised multiply by: as they came, and in few bits."""

    plain: list[DrawnPicture]
    quantised: list[DrawnPicture]
    came: Weights
    held: Weights


def bare(plain: Drawer, quantised: Drawer) -> Bare:
    """Draw without a LoRA."""
    pictures = plain.pictures(), quantised.pictures()
    held, came = values(_quantised(quantised)), values(plain.layers())
    return Bare(*pictures, {name: came[name] for name in held}, held)


def worth(plain: Drawer, full: Drawer, quantised: Drawer, without: Bare, use: AdapterUse) -> Worth:
    """Draw with one LoRA in every way."""
    right, merged = plain.pictures(use), quantised.pictures(use)
    worn, again = values(plain.layers()), values(_quantised(quantised))
    changes = {name: worn[name] - came for name, came in without.came.items()}
    with instead(plain.layers(), {name: without.held[name] + change for name, change in changes.items()}):
        beside = plain.pictures(use)  # the stack is worn already, so that nothing is merged anew
    off = [
        float((again[name] - without.held[name] - change).norm() / change.norm())
        for name, change in changes.items()
        if change.any()
    ]
    return Worth(
        lora=_psnr(without.plain, right),
        bare=_psnr(without.plain, without.quantised),
        full=_psnr(right, full.pictures(use)),
        merged=_psnr(right, merged),
        beside=_psnr(right, beside),
        off=statistics.median(off or [0.0]),
    )


def _quantised(drawer: Drawer) -> dict[str, Any]:
    return {name: layer for name, layer in drawer.layers().items() if is_quantised(layer.weight)}


def _psnr(ones: Sequence[DrawnPicture], others: Sequence[DrawnPicture]) -> float:
    return statistics.median(decibels(one, other) for one, other in zip(ones, others, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="bench.quantised_stacks", description="LoRAs in quantised weights.")
    parser.add_argument("models", type=Path, help="folder of models")
    parser.add_argument("model", help="a model's id")
    parser.add_argument("--lora", action="append", required=True, help="a LoRA's id; may be given again")
    parser.add_argument("--first", type=int, default=20, help="so many of the built-in prompts (20)")
    parser.add_argument("--quantizations", nargs="+", default=QUANTIZATIONS, choices=QUANTIZATIONS)
    options = parser.parse_args(arguments)
    sink = LogSink(os.open(os.devnull, os.O_WRONLY))
    log = Lines(sink, level="ERROR", as_json=True, secrets=()).logger()
    models = ModelFolders(options.models, log)
    info = models.find(options.model).info
    asked = DrawRequest(info.id, "", "", (7,), info.width, info.height, info.steps, info.guidance_scale)
    prompts = PROMPTS[:: max(1, len(PROMPTS) // options.first)][: options.first]
    for name in options.quantizations:
        try:
            wishes = Wishes(name, by_hand=frozenset({"quantization"}))
            plans = [choose(replace(wishes, quantize_loras=few), this_machine("auto")) for few in (False, True)]
        except Refused as refused:
            print(f"{name}: refused: {refused}")
            continue
        with ExitStack() as engines:
            plain, full, few = (
                Drawer(engines.enter_context(closing(SdxlEngine(models, "auto", log, plan=one))), asked, prompts)
                for one in (None, *plans)
            )
            without = bare(plain, few)
            for lora, weight in itertools.product(options.lora, WEIGHTS):
                found = worth(plain, full, few, without, AdapterUse(lora, weight))
                print(f"{name}, {lora} {weight}: {found}", flush=True)
    sink.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
