"""A job as the JSON of a record, and back. The only place that knows how old records were written."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Final

import orjson

from minimon_server.engines.messages import AdapterUse, DrawRequest, Hires, InputPicture, IpAdapterUse
from minimon_server.jobs.job import SCHEMA, Fence, Job, PictureFile, State

# The request never changes and may be long: it is written once, apart from what every change of state writes anew.
# The rest has columns of its own.
_APART: Final = ("request", "id", "number", "fence", "state")


class NewerRecord(ValueError):
    """A record that a later version of this program has written."""


def written_request(job: Job) -> bytes:
    """Return what is asked for, as JSON."""
    return orjson.dumps(job.request)


def written_record(job: Job) -> bytes:
    """Return everything else, as JSON."""
    held = {field.name: getattr(job, field.name) for field in fields(job) if field.name not in _APART}
    return orjson.dumps(held | {"pictures": [asdict(picture) for picture in job.pictures]})


def read_job(job_id: str, number: int, state: str, fence: int, request: bytes, record: bytes) -> Job:
    """Return the job of one row; raise `NewerRecord` when a later version wrote it."""
    held: dict[str, Any] = orjson.loads(record)
    asked: dict[str, Any] = orjson.loads(request)
    if held["schema"] > SCHEMA or asked["schema"] > SCHEMA:
        raise NewerRecord(job_id)
    asked["seeds"] = tuple(asked["seeds"])
    asked["adapters"] = tuple(AdapterUse(**adapter) for adapter in asked["adapters"])
    # A request of before these were known says nothing of them.
    asked["trigger_words"] = tuple(asked.get("trigger_words", ()))
    for name, kind in (("init_image", InputPicture), ("mask", InputPicture), ("hires", Hires)):
        if asked.get(name) is not None:
            asked[name] = kind(**asked[name])
    if (use := asked.get("ip_adapter")) is not None:
        asked["ip_adapter"] = IpAdapterUse(**use | {"picture": InputPicture(**use["picture"])})
    held["pictures"] = tuple(PictureFile(**picture) for picture in held["pictures"])
    return Job(
        id=job_id, number=number, state=State(state), fence=Fence(str(fence)), request=DrawRequest(**asked), **held
    )
