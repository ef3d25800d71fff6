"""Numbers that are none: how a UNet that overflows in 16 bits is asked again in 32. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import torch

from minimon_server.engines.captured_graphs import drop_graphs, graphs_paused
from minimon_server.engines.host_copies import outside_inference
from minimon_server.engines.messages import EngineFault
from minimon_server.engines.quantised_weights import widened_layers
from minimon_server.engines.sdxl_prompts import Course, Said, Spoken

HALVES: Final = (torch.float16, torch.bfloat16)


class NotANumber(Exception):
    """The UNet computed something that is not a number, at this step."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"not a number at step {step}")

    def fault(self) -> EngineFault:
        """Return what the client is told when nothing else can be tried."""
        return EngineFault(f"The model computed something that is not a number at step {self.step}; nothing was kept.")


@contextmanager
def in_float32(unet: Any, pipelines: Sequence[Any]) -> Iterator[None]:
    """Let the UNet of 16-bit floats, which `pipelines` share, compute in 32 bits.

    Exact on the way back: every value came from there.
    """
    encoders, own = [pipeline.text_encoder_2 for pipeline in pipelines], unet.dtype
    drop_graphs(unet)  # its weights move, and back to elsewhere; and in 32 bits they take the memory twice
    with graphs_paused(unet), widened_layers(unet):
        try:
            for pipeline in pipelines:
                # The library narrows embeddings to the numbers of this encoder, if there is one (0.42.1).
                pipeline.text_encoder_2 = None
            with outside_inference():
                unet.to(dtype=torch.float32)
            yield
        finally:
            with outside_inference():
                unet.to(dtype=own)
            for pipeline, encoder in zip(pipelines, encoders, strict=True):
                pipeline.text_encoder_2 = encoder


def widened(spoken: Spoken) -> Spoken:
    """Return the embeddings as 32-bit floats: the pipeline computes in the numbers that they come in."""

    def wide(course: Course) -> Course:
        return replace(course, said=tuple(Said(one.words.float(), one.pooled.float()) for one in course.said))

    return replace(spoken, asked=wide(spoken.asked), avoided=wide(spoken.avoided) if spoken.avoided else None)
