"""What is done when memory runs out while a request is drawn, and all of it undone afterwards. Draws nothing itself.

A stage that runs out of memory is run again once copies of weights went, then graphs, then other models, and after each
rung: free (garbage and cache given back, no previews), halve (half as many pictures at once), tile (one is decoded in
tiles), slice (the UNet draws one row of guidance after the other), offload (only what a stage needs stays there). No
rung: attention slicing, with torch's own attention as much memory and half as much time again (test_sdxl_memory.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar

import torch

from minimon_server.engines.checkpoint_files import OnDisk
from minimon_server.engines.host_copies import move
from minimon_server.engines.memory_advice import FEW_BITS, advise, ran_out, too_little
from minimon_server.engines.memory_tally import RUNGS, MemoryTally, Rung
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import NETWORKS
from minimon_server.engines.residency import PutOut, nobody_else
from minimon_server.engines.sdxl_graphs import drop_stale_graphs, without_graphs
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_memory import (
    MEBI,
    decoding_floor,
    drawing_floor,
    free_bytes,
    give_memory_back,
    is_out_of_memory,
    loading_floor,
    parts_bytes,
    pixels_of_a_latent,
)
from minimon_server.engines.sdxl_slicing import slice_rows
from minimon_server.engines.sdxl_tiles import SMALLEST_TILE, decode_in_tiles, tile_side
from minimon_server.logs import Logger

T = TypeVar("T")
Stage = Literal["loading", "merging", "reference", "prompt", "drawing", "decoding"]

# The networks that a stage computes with: all that stays on the device when parts are offloaded.
PARTS: Final[dict[Stage, tuple[str, ...]]] = {
    "loading": (),
    "merging": (),
    "reference": (),
    "prompt": ("text_encoder", "text_encoder_2"),
    "drawing": ("unet",),
    "decoding": ("vae",),
}
HOME: Final = torch.device("cpu")  # where parts rest that were offloaded


class Ladder:
    """Of one request, whose model `rests` in main memory until it is needed, if the settings ask for that.

    `run` each stage through it, `stand_on` the pipeline once it is there, `undo` at the end. `others` puts out what the
    request does not use: after its graphs, before the first rung.
    """

    def __init__(
        self, request: DrawRequest, place: Place, log: Logger, tally: MemoryTally, others: PutOut = nobody_else,
        *, rests: bool = False,
    ) -> None:  # fmt: skip
        self.log = log
        self.taken: list[Rung] = []
        self._request = request
        self._place, self._tally, self._others = place, tally, others
        self._pipeline: Any = None
        self.rows = 1  # that the UNet draws for one picture; whoever draws sets it
        self.width = 1  # pictures side by side; whoever draws sets it, and reads it again each time
        self.draft: Any = None  # decodes instead of the pipeline's autoencoder; whoever draws sets it
        self._rests = rests
        self._in_full = 0  # bytes that the merge takes since LoRAs are not rounded to few bits
        self._undoing: list[Callable[[], None]] = []

    @property
    def previews(self) -> bool:
        """Whether there is memory for previews."""
        return not self.taken

    @property
    def offloaded(self) -> bool:
        """Whether parts come to the device only when they are needed."""
        return self._rests or "offload" in self.taken

    @property
    def is_tiled(self) -> bool:
        """Whether pictures are decoded in tiles."""
        return "tile" in self.taken and self.draft is None

    @property
    def decoder(self) -> Any:
        """The network that makes pixels of latents."""
        return self._pipeline.vae if self.draft is None else self.draft

    @property
    def resting(self) -> Place:
        """Where the parts of a model are loaded to."""
        return replace(self._place, device=HOME) if self.offloaded else self._place

    def stand_on(self, pipeline: Any, *, rests: bool) -> None:
        """Begin with a loaded pipeline; `rests`: its parts lie in main memory until they are needed."""
        self._pipeline, self._rests = pipeline, rests
        if rests:  # every stage moves its weights: a graph would be recorded for each drawing anew
            self._undoing.append(without_graphs(pipeline)[1])

    def run(self, stage: Stage, work: Callable[[], T]) -> T:
        """Return what `work` does, run again after every rung that may help; raise `EngineFault` after the last."""
        left, tried, spent = self._rungs(), list[str](), set[str]()
        while True:
            try:
                self._settle(stage)
                return work()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = str(error) or type(error).__name__
            # Only here, outside the handler, are the error and the frames with their tensors gone.
            self._tally.out_of_memory += 1
            if self._make_room("CUDA" in problem, f"out of memory: {problem}", spent):
                continue
            rung = self._climb(stage, left, tried)
            self.log.warning("out of memory", model=self._request.model, stage=stage, problem=problem, rung=rung)
            if rung is None:
                self._advise(stage, 0, free_bytes(self._place))
                raise EngineFault(ran_out(stage, problem, self._asked(), tried))

    def look_ahead(self) -> None:
        """Take the rungs without which the request surely does not fit; raise `EngineFault` if none is enough."""
        self._expect("drawing", self._drawing_floor)
        self._expect("decoding", self._decoding_floor)

    def look_at(self, folder: OnDisk, there: int = 0) -> None:
        """The same before a model is loaded, `there` bytes of it are in memory: or the system kills the process."""
        self._expect("loading", lambda: loading_floor(folder, self.resting) - there)

    def look_at_need(self, stage: Stage, needed: int, in_full: int = 0) -> None:
        """The same before a stage that is known to take `needed` bytes at the least, so many for layers in full."""
        self._in_full = in_full
        self._expect(stage, lambda: needed)

    @property
    def has_room_for_one(self) -> bool:
        """Whether a picture may fit as it is; takes no rung."""
        return not (self._short("drawing", self._drawing_floor()) or self._short("decoding", self._decoding_floor()))

    def _expect(self, stage: Stage, floor: Callable[[], int]) -> None:
        left, tried, spent = self._rungs(), list[str](), set[str]()
        while (short := self._short(stage, floor())) is not None:
            needed, free = short
            if self._make_room(stage != "loading" or not self.offloaded, f"too little memory: {stage}", spent):
                continue
            rung = self._climb(stage, left, tried)
            told = {"needed_mib": needed // MEBI, "free_mib": free // MEBI}
            self.log.warning("too little memory", model=self._request.model, stage=stage, rung=rung, **told)
            if rung is None:
                self._tally.refused += 1
                self._advise(stage, needed, free)
                raise EngineFault(too_little(stage, needed, free, self._asked(), tried))

    def _advise(self, stage: Stage, needed: int, free: int | None) -> None:
        has = {"offloaded": self.offloaded, "on_card": self._place.device.type != "cpu"}
        has["has_loras"] = bool(self._request.adapters)
        size = self._largest() if stage in ("drawing", "decoding") else None
        known = {FEW_BITS: self._in_full} if stage == "merging" and self._in_full else {}
        advise(self.log, self._pipeline, self._parts(stage), size, needed=needed, free=free, known=known, **has)

    def undo(self) -> None:
        """Leave the pipeline as it was before this request."""
        while self._undoing:
            self._undoing.pop()()
        self._pipeline = None

    def _make_room(self, on_device: bool, reason: str, spent: set[str]) -> bool:
        """Give back copies of weights, else hold no graphs until `undo`, else put others out; whether any went.

        Others go once of each place, `spent` keeps which: what the work itself reads again would go without end.
        """
        if on_device and self._others(on_device, reason, copies_only=True):
            return True
        held, undo = without_graphs(self._pipeline, self.draft)
        self._undoing.append(undo)
        if not held:
            where = "device" if on_device else "host"
            is_new = where not in spent
            spent.add(where)
            return is_new and self._others(on_device, reason)
        give_memory_back()
        self.log.warning("graphs given back", model=self._request.model, graphs=held, reason=reason)
        return True

    def _rungs(self) -> list[Rung]:
        return [rung for rung in RUNGS if rung != "halve" or self.width > 1]

    def _climb(self, stage: Stage, left: list[Rung], tried: list[str]) -> Rung | None:
        """Take the next rung that may help `stage`; None: there is none left. `tried` is for people."""
        give_memory_back()
        while left:
            rung = left.pop(0)
            if why_not := self._why_not(rung, stage):
                tried.append(f"{rung} (not possible: {why_not})")
                continue
            if rung == "halve":
                self.width //= 2
                left[:0] = ["halve"] if self.width > 1 else []
            elif rung != "free":
                {"tile": self._tile, "slice": self._slice, "offload": self._offload}[rung]()
            tried.append(rung)
            self._tally.rungs[rung] += 1
            if rung not in self.taken:
                self.taken.append(rung)
            return rung
        return None

    def _why_not(self, rung: Rung, stage: Stage) -> str | None:
        if rung == "free":
            return None
        if rung == "halve":
            return None if stage in ("drawing", "decoding") else "nothing is side by side yet"
        if rung in self.taken or (rung == "offload" and self._rests):
            return "done already"
        if rung == "tile":
            if "vae" not in self._parts(stage):
                return "only the model's own decoder has tiles" if self.draft is not None else "only decoding has tiles"
            return "the picture is one tile" if max(self._latents()) <= SMALLEST_TILE else None
        if rung == "slice":
            if stage != "drawing":
                return "only drawing has rows"
            return "there is one row" if self.rows == 1 else None
        return "the CPU has nowhere to offload to" if self._place.device.type == "cpu" else None

    def _tile(self) -> None:
        self._undoing.append(decode_in_tiles(self._pipeline.vae, tile_side(self._latents())))

    def _slice(self) -> None:
        self._undoing.append(slice_rows(self._pipeline.unet))

    def _offload(self) -> None:
        # What moves, moves in `_settle`, before each stage; here it is only seen to that all comes back.
        if self._pipeline is not None:
            pipeline, device = self._pipeline, self._place.device
            self._undoing.append(lambda: move(pipeline, NETWORKS, device))

    def _settle(self, stage: Stage) -> None:
        """Let only the parts of a stage be on the device, if parts are offloaded."""
        if self.offloaded and self._pipeline is not None:
            move(self._pipeline, [part for part in NETWORKS if part not in self._parts(stage)], HOME)
            give_memory_back()
            move(self._pipeline, self._parts(stage), self._place.device)
        drop_stale_graphs(self._pipeline, self._parts(stage))

    def _parts(self, stage: Stage) -> tuple[str, ...]:
        """Return what a stage computes with: a drawing that begins with a picture encodes it, between passes too."""
        if stage == "decoding" and self.draft is not None:
            return ()  # it never leaves the device
        encodes = stage == "drawing" and (self._request.init_image is not None or self._request.hires is not None)
        return (*PARTS[stage], "vae") if encodes else PARTS[stage]

    def _latents(self) -> tuple[int, int]:
        scale = pixels_of_a_latent(self._pipeline.vae)
        width, height = self._largest()
        return -(-width // scale), -(-height // scale)

    def _largest(self) -> tuple[int, int]:
        """Return width and height of the largest pass."""
        hires = self._request.hires
        sizes = [(self._request.width, self._request.height), *([(hires.width, hires.height)] if hires else [])]
        return max(sizes, key=lambda size: size[0] * size[1])

    def _drawing_floor(self) -> int:
        width, height = self._latents()
        rows = 1 if "slice" in self.taken else self.rows * self.width
        return drawing_floor(self._pipeline.unet, width * height, rows)

    def _decoding_floor(self) -> int:
        side = tile_side(self._latents()) * pixels_of_a_latent(self._pipeline.vae) if self.is_tiled else 2**31
        width, height = self._largest()
        return self.width * decoding_floor(self.decoder, min(side, width), min(side, height))

    def _short(self, stage: Stage, needed: int) -> tuple[int, int] | None:
        """Return what is needed and what is free, in bytes, when that is too little."""
        free = free_bytes(self.resting if stage == "loading" else self._place)
        if free is None:
            return None
        if self.offloaded and self._pipeline is not None:
            # Whatever is on the device now may go, but for what the stage computes with.
            parts = [getattr(self._pipeline, part) for part in NETWORKS]
            there = parts_bytes([part for part in parts if part.device.type == self._place.device.type])
            free += there - parts_bytes([getattr(self._pipeline, part) for part in self._parts(stage)])
        return (needed, free) if needed > free else None

    def _asked(self) -> str:
        width, height = self._largest()
        return f"{width}x{height} pixels with {self._request.model}"
