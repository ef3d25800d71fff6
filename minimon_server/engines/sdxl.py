"""The SDXL engine: which pipeline is in memory, and what becomes of failures. Knows nothing of queues, jobs, files."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any, Final

import diffusers
import torch

from minimon_server import __version__
from minimon_server.engines.devices import DeviceWish
from minimon_server.engines.messages import (
    Drawn,
    DrawRequest,
    EngineFault,
    Report,
)
from minimon_server.engines.model_folders import BrokenModel, ModelFolder, ModelFolders, fingerprint_of
from minimon_server.engines.picture_files import can_be_written
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.engines.sdxl_decoding import Previews
from minimon_server.engines.sdxl_drawing import Drawing, Teller
from minimon_server.engines.sdxl_loading import Place, choose_place, load
from minimon_server.engines.textual_inversion import TrainedWords
from minimon_server.logs import Logger

PREVIEW_EVERY: Final = 5  # steps
VERSIONS: Final = {"minimon": __version__, "torch": torch.__version__, "diffusers": diffusers.__version__}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One model in memory."""

    stack: str
    folder: ModelFolder
    pipeline: Any
    previews: Previews
    fingerprint: str


class SdxlEngine:
    """An `Engine` over the folders of `models`. Loads on first need, and holds one model at a time."""

    def __init__(self, models: ModelFolders, wish: DeviceWish, log: Logger) -> None:
        self._models = models
        self._wish: DeviceWish = wish
        self._log = log
        self._place: Place | None = None
        self._model: _Loaded | None = None
        self._trained = TrainedWords(models.root / "embeddings", log)

    @property
    def loaded(self) -> str | None:
        """The stack that could draw at once, or None."""
        return self._model.stack if self._model else None

    def draw(self, request: DrawRequest, report: Report) -> Drawn:
        """Load what the request needs, then draw all its pictures; see `Engine.draw`."""
        refuse_what_cannot_be(request)
        try:
            teller = Teller(report)
            model = self._ready(request, teller)
            place = self._here()
            return Drawing(
                request, model.pipeline, model.previews, place, teller, model.fingerprint, self._trained
            ).all()
        except torch.OutOfMemoryError as error:
            self._log.warning("out of memory", model=request.model, problem=str(error))
            text = _out_of_memory(request, str(error))
        except (MemoryError, RuntimeError) as error:
            # The CPU's allocator has no error class of its own.
            if isinstance(error, RuntimeError) and "DefaultCPUAllocator" not in str(error):
                raise
            self._log.warning("out of memory", model=request.model, problem=str(error))
            text = _out_of_memory(request, str(error))
        except BrokenModel as error:
            text = str(error)
        # Only here, outside the handlers, are the error and the frames with their tensors gone.
        give_memory_back()
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

    def _ready(self, request: DrawRequest, teller: Teller) -> _Loaded:
        """Return the model of the request, loading it if it is not there; the one before it goes first."""
        folder = self._models.find(request.model)
        if self._model is None or self._model.folder is not folder:  # also when it was replaced on disk
            place = self._here()
            self.close()
            pipeline = load(folder, place, lambda read, whole: teller.tell("loading", read, whole))
            self._model = _Loaded(request.stack, folder, pipeline, Previews(pipeline.vae), fingerprint_of(folder.path))
            self._log.info("model loaded", model=request.model, device=place.name)
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


def give_memory_back() -> None:
    """Collect what nobody holds any more, and give the device's cache back to it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _out_of_memory(request: DrawRequest, problem: str) -> str:
    what = "CUDA out of memory" if "CUDA" in problem else "Out of memory"
    return f"{what}: {request.width}x{request.height} pixels with {request.model} need more than there is here."
