"""Which calls of a pipeline are captured as graphs: text encoders, UNet, latents to bytes. Records nothing itself.

The UNet's graph stands around whatever computes it, compiled or not; inductor's own graphs stay off, so that one place
knows when weights have moved, and no answer is written over while somebody holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import torch

from minimon_server.engines.acceleration_plan import Accelerations, Chosen
from minimon_server.engines.captured_graphs import (
    ATTRIBUTE,
    Call,
    CapturedGraphs,
    Record,
    captured_of,
    recorded_by_calling,
    recorded_on_cuda,
)
from minimon_server.engines.model_folders import NETWORKS
from minimon_server.engines.sdxl_landing import packed
from minimon_server.errors import Text
from minimon_server.logs import Logger

# What records on a device. A CPU has no graphs: what stands for them there is for tests, and no plan asks for it.
RECORDERS: Final[Mapping[str, Record]] = {"cuda": recorded_on_cuda, "cpu": recorded_by_calling}
NAMED: Final = frozenset({"text_embeds", "time_ids"})


class Graphs:
    """Captures the networks of one engine as its plan says."""

    def __init__(self, plan: Accelerations | None, device: torch.device, log: Logger) -> None:
        self._plan, self._log = plan, log
        self._record = RECORDERS[device.type]

    def of_pipeline(self, pipeline: Any) -> None:
        """Let the networks of a loaded pipeline be replayed, but for those that are already."""
        if self._plan is None or not self._plan.graphs.value:
            return
        for part in ("text_encoder", "text_encoder_2"):
            self._put(part, getattr(pipeline, part), partial(_text, getattr(pipeline, part)))
        self.of_decoder(pipeline.vae)
        if captured_of(pipeline.unet) is None:
            stands = CapturedUnet(pipeline.unet)
            self._put("unet", pipeline.unet, stands.compute)
            pipeline.unet.forward = stands

    def of_decoder(self, vae: Any) -> None:
        """The same for what makes bytes of latents."""
        self._put(type(vae).__name__, vae, partial(_bytes, vae))

    def _put(self, what: str, network: Any, call: Call) -> None:
        if self._plan is None or not self._plan.graphs.value or captured_of(network) is not None:
            return
        made = CapturedGraphs(what, network, call, self._log, self._record, failed=lambda why: self._tell(what, why))
        setattr(network, ATTRIBUTE, made)

    def _tell(self, what: str, why: str) -> None:
        if self._plan is not None:
            told = Text(f"{what} sans graphe ; voir le journal", f"{what} without a graph; see the log")
            self._plan.graphs = Chosen(self._plan.graphs.value, told)


class CapturedUnet:
    """Stands for the `forward` of one UNet; what is asked otherwise than for words alone is computed as before."""

    def __init__(self, network: Any) -> None:
        self._network, self._whole = network, network.forward

    def width(self, most: int) -> int:
        """Return how many of `most` pictures to ask for at once, see `CompiledUnet.width`."""
        narrowed = getattr(self._whole, "width", None)
        return int(narrowed(most)) if narrowed else most

    def __call__(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, **named: Any) -> Any:
        """Return what the network's own `forward` would."""
        added = named.get("added_cond_kwargs") or {}
        others = {name for name, value in named.items() if value is not None and name != "added_cond_kwargs"}
        graphs = captured_of(self._network)
        if graphs is None or named.get("return_dict") is not False or others > {"return_dict"} or set(added) != NAMED:
            return self._whole(sample, timestep, encoder_hidden_states, **named)
        # One place for the time of every row, whether it comes as a number, for all rows, or for each.
        times = times_of(timestep, sample).contiguous()
        return graphs(sample, times, encoder_hidden_states, added["text_embeds"], added["time_ids"])

    def compute(
        self,
        sample: torch.Tensor,
        times: torch.Tensor,
        words: torch.Tensor,
        pooled: torch.Tensor,
        sizes: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Compute what is captured."""
        added = {"text_embeds": pooled, "time_ids": sizes}
        found: tuple[torch.Tensor, ...] = self._whole(sample, times, words, added_cond_kwargs=added, return_dict=False)
        return found


def times_of(timestep: Any, sample: torch.Tensor) -> torch.Tensor:
    """Return the time of every row of `sample` on its device, in float32, whichever numbers a scheduler holds it in.

    The same to the last bit: the network expands it so, and makes float32 of it before anything else (diffusers 0.42.1,
    `get_timestep_embedding`).
    """
    return torch.as_tensor(timestep, dtype=torch.float32, device=sample.device).expand(len(sample))


def drop_stale_graphs(pipeline: Any, parts: Iterable[str]) -> None:
    """Drop what was captured with weights of these parts that are elsewhere now. `pipeline` may be None."""
    for graphs in _graphs_of(pipeline, parts):
        graphs.look()


def without_graphs(pipeline: Any, draft: Any = None) -> tuple[int, Callable[[], None]]:
    """Let the memory of all graphs go, and capture none until what is returned is called: with how many there were.

    `pipeline` may be None; `draft` is what decodes instead of its autoencoder.
    """
    found = _graphs_of(pipeline, NETWORKS)
    if (drafts := captured_of(draft)) is not None:
        found.append(drafts)
    held = sum(graphs.shapes for graphs in found)

    def undo() -> None:
        for graphs in found:
            graphs.go_on()

    for graphs in found:
        graphs.drop()
        graphs.pause()
    return held, undo


def _graphs_of(pipeline: Any, parts: Iterable[str]) -> list[CapturedGraphs]:
    found = (captured_of(getattr(pipeline, part, None)) for part in parts)
    return [graphs for graphs in found if graphs is not None]


def _text(network: Any, ids: torch.Tensor, *, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    said = network(ids, output_hidden_states=True)
    return said.hidden_states[-layer], said[0]


def _bytes(vae: Any, latents: torch.Tensor) -> tuple[torch.Tensor]:
    return (packed(vae.decode(latents, return_dict=False)[0]),)
