"""What is done to a loaded pipeline to draw faster or in less memory, as the plan says. Chooses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from minimon_server.engines.acceleration_plan import Accelerations
from minimon_server.engines.attention_kernels import take_kernel
from minimon_server.engines.compiled_unet import CompiledUnet
from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.engines.sdxl_graphs import Graphs
from minimon_server.engines.sdxl_loading import Place, know_signatures, lay_out
from minimon_server.logs import Logger


@dataclass(frozen=True, slots=True)
class Accelerated:
    """What was done to one pipeline."""

    quantised: QuantisedLayers | None = None
    compiled: CompiledUnet | None = None

    def tell_by(self, tell: Callable[[], None]) -> None:
        """Call `tell` before whatever takes minutes while a picture is drawn."""
        if self.compiled is not None:
            self.compiled.tell = tell

    @contextmanager
    def only_known_graphs(self) -> Iterator[None]:
        """Compile nothing meanwhile: `NoGraph` is raised instead."""
        if self.compiled is None:
            yield
            return
        self.compiled.only_known = True
        try:
            yield
        finally:
            self.compiled.only_known = False


def accelerate(
    pipeline: Any, plan: Accelerations | None, place: Place, log: Logger, before: Accelerated | None = None
) -> Accelerated:
    """Do what the plan says, in this order: weights, attention, slices, compilation, graphs; layout first.

    `place` is where the pipeline computes, wherever its parts lie. Without a plan, layout is all. `before` is what
    was done to the same UNet for another model that it belongs to: that is done once.
    """
    for network in (pipeline.unet, pipeline.vae):
        lay_out(network, place.device)
    done = _accelerated(pipeline, plan, place, log, before)
    Graphs(plan, place.device, log).of_pipeline(pipeline)  # around whatever computes them then
    return done


def _accelerated(
    pipeline: Any, plan: Accelerations | None, place: Place, log: Logger, before: Accelerated | None
) -> Accelerated:
    if plan is None:
        return Accelerated()
    if plan.slicing.value:
        pipeline.vae.enable_slicing()
    if before is not None:
        return before
    unet = pipeline.unet
    scheme = plan.quantization.scheme
    few = bool(plan.quantized_loras.value)
    quantised = QuantisedLayers(unet, scheme, place.device, log, quantises_merged=few) if scheme else None
    take_kernel(unet, plan, place, log)
    if plan.slicing.value:
        unet.set_attention_slice("auto")
        know_signatures(unet)
        log.info("attention and decoding in slices")
    compiled = CompiledUnet(unet, plan, place.device.type, log) if plan.compile.value else None
    return Accelerated(quantised, compiled)
