"""An engine whose libraries are imported at the first job, on the engine's own thread. Draws nothing itself."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from minimon_server import __version__
from minimon_server.engines.acceleration import choose
from minimon_server.engines.acceleration_plan import Accelerations, Refused, Wishes
from minimon_server.engines.checkpoint_files import Models
from minimon_server.engines.devices import DeviceHere, DeviceWish, cuda_problem
from minimon_server.engines.draft_decoder import DraftDecoder
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.ip_adapter_files import FindIpAdapter
from minimon_server.engines.machine_facts import Machine, this_machine
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import (
    NO_INPUTS,
    Deliver,
    Drawn,
    DrawnPicture,
    DrawRequest,
    Engine,
    EngineFault,
    NormalPicture,
    Progress,
    Report,
    Stack,
    Stopped,
)
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.residency import AS_THE_MACHINE_HAS_IT, Budgets
from minimon_server.engines.weight_files import FindAdapter
from minimon_server.errors import StartupError, Text
from minimon_server.logs import Logger

NEEDED: Final = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "isal")
INSTALL: Final = Text(
    "Lancez « make run » dans le dossier du serveur, ou : python -m pip install -r requirements.txt",
    "Run 'make run' in the server's folder, or: python -m pip install -r requirements.txt",
)

_ENGINE: Final = "minimon_server.engines.sdxl"  # the module that imports the libraries
NO_WISHES: Final = Wishes()


class NoEngine(Exception):
    """There is no engine for prompts here; the text says why and which line would bring one."""

    def __init__(self, text: Text) -> None:
        self.text = text
        super().__init__(text.en)


def missing_packages() -> list[str]:
    """Return what an engine for prompts needs and is not installed; nothing of it is imported."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def pack(picture: DrawnPicture, kind: str = "png", quality: int | None = None) -> bytes:
    """Return the file of a picture, see `picture_files.pack`; what packs it is imported at the first one."""
    from minimon_server.engines import picture_files

    return picture_files.pack(picture, kind, quality)


def pack_alone(picture: DrawnPicture) -> bytes:
    """Return a PNG file of the picture's creature alone, see `picture_files.pack_alone`. Raises `NoCutout`."""
    from minimon_server.engines import picture_files

    return picture_files.pack_alone(picture)


def versions() -> dict[str, str]:
    """Return the versions that a picture tells, without importing what has them."""
    return {"minimon": __version__, **{name: version(name) for name in ("torch", "diffusers")}}


def versions_with(plan: Accelerations) -> dict[str, str]:
    """Return the same, with what decides the pixels of quantised weights."""
    return {**versions(), **plan.versions}


def read_picture(data: bytes, transparent: str) -> NormalPicture:
    """Return a client's picture as it is kept; what reads it is imported at the first one. Raises `BadPicture`."""
    from minimon_server.engines import input_pictures

    return input_pictures.normalised(data, transparent)


def plan_here(device: DeviceWish, wishes: Wishes) -> Accelerations:
    """Return what would be done to draw faster here, or raise: `NoEngine` where the packages are missing, which is no
    mistake, and `StartupError` where something was wished for by hand that cannot be had. Imports none of the packages.
    """
    missing = missing_packages()
    if missing:
        text = Text(
            f"Dessiner demande le paquet Python {missing[0]!r}, qui n'est pas installé. {INSTALL.fr}",
            f"Drawing prompts needs the Python package {missing[0]!r}, which is not installed. {INSTALL.en}",
        )
        wished = [*(["MINIMON_DEVICE=cuda"] if device == "cuda" else []), *wishes.demanded]
        if wished:
            raise StartupError([f"{wish}: {text.en}" for wish in wished])
        raise NoEngine(text)
    problem = cuda_problem() if device == "cuda" else None
    if problem:
        raise StartupError([f"MINIMON_DEVICE=cuda, but {problem}"])
    try:
        return choose(wishes, this_machine(device))
    except Refused as error:
        raise StartupError([text.en for text in error.texts]) from None


def make_engine(
    models: ModelFolders | Models,
    device: DeviceWish,
    log: Logger,
    adapters: FindAdapter | None = None,
    hashes: FileHashes | None = None,
    ip_adapters: FindIpAdapter | None = None,
    budgets: Budgets = AS_THE_MACHINE_HAS_IT,
    wishes: Wishes = NO_WISHES,
    draft: DraftDecoder | None = None,
) -> OnDemand:
    """Return who draws prompts, or raise as `plan_here`. Imports none of the packages.

    `adapters` and `ip_adapters` find their files, `hashes` knows those of all files, `budgets` are those of models; see
    `SdxlEngine`.
    """
    plan = plan_here(device, wishes)
    for name, chosen in plan.told().items():
        log.info("acceleration", what=name, chosen=chosen.value, reason=chosen.reason.en)
    memory, here = MemoryTally(), DeviceHere(device)

    def make() -> Engine:
        from minimon_server.engines.library_logs import adopt_libraries, hold_warnings

        adopt_libraries(log)
        hold_warnings(True)
        first = _ENGINE not in sys.modules
        try:
            from minimon_server.engines.sdxl import SdxlEngine
        finally:
            hold_warnings(False)
        if first:
            # What the libraries made lives until the end: to walk it takes each collection 0.3 s, in which nobody else
            # of the process runs.
            gc.collect()
            gc.freeze()
        return SdxlEngine(models, device, log, memory, adapters, hashes, here, ip_adapters, budgets, plan, draft)

    return OnDemand(make, log, memory, here, plan)


class OnDemand:
    """Stands for an engine until somebody draws; then makes it, once."""

    def __init__(
        self,
        make: Callable[[], Engine],
        log: Logger,
        memory: MemoryTally | None = None,
        here: DeviceHere | None = None,
        plan: Accelerations | None = None,
    ) -> None:
        self.memory = memory or MemoryTally()  # of all engines that were made, one after the other
        self.here = here or DeviceHere("auto")  # they compute on one device
        self.plan = plan or choose(NO_WISHES, Machine("cpu"))
        self._make = make
        self._log = log
        self._engine: Engine | None = None

    @property
    def loaded(self) -> Stack | None:
        """The stack that could draw at once, or None."""
        return self._engine.loaded if self._engine else None

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        """Make the engine if there is none yet, then let it draw."""
        if self._engine is None:
            if not report(Progress("loading", 0, 1)):  # importing takes seconds, and nobody should wonder
                raise Stopped
            self._engine = self._made()
        return self._engine.draw(request, report, inputs)

    def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Make the engine if there is none yet, then let it draw; see `Engine.draw_together`."""
        if self._engine is None:
            replies = [report(Progress("loading", 0, 1)) for report in reports]  # all hear of it
            if not any(replies):
                for index in range(len(requests)):
                    deliver(index, Stopped())
                return
            try:
                self._engine = self._made()
            except EngineFault as fault:
                for index in range(len(requests)):
                    deliver(index, fault)
                return
        self._engine.draw_together(requests, reports, deliver)

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Whether these can be drawn within a report of what is being drawn."""
        return self._engine is not None and self._engine.has_room_for(requests)

    def close(self) -> None:
        """Give everything back; a later request makes the engine anew."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _made(self) -> Engine:
        try:
            return self._make()
        except (ImportError, OSError) as error:
            # A library that is there and cannot be imported: a missing part of the system, or a broken installation.
            self._log.exception("engine cannot be imported")
            raise EngineFault(f"The engine cannot be started ({type(error).__name__}); the log says why.") from None
