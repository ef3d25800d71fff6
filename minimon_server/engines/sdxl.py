"""The SDXL engine: which pipeline is in memory, and what becomes of failures. Knows nothing of queues, jobs, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minimon_server.engines.checkpoint_files import Models, OnDisk, fingerprint_of_model
from minimon_server.engines.checkpoint_loading import load_model
from minimon_server.engines.devices import DeviceWish
from minimon_server.engines.lost_device import is_lost
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import (
    NO_INPUTS,
    Drawn,
    DrawRequest,
    EngineFault,
    EngineLost,
    Report,
)
from minimon_server.engines.model_folders import BrokenModel, ModelFolders
from minimon_server.engines.native_size import Canvas
from minimon_server.engines.picture_files import can_be_written
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.engines.sdxl_decoding import Previews
from minimon_server.engines.sdxl_drawing import Drawing, Teller
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place, choose_place
from minimon_server.engines.sdxl_memory import give_memory_back
from minimon_server.engines.textual_inversion import TrainedWords
from minimon_server.logs import Logger


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One model in memory."""

    stack: str
    folder: OnDisk
    pipeline: Any
    previews: Previews
    fingerprint: str
    rests: bool  # its parts lie in main memory, and come to the device when they are needed


class SdxlEngine:
    """An `Engine` over the folders and files of `models`. Loads on first need, and holds one model at a time."""

    def __init__(
        self, models: ModelFolders | Models, wish: DeviceWish, log: Logger, tally: MemoryTally | None = None
    ) -> None:
        self._models = models
        self._wish: DeviceWish = wish
        self._log = log
        self._tally = tally or MemoryTally()
        self._place: Place | None = None
        self._model: _Loaded | None = None
        self._trained = TrainedWords(models.root / "embeddings", log)

    @property
    def loaded(self) -> str | None:
        """The stack that could draw at once, or None."""
        return self._model.stack if self._model else None

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        """Load what the request needs, then draw all its pictures; see `Engine.draw`."""
        refuse_what_cannot_be(request)
        try:
            return self._drawn(request, Teller(report), inputs)
        except RuntimeError as error:
            if not is_lost(error, self._place.device if self._place else None):
                raise
            self._log.error("the device is lost to this process", model=request.model, exception=error)
        # Nothing is given back: whatever is asked of the device now fails.
        raise EngineLost("The device that draws was lost while this was drawn.")

    def _drawn(self, request: DrawRequest, teller: Teller, inputs: Mapping[str, bytes]) -> Drawn:
        try:
            folder = self._models.find(request.model)
            canvas = Canvas(request, folder.native_size)
            ladder = Ladder(canvas.as_drawn(request), self._here(), self._log, self._tally)
            model = ladder.run("loading", lambda: self._ready(request, folder, teller, ladder))
        except BrokenModel as error:
            text = str(error)
        else:
            ladder.stand_on(model.pipeline, rests=model.rests)
            place, fingerprint = self._here(), model.fingerprint
            return Drawing(
                request,
                model.pipeline,
                model.previews,
                place,
                teller,
                fingerprint,
                ladder,
                self._trained,
                inputs,
                canvas,
            ).all()
        give_memory_back()  # outside the handler, where what was read of the model is gone
        raise EngineFault(text)

    def close(self) -> None:
        """Give everything back."""
        if self._model is not None:
            self._model = None
            give_memory_back()

    def _here(self) -> Place:
        if self._place is None:
            place = choose_place(self._wish)
            dtype = str(place.dtype).removeprefix("torch.")
            self._log.info("engine device", device=place.name, dtype=dtype, reason=place.reason)
            self._place = place
        return self._place

    def _ready(self, request: DrawRequest, folder: OnDisk, teller: Teller, ladder: Ladder) -> _Loaded:
        """Return the model of the request, loading it if it is not there; the one before it goes first."""
        if self._model is None or self._model.folder is not folder:  # also when it was replaced on disk
            self.close()
            ladder.look_at(folder)
            pipeline = load_model(folder, ladder.resting, lambda read, whole: teller.tell("loading", read, whole))
            previews, fingerprint = Previews(pipeline.vae), fingerprint_of_model(folder)
            self._model = _Loaded(request.stack, folder, pipeline, previews, fingerprint, ladder.offloaded)
            self._log.info("model loaded", model=request.model, device=self._here().name, rests=ladder.offloaded)
        return self._model


def refuse_what_cannot_be(request: DrawRequest) -> None:
    """Raise `EngineFault` for what no model here could do, before anything is loaded for it."""
    if request.adapters:
        raise EngineFault("Adapters (LoRA) cannot be used yet; nothing was drawn without them.")
    if request.scheduler is not None and request.scheduler not in SCHEDULERS:
        raise EngineFault(f"There is no scheduler {request.scheduler}; there are: {', '.join(SCHEDULERS)}.")
    if not request.seeds or request.steps < 1:
        raise EngineFault("A request needs at least one seed and one step.")
    if request.width % 8 or request.height % 8:
        raise EngineFault("Width and height are multiples of 8.")
    if not can_be_written(request.format):
        raise EngineFault(f"The Pillow that is installed here cannot write {request.format}; nothing was drawn.")
