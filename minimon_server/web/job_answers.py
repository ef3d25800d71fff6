"""What is told of a job: bodies and headers, in the words of the first server. Asks nobody and decides no state."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any, Final

import orjson
from starlette.responses import Response

from minimon_server.errors import Language, Text
from minimon_server.jobs.job import Job, PictureFile, State
from minimon_server.jobs.pictures import media_type_of
from minimon_server.jobs.standing import Standing

Json = dict[str, Any]

LONGEST_METADATA: Final = 4096
# Of what a picture's metadata hold.
TOLD: Final = ("prompt_tokens", "prompt_chunks", "ignored", "loras_rounded_to", "layers_in_full")
USUAL_RETRY: Final = 5
_DRAWING: Final = Text("Image en cours de génération", "The picture is being made")


def meta(job: Job, standing: Standing) -> Json:
    """Return how far a job is, in steps; loading a model is no step."""
    total = job.request.total_steps
    current = 0
    if job.state is State.SUCCESS:
        current = total
    elif steps := standing.steps:
        current, total = steps.current, steps.total
    return {"current": current, "total": total, "percent": current * 100 // max(total, 1)}


def accepted(job: Job, standing: Standing) -> Json:
    """Return what `POST /generate` answers."""
    return {
        "job_id": job.id,
        "state": job.state.value,
        "position": standing.position,
        "eta_seconds": _rounded(standing.eta_seconds),
        "seed": job.request.seeds[0],
        "scheduler": job.request.scheduler,
    }


def status(job: Job, standing: Standing) -> Json:
    """Return all that there is to say of a job."""
    phase = standing.progress
    return {
        "job_id": job.id,
        "state": job.state.value,
        "meta": meta(job, standing),
        "phase": {"name": phase.phase, "current": phase.current, "total": phase.total} if phase else None,
        "position": standing.position,
        "eta_seconds": _rounded(standing.eta_seconds),
        "result": _result(job),
        "error": job.error if job.state is State.FAILURE else None,
        "request": asked(job),
        "attempt": job.attempt,
        "created": moment(job.accepted),
        "started": moment(job.started),
        "ended": moment(job.ended),
    }


def line(job: Job, position: int | None) -> Json:
    """Return a job as one of a list."""
    return {
        "job_id": job.id,
        "state": job.state.value,
        "position": position,
        "model": job.request.model,
        "created": moment(job.accepted),
        "ended": moment(job.ended),
    }


def still_drawing(job: Job, standing: Standing, language: Language) -> Response:
    """Return the 202 of `/image`; `Retry-After` says when to look again."""
    body = {
        "status": "processing",
        "message": _DRAWING.spoken(language),
        "state": job.state.value,
        "meta": meta(job, standing),
    }
    wait = USUAL_RETRY if standing.eta_seconds is None else min(max(1, round(standing.eta_seconds)), 60)
    headers = {
        "Cache-Control": "no-store",
        "Content-Language": language,
        "Retry-After": str(wait),
        "Vary": "Accept-Language",
        "X-Job-ID": job.id,
    }
    return Response(orjson.dumps(body), 202, headers, "application/json")


def drawing_failed(job: Job) -> Response:
    """Return the 500 of `/image`, in the form of the first server."""
    body = orjson.dumps({"status": "failed", "error": job.error})
    return Response(body, 500, {"Cache-Control": "no-store", "X-Job-ID": job.id}, "application/json")


def picture_file(job: Job, picture: PictureFile, data: bytes) -> Response:
    """Return one picture with what made it."""
    headers = {"Cache-Control": "no-store", "X-Job-ID": job.id, "X-Generation-Metadata": metadata(job, picture)}
    return Response(data, 200, headers, media_type_of(picture.name))


def metadata(job: Job, picture: PictureFile) -> str:
    """Return what made a picture as ASCII JSON of at most 4 KiB; what is left out stands in the file and `/status`."""
    known = {**asked(job), **picture.metadata, "seed": picture.seed}
    known.pop("seeds", None)
    order = ("model", "steps", "guidance_scale", "seed", "width", "height", "loras", "scheduler", "clip_skip")
    told = {name: known.pop(name) for name in order if name in known} | known
    while len(text := _ascii(told)) > LONGEST_METADATA:
        del told[max(told, key=lambda name: len(_ascii(told[name])))]
    return text


def asked(job: Job) -> Json:
    """Return what is drawn, in the words in which it was asked for."""
    told = asdict(job.request)
    del told["schema"]
    told["loras"] = told.pop("adapters")
    told["seeds"] = list(told["seeds"])
    return told


def moment(seconds: float | None) -> str | None:
    """Return a time as RFC 3339, UTC, in milliseconds."""
    if seconds is None:
        return None
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _result(job: Job) -> Json | None:
    if not job.pictures:
        return None
    first = job.pictures[0]
    return {
        "filename": first.name,
        "filenames": [picture.name for picture in job.pictures],
        "seed": first.seed,
        "seeds": [picture.seed for picture in job.pictures],
        "width": first.width,
        "height": first.height,
        "removed": job.removed,
        **{name: first.metadata.get(name) for name in TOLD},
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _ascii(value: object) -> str:
    # DEL is ASCII, and still not allowed in a header.
    return json.dumps(value, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")
