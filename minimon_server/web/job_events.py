"""`GET /jobs/{job_id}/events`: what happens to a job as server-sent events. Numbers them for whoever comes back."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from minimon_server.errors import Gone, MinimonError, NotFound, Text
from minimon_server.jobs.errors import JobsUnavailable
from minimon_server.jobs.events import Event
from minimon_server.jobs.service import Jobs
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.job_schemas import JobEvent, NoQuery
from minimon_server.web.jobs import JOB_ID, job_id_of
from minimon_server.web.validation import read_query

QUIET_LOOKS: Final = 15  # so many looks without news (a second each), then a line that shows that we are still here

EVENTS: Final = Guide(
    summary=Text("Ce qui arrive à une tâche, au fil de l'eau.", "What happens to a job, as it happens."),
    detail=Text(
        "Des événements `position`, `step`, `preview` (un petit PNG en base64) et `end`. `Last-Event-ID` reprend là où "
        "l'on était ; 204 quand tout a été entendu.",
        "Events `position`, `step`, `preview` (a small PNG in base64) and `end`. `Last-Event-ID` goes on where one "
        "was; 204 when all was heard.",
    ),
    query=NoQuery,
    path=JOB_ID,
    answers=(
        Answer(Text("Les événements.", "The events."), {"text/event-stream": JobEvent}),
        Answer(Text("Tout a été entendu.", "All was heard."), {}, status=204),
    ),
    errors=(Gone, JobsUnavailable, NotFound),
    samples=("-kN {token}{base}/jobs/$JOB_ID/events",),
)


class EventDesk:
    """The endpoint; `origin` stands before each number, for numbers begin anew with each process."""

    def __init__(self, jobs: Jobs, origin: str) -> None:
        self._jobs = jobs
        self._origin = origin

    async def answer(self, request: Request) -> Response:
        """Answer one request with a stream that ends when the job does."""
        read_query(request.scope, NoQuery)
        job_id = job_id_of(request)
        job = await self._jobs.get(job_id)
        after = self._heard(request)
        end = self._jobs.events.end_of(job_id)
        if job.has_ended and end is not None and after is not None and after >= end.number:
            # An EventSource comes back until it hears this (HTML, section 9.2).
            return Response(status_code=204)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        return StreamingResponse(self._stream(job_id, after), headers=headers, media_type="text/event-stream")

    def _heard(self, request: Request) -> int | None:
        origin, _, number = request.headers.get("last-event-id", "").partition("-")
        known = origin == self._origin and number.isascii() and number.isdigit() and len(number) < 19
        return int(number) if known else None

    async def _stream(self, job_id: str, after: int | None) -> AsyncIterator[bytes]:
        quiet = 0
        try:
            async for event in self._jobs.follow(job_id, after):
                quiet = 0 if event else quiet + 1
                if event:
                    yield self._written(event)
                elif quiet % QUIET_LOOKS == 0:
                    yield b": still here\n\n"
        except MinimonError as error:
            # The head has gone out: the error can only be one more event.
            yield b"event: error\ndata: %b\n\n" % orjson.dumps({"code": error.code})

    def _written(self, event: Event) -> bytes:
        data = dict(event.data)
        if event.preview is not None:
            data["image_base64"] = base64.b64encode(event.preview).decode("ascii")
        head = f"id: {self._origin}-{event.number}\nevent: {event.kind}\n".encode("ascii")
        return head + b"data: " + orjson.dumps(data) + b"\n\n"
