"""Several requests for an engine that draws one after the other. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from minimon_server.engines.messages import Deliver, Drawn, DrawRequest, EngineFault, Report, Stopped


class DrawsOne(Protocol):
    """Who draws a request at a time, as `Engine.draw` does."""

    def draw(self, request: DrawRequest, report: Report) -> Drawn:
        """Draw all its pictures."""


def one_by_one(engine: DrawsOne, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
    """Do what `Engine.draw_together` does, each request for itself; raises what is no end of one request alone."""
    for index, (request, report) in enumerate(zip(requests, reports, strict=True)):
        try:
            (picture,) = engine.draw(request, report).pictures
        except (Stopped, EngineFault) as error:
            deliver(index, error)
        else:
            deliver(index, picture)
