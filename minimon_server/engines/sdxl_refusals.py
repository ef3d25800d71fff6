"""What no model here could draw, refused before anything is loaded for it. Looks at no model."""

from __future__ import annotations

from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.picture_files import can_be_written
from minimon_server.engines.schedulers import SCHEDULERS


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
