"""What is being drawn, and whether others can be drawn between two of its steps by the same weights. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minimon_server.engines.loaded_model import Loaded
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.native_size import Canvas
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_reference import Shown
from minimon_server.engines.sdxl_rows import can_stand_in_rows
from minimon_server.engines.sdxl_stack import Worn


@dataclass(frozen=True, slots=True)
class SetUp:
    """What a request is drawn with."""

    model: Loaded
    worn: Worn
    ladder: Ladder
    canvas: Canvas


@dataclass(frozen=True, slots=True)
class Running:
    """A request whose steps are under way; `new_ladder` makes a ladder that puts no model out of memory."""

    request: DrawRequest
    set_up: SetUp
    shown: Shown
    new_ladder: Callable[[DrawRequest], Ladder]

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Whether these can be drawn within a report: by the weights that draw, as they are, in what memory is left.

        Not while these weights are something else than the model: in other numbers, in parts, elsewhere, or shown a
        reference picture, which every evaluation of the UNet would read.
        """
        if requests[0].company is None or self.shown.embeds is not None:
            return False
        pipeline, ladder = self.set_up.model.pipeline, self.set_up.ladder
        is_itself = pipeline.text_encoder_2 is not None and not ladder.taken and not ladder.offloaded
        if requests[0].stack != self.request.stack or not is_itself or not can_stand_in_rows(pipeline):
            return False
        return self.beside(requests[0]).ladder.has_room_for_one

    def beside(self, request: DrawRequest) -> SetUp:
        """Return what draws now, for another request of the same stack."""
        model = self.set_up.model
        canvas = Canvas(request, model.folder.native_size)
        ladder = self.new_ladder(canvas.as_drawn(request))
        ladder.stand_on(model.pipeline, rests=False)
        ladder.rows = 2 if request.guidance_scale > 1 else 1
        return SetUp(model, self.set_up.worn, ladder, canvas)
