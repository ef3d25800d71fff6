"""The SDXL engine: which pipeline is in memory, and what becomes of failures. Knows nothing of queues and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from minimon_server.engines.acceleration_plan import Accelerations
from minimon_server.engines.attention_kernels import ordered_kernels
from minimon_server.engines.checkpoint_files import Models, OnDisk
from minimon_server.engines.devices import DeviceHere, DeviceWish
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.ip_adapter_files import FindIpAdapter, in_folder
from minimon_server.engines.lost_device import is_lost
from minimon_server.engines.memory_budgets import budgets_here
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
from minimon_server.engines.pristine_weights import LostWeights
from minimon_server.engines.residency import AS_THE_MACHINE_HAS_IT, Budgets
from minimon_server.engines.resident_models import Loaded, ResidentModels
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.engines.sdxl_drawing import NO_VERSIONS, Drawing, Teller
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place, choose_place
from minimon_server.engines.sdxl_memory import give_memory_back
from minimon_server.engines.sdxl_reference import References
from minimon_server.engines.sdxl_stack import Worn, put_on
from minimon_server.engines.textual_inversion import TrainedWords
from minimon_server.engines.weight_files import FindAdapter, by_stem
from minimon_server.logs import Logger


class SdxlEngine:
    """An `Engine` over the folders and files of `models`. Loads on first need, and keeps what it has room for."""

    def __init__(
        self,
        models: ModelFolders | Models,
        wish: DeviceWish,
        log: Logger,
        tally: MemoryTally | None = None,
        adapters: FindAdapter | None = None,
        hashes: FileHashes | None = None,
        here: DeviceHere | None = None,
        ip_adapters: FindIpAdapter | None = None,
        budgets: Budgets = AS_THE_MACHINE_HAS_IT,
        plan: Accelerations | None = None,
    ) -> None:
        """`adapters` finds their files; without it they are those of the folder `loras` by their stems, and without
        `ip_adapters` those are the folders of `ip-adapter` by their names.

        `here` is told what computes, once that is chosen. `budgets` are those of all models that are kept; the one that
        draws may be larger. `plan` says how to draw faster or in less memory; without it, nothing is done for that.
        """
        self._plan = plan
        self._models = models
        self._adapters = adapters or by_stem(models.root)
        self._hashes = hashes or FileHashes(log)
        self._references = References(ip_adapters or in_folder(models.root), self._hashes, log)
        self._wish: DeviceWish = wish
        self._log = log
        self._tally = tally or MemoryTally()
        self._budgets = budgets
        self._place: Place | None = None
        self._device_here = here or DeviceHere(wish)
        self._residents: ResidentModels | None = None
        self._trained = TrainedWords(models.root / "embeddings", log)

    @property
    def loaded(self) -> str | None:
        """The stack that could draw at once, or None."""
        return self._model.told if self._model else None

    @property
    def _model(self) -> Loaded | None:
        return self._residents.newest if self._residents else None

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
            others, rests = self._kept().make_room, self._plan is not None and bool(self._plan.offload.value)
            ladder = Ladder(canvas.as_drawn(request), self._here(), self._log, self._tally, others, rests=rests)
            model, worn = self._dressed(request, folder, teller, ladder)
        except BrokenModel as error:
            text = str(error)
        else:
            try:
                return self._pictures(request, teller, inputs, ladder, canvas, model, worn)
            finally:
                ladder.undo()  # also where it is not even begun
        give_memory_back()  # outside the handler, where what was read of the model is gone
        raise EngineFault(text)

    def _pictures(
        self,
        request: DrawRequest,
        teller: Teller,
        inputs: Mapping[str, bytes],
        ladder: Ladder,
        canvas: Canvas,
        model: Loaded,
        worn: Worn,
    ) -> Drawn:
        """Draw with a loaded model that wears what the request wants."""
        place, pipeline = self._here(), model.pipeline

        def tell(current: int, total: int) -> None:
            teller.tell("loading", current, total)

        with self._references.shown(request, inputs, pipeline.unet, place, ladder, tell) as shown:
            drawing = Drawing(
                request,
                pipeline,
                model.previews,
                place,
                teller,
                model.fingerprint,
                ladder,
                self._trained,
                inputs,
                canvas,
                replace(worn, parts=shown.hashing, ignored=(*worn.ignored, *shown.ignored)),
                shown,
                self._plan.versions if self._plan else NO_VERSIONS,
            )
            model.accelerated.tell_by(lambda: teller.tell("loading", 0, 1))
            with ordered_kernels(place):
                return drawing.all()

    def _dressed(self, request: DrawRequest, folder: OnDisk, teller: Teller, ladder: Ladder) -> tuple[Loaded, Worn]:
        """Return the loaded model with the adapters of a request merged, and what is told of them."""
        for _ in range(2):
            model = ladder.run("loading", lambda: self._ready(request, folder, teller, ladder))
            ladder.stand_on(model.pipeline, rests=model.rests)
            worn = None
            try:
                worn = put_on(
                    model.stack, request, self._adapters, self._hashes, ladder, lambda *at: teller.tell("loading", *at)
                )
            except LostWeights as error:
                self._log.warning("weights changed on the disk: loaded anew", model=request.model, file=str(error))
            finally:
                if worn is None:
                    ladder.undo()
                    model.told = model.told if model.stack.worn else request.model
                    if model.stack.is_torn:
                        self._kept().put_out(request.model, "a merge was cut off")
            if worn is not None:
                model.told = request.stack
                return model, replace(worn, model=model.hashing)
            del model
            self._kept().put_out(request.model, "its files have changed on the disk")
        raise EngineFault(f"The files of {request.model} change while they are read; nothing was drawn.", retry=True)

    def close(self) -> None:
        """Give everything back."""
        self._references.close()
        if self._residents is not None:
            self._residents.clear()

    def _here(self) -> Place:
        if self._place is None:
            place = choose_place(self._wish)
            dtype = str(place.dtype).removeprefix("torch.")
            self._log.info("engine device", device=place.name, dtype=dtype, reason=place.reason)
            self._device_here.learn(place.name, dtype)
            self._place = place
        return self._place

    def _kept(self) -> ResidentModels:
        if self._residents is None:
            place = self._here()
            budgets = budgets_here(self._budgets, place, self._log)
            self._residents = ResidentModels(place, budgets, self._hashes, self._log, self._tally, self._plan)
        return self._residents

    def _ready(self, request: DrawRequest, folder: OnDisk, teller: Teller, ladder: Ladder) -> Loaded:
        """Return the model of the request, loading it if it is not there; others go first where there is no room."""
        kept = self._kept()
        found = kept.take(request.model, folder, ladder)
        if found is not None:
            return found
        return kept.load(request.model, folder, ladder, lambda read, whole: teller.tell("loading", read, whole))


def refuse_what_cannot_be(request: DrawRequest) -> None:
    """Raise `EngineFault` for what no model here could do, before anything is loaded for it."""
    if request.scheduler is not None and request.scheduler not in SCHEDULERS:
        raise EngineFault(f"There is no scheduler {request.scheduler}; there are: {', '.join(SCHEDULERS)}.")
    if not request.seeds or request.steps < 1:
        raise EngineFault("A request needs at least one seed and one step.")
    if request.width % 8 or request.height % 8:
        raise EngineFault("Width and height are multiples of 8.")
    if not can_be_written(request.format):
        raise EngineFault(f"The Pillow that is installed here cannot write {request.format}; nothing was drawn.")
