"""The SDXL engine: which pipeline is in memory, and what becomes of failures. Knows nothing of queues and jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from minimon_server.engines.acceleration_plan import Accelerations
from minimon_server.engines.attention_kernels import ordered_kernels
from minimon_server.engines.checkpoint_files import Models, OnDisk
from minimon_server.engines.devices import DeviceHere, DeviceWish
from minimon_server.engines.draft_decoder import DraftDecoder
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.ip_adapter_files import FindIpAdapter, in_folder
from minimon_server.engines.loaded_model import Loaded
from minimon_server.engines.lost_device import is_lost
from minimon_server.engines.memory_budgets import budgets_here
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import (
    NO_INPUTS,
    Deliver,
    Drawn,
    DrawRequest,
    EngineFault,
    EngineLost,
    NotNow,
    Report,
    Stack,
    Stopped,
)
from minimon_server.engines.model_folders import BrokenModel, ModelFolders
from minimon_server.engines.native_size import Canvas
from minimon_server.engines.one_by_one import one_by_one
from minimon_server.engines.pristine_weights import LostWeights
from minimon_server.engines.residency import AS_THE_MACHINE_HAS_IT, Budgets
from minimon_server.engines.resident_models import ResidentModels
from minimon_server.engines.sdxl_beside import Running, SetUp
from minimon_server.engines.sdxl_draft import Drafts
from minimon_server.engines.sdxl_drawing import NO_VERSIONS, Drawing
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place, choose_place
from minimon_server.engines.sdxl_memory import give_memory_back
from minimon_server.engines.sdxl_reference import NOTHING_SHOWN, References, Shown
from minimon_server.engines.sdxl_refusals import refuse_what_cannot_be
from minimon_server.engines.sdxl_rows import can_stand_in_rows
from minimon_server.engines.sdxl_stack import Worn, put_on
from minimon_server.engines.sdxl_together import Crowd, Together
from minimon_server.engines.telling import Teller, Tells
from minimon_server.engines.textual_inversion import TrainedWords
from minimon_server.engines.weight_files import FindAdapter, by_stem
from minimon_server.logs import Logger

T = TypeVar("T")
TRIES: Final = 2  # at files that change while they are read


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
        draft: DraftDecoder | None = None,
    ) -> None:
        """`adapters` finds their files; without it they are those of the folder `loras` by their stems, and without
        `ip_adapters` those are the folders of `ip-adapter` by their names.

        `here` is told what computes. `budgets` are those of all models that are kept; the one that draws may be larger.
        `plan` says how to draw faster or in less memory; without it, nothing is done. `draft` decodes what asks for it.
        """
        self._plan = plan
        self._models = models
        self._adapters = adapters or by_stem(models.root)
        self._hashes = hashes or FileHashes(log)
        self._references = References(ip_adapters or in_folder(models.root), self._hashes, log)
        self._drafts = Drafts(draft, self._hashes, plan, log)
        self._wish: DeviceWish = wish
        self._log = log
        self._tally = tally or MemoryTally()
        self._budgets = budgets
        self._place: Place | None = None
        self._device_here = here or DeviceHere(wish)
        self._residents: ResidentModels | None = None
        self._running: Running | None = None
        self._trained = TrainedWords(models.root / "embeddings", log)

    @property
    def loaded(self) -> Stack | None:
        """The stack that could draw at once, or None."""
        return self._model.told if self._model else None

    @property
    def _model(self) -> Loaded | None:
        return self._residents.newest if self._residents else None

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        """Load what the request needs, then draw all its pictures; see `Engine.draw`."""
        refuse_what_cannot_be(request)
        return self._unless_lost(request.model, lambda: self._drawn(request, Teller(report), inputs))

    def _drawn(self, request: DrawRequest, teller: Teller, inputs: Mapping[str, bytes]) -> Drawn:
        set_up = self._ready_for(request, teller)
        place, unet = self._here(), set_up.model.pipeline.unet

        def tell(current: int, total: int) -> None:
            teller.tell("loading", current, total)

        try:
            with self._references.shown(request, inputs, unet, place, set_up.ladder, tell) as shown:
                drawing = self._over(set_up, request, teller, inputs, shown)
                self._running = Running(request, set_up, shown, lambda one: Ladder(one, place, self._log, self._tally))
                set_up.model.accelerated.tell_by(lambda: tell(0, 1))
                with ordered_kernels(place):
                    return drawing.all()
        finally:
            self._running = None
            set_up.ladder.undo()  # also where it is not even begun

    def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Draw requests of one company side by side, each told for itself; see `Engine.draw_together`."""
        running = self._running  # then this is between two steps of it
        if len(requests) == 1 and running is None:
            one_by_one(self, requests, reports, deliver)
            return
        tellers = [Teller(report) for report in reports]
        crowd = Crowd(tellers, deliver)
        try:
            odd = self._unless_lost(requests[0].model, lambda: self._side_by_side(requests, tellers, crowd))
        except (EngineFault, Stopped) as error:
            crowd.end_all(NotNow() if running and isinstance(error, EngineFault) else error)
            return
        if running:
            crowd.end_all(NotNow())
            return
        # Each for itself: what the model computes of them may be no number in these floats.
        one_by_one(
            self,
            [requests[index] for index in odd],
            [reports[index] for index in odd],
            lambda index, outcome: deliver(odd[index], outcome),
        )

    def _side_by_side(self, requests: Sequence[DrawRequest], tellers: Sequence[Teller], crowd: Crowd) -> list[int]:
        """Draw all that can stand in rows, and return the places of the others."""
        for index, request in enumerate(requests):
            crowd.each(index, partial(refuse_what_cannot_be, request))
        set_up = self._running.beside(requests[0]) if self._running else self._ready_for(requests[0], crowd)
        drawings: dict[int, Drawing] = {}

        def stand(index: int) -> None:
            drawings[index] = self._over(set_up, requests[index], tellers[index])

        try:
            if not can_stand_in_rows(set_up.model.pipeline):
                return crowd.left
            for index in crowd.left:
                crowd.each(index, partial(stand, index))
            together = Together(drawings, set_up.model.pipeline, set_up.ladder, crowd, set_up.worn)
            if self._running is not None:  # what draws tells somebody else, and waits no minutes for a graph
                with set_up.model.accelerated.only_known_graphs():
                    together.all()
                return together.odd
            set_up.model.accelerated.tell_by(lambda: crowd.tell("loading", 0, 1))
            with ordered_kernels(self._here()):
                together.all()
            return together.odd
        finally:
            set_up.ladder.undo()  # also where it is not even begun

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Whether these can be drawn within a report of what is being drawn; see `Running.has_room_for`."""
        return self._running is not None and self._running.has_room_for(requests)

    def _unless_lost(self, model: str, work: Callable[[], T]) -> T:
        """Return what `work` does; raise `EngineLost` where the device went away meanwhile."""
        try:
            return work()
        except RuntimeError as error:
            if not is_lost(error, self._place.device if self._place else None):
                raise
            self._log.error("the device is lost to this process", model=model, exception=error)
        # Nothing is given back: whatever is asked of the device now fails.
        raise EngineLost("The device that draws was lost while this was drawn.")

    def _ready_for(self, request: DrawRequest, teller: Tells) -> SetUp:
        """Return the model that a request needs, as it needs it; one whose files change meanwhile is loaded again."""
        try:
            for _ in range(TRIES):
                try:
                    return self._set_up(request, teller)
                except LostWeights as error:
                    self._log.warning("weights changed on the disk: loaded anew", model=request.model, file=str(error))
                # Outside the handler, where nobody holds the model any more.
                self._kept().put_out(request.model, "its files have changed on the disk")
            problem = f"The files of {request.model} change while they are read; nothing was drawn."
            raise EngineFault(problem, retry=True)
        except BrokenModel as error:
            text = str(error)
        give_memory_back()  # outside the handler, where what was read of the model is gone
        raise EngineFault(text)

    def _set_up(self, request: DrawRequest, teller: Tells) -> SetUp:
        folder = self._models.find(request.model)
        canvas = Canvas(request, folder.native_size)
        others, rests = self._kept().make_room, self._plan is not None and bool(self._plan.offload.value)
        ladder = Ladder(canvas.as_drawn(request), self._here(), self._log, self._tally, others, rests=rests)
        return SetUp(*self._dressed(request, folder, teller, ladder), ladder, canvas)

    def _over(
        self,
        set_up: SetUp,
        request: DrawRequest,
        teller: Teller,
        inputs: Mapping[str, bytes] = NO_INPUTS,
        shown: Shown = NOTHING_SHOWN,
    ) -> Drawing:
        """Return a request over the model that was made ready for it."""
        model, worn = set_up.model, set_up.worn
        return Drawing(
            request,
            model.pipeline,
            model.previews,
            self._here(),
            teller,
            model.fingerprint,
            set_up.ladder,
            self._trained,
            inputs,
            set_up.canvas,
            replace(worn, parts=shown.hashing, ignored=(*worn.ignored, *shown.ignored)),
            shown,
            self._plan.versions if self._plan else NO_VERSIONS,
            model.scheduler,
            self._drafts.of(request, model.pipeline, self._here()),
        )

    def _dressed(self, request: DrawRequest, folder: OnDisk, teller: Tells, ladder: Ladder) -> tuple[Loaded, Worn]:
        """Return the loaded model with the adapters of a request merged, and what is told of them.

        Raise `LostWeights` where files of the model have changed since they were looked at.
        """
        model = ladder.run("loading", lambda: self._ready(request, folder, teller, ladder))
        ladder.stand_on(model.pipeline, rests=model.rests)
        worn = None
        try:
            tell, count = partial(teller.tell, "loading"), partial(self._kept().count, model)
            worn = put_on(model.stack, request, self._adapters, self._hashes, ladder, tell, count)
        finally:
            if worn is None:
                ladder.undo()
                model.told = model.told if model.stack.worn else Stack(request.model)
                if model.stack.is_torn:
                    self._kept().put_out(request.model, "a merge was cut off")
        model.told = request.stack
        return model, replace(worn, model=model.hashing)

    def close(self) -> None:
        """Give everything back."""
        self._references.close()
        self._drafts.close()
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

    def _ready(self, request: DrawRequest, folder: OnDisk, teller: Tells, ladder: Ladder) -> Loaded:
        """Return the model of the request, loading it if it is not there; others go first where there is no room."""
        kept = self._kept()
        found = kept.take(request.model, folder, ladder)
        if found is not None:
            return found
        return kept.load(request.model, folder, ladder, lambda read, whole: teller.tell("loading", read, whole))
