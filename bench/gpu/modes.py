"""The ways in which the same networks are run, and the calls that each way makes of them. Times nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from bench.errors import BenchError
from bench.gpu.plan import QUANTISATIONS
from bench.gpu.quantisation import quantise, scheme_of
from bench.gpu.sizes import TOKENS
from bench.gpu.weights import Networks
from minimon_server.engines.compiled_regions import CompiledRegions
from minimon_server.engines.compiled_unet import MODES
from minimon_server.engines.sdxl_landing import packed
from minimon_server.engines.sdxl_loading import Place, forget_signatures, lay_out
from minimon_server.logs import Logger

MOST_GRAPHS: Final = 256  # compiled versions of one function: a batch, a size and a shape of block each
Call = Callable[..., Any]


@dataclass(frozen=True)
class Mode:
    """One way: a quantisation of the UNet or none; what is compiled, if anything; captured as CUDA graphs or not.

    `blocks`: those of the UNet, as the engine does it; `compiled`: every call as a whole, which the engine does not;
    `tuned`: cuDNN tries its convolutions at each shape's first call and keeps the quickest, which the engine does not.
    """

    name: str
    quantisation: str | None
    compiled: bool
    graphs: bool
    blocks: bool = False
    tuned: bool = False

    @property
    def is_served(self) -> bool:
        """Whether the server can draw so: what rounds both factors is served compiled alone."""
        is_dynamic = self.quantisation is not None and scheme_of(self.quantisation).way == "dynamic"
        return not self.compiled and not self.tuned and (self.blocks or not is_dynamic)

    @classmethod
    def parse(cls, name: str) -> Mode:
        """Return the mode of a name such as `eager`, `compiled`, `fp8+blocks+graphs`; raise `BenchError`."""
        parts = name.split("+")
        known = {"eager", "compiled", "blocks", "graphs", "tuned", *QUANTISATIONS}
        quantisations = [part for part in parts if part in QUANTISATIONS]
        if not set(parts) <= known or len(set(parts)) < len(parts) or len(quantisations) > 1:
            raise BenchError(
                f"there is no mode {name}; it is made of: eager, blocks, compiled, graphs, tuned, "
                f"{', '.join(QUANTISATIONS)}"
            )
        if len({"eager", "blocks", "compiled"} & set(parts)) > 1:
            raise BenchError(f"{name}: it is eager, or compiled as a whole, or in blocks")
        told = "compiled" in parts, "graphs" in parts, "blocks" in parts, "tuned" in parts
        return cls(name, quantisations[0] if quantisations else None, *told)


@dataclass(frozen=True)
class Calls:
    """What a picture is made of, as functions of tensors; shapes as in `stages`."""

    text: Call
    unet: Call
    pixels: Call
    draft: Call


def prepare(networks: Networks, mode: Mode, place: Place, log: Logger, backend: str | Call = "inductor") -> Calls:
    """Change the networks in place as a mode wants them, and return their calls, compiled where it says so.

    `backend` is what torch compiles with. The one place where a mode is made, but for `attention.take_attention`: where
    the engine has a function of its own for it, call that here, so that what is measured is what is served.
    """
    for network in (networks.unet, networks.vae, networks.draft):
        lay_out(network, place.device)
    if mode.quantisation is not None:
        quantise(networks.unet, mode.quantisation, place.device, log)
    calls = calls_of(networks)
    torch._dynamo.config.recompile_limit = MOST_GRAPHS
    if mode.blocks or mode.compiled:
        forget_signatures(networks.unet)
    if mode.blocks:
        autotune = MODES[place.device.type] if backend == "inductor" else None
        CompiledRegions(networks.unet, autotune, backend).is_on = True
    if not mode.compiled:
        return calls
    with torch.no_grad():
        # transformers hangs its hooks in at an encoder's first call, which would break the graph in pieces.
        calls.text(torch.zeros(1, TOKENS, dtype=torch.long, device=networks.text_encoder.device))

    def compiled(call: Call) -> Call:
        made: Call = torch.compile(call, dynamic=False, backend=backend)
        return made

    return Calls(compiled(calls.text), compiled(calls.unet), compiled(calls.pixels), compiled(calls.draft))


def calls_of(networks: Networks) -> Calls:
    """Return the calls of the networks as they are."""

    def text(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = networks.text_encoder(ids, output_hidden_states=True)
        second = networks.text_encoder_2(ids, output_hidden_states=True)
        # As diffusers does for SDXL (StableDiffusionXLPipeline.encode_prompt): the last layer but one of both.
        words = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return words, second[0]

    def unet(
        latents: torch.Tensor, at: torch.Tensor, words: torch.Tensor, pooled: torch.Tensor, time_ids: torch.Tensor
    ) -> torch.Tensor:
        added = {"text_embeds": pooled, "time_ids": time_ids}
        found: torch.Tensor = networks.unet(
            latents, at, encoder_hidden_states=words, added_cond_kwargs=added, return_dict=False
        )[0]
        return found

    def pixels(latents: torch.Tensor) -> torch.Tensor:
        scaled = latents / networks.vae.config.scaling_factor
        return packed(networks.vae.decode(scaled, return_dict=False)[0])

    def draft(latents: torch.Tensor) -> torch.Tensor:
        return packed(networks.draft.decode(latents, return_dict=False)[0])

    return Calls(text, unet, pixels, draft)
