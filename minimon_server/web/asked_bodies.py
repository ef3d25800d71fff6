"""From the body of `POST /generate` to what is asked for, and to what tells it from another. Accepts no job."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from minimon_server.jobs.drawing import Asked, LoraInfo, weight_of
from minimon_server.jobs.input_rules import AskedHires
from minimon_server.jobs.inputs import InputFile
from minimon_server.web.intake import PICTURES
from minimon_server.web.job_schemas import DrawBody


def asked_of(body: DrawBody, pictures: Mapping[str, InputFile], loras: Mapping[str, LoraInfo], *, exact: bool) -> Asked:
    """Return what a body asks for, with the pictures that came with it; `exact` as in `Asked`."""
    said = body.model_dump(exclude={*PICTURES, "hires"})
    weights = tuple((lora.name, weight_of(loras.get(lora.name), lora.weight)) for lora in body.loras)
    sent = {field: picture.picture for field, picture in pictures.items()}
    return Asked(
        **said | {"loras": weights, "exact": exact} | sent,
        hires=AskedHires(**body.hires.model_dump()) if body.hires else None,
    )


def words_of(body: DrawBody, files: Mapping[str, str]) -> bytes:
    """Return what a body says, its pictures by the digests of their `files`, alike for like requests.

    However they were written, and by whichever version they were read: a field at its default says nothing, so that
    one that a later version adds does not make another request of an old one.
    """
    said = body.model_dump(exclude_defaults=True, exclude=set(PICTURES))
    return orjson.dumps(said | dict(files), option=orjson.OPT_SORT_KEYS)


def sketched(members: Mapping[str, Any], wrong: Collection[str]) -> Asked:
    """Return what can be made out of a body in which these fields are wrong."""
    names = ("model", "width", "height", "scheduler", "clip_skip", "quality")
    sound: dict[str, Any] = {name: members.get(name) for name in names if name not in wrong}
    loras = members.get("loras", ()) if "loras" not in wrong else ()
    held = [one.get("name", "") if isinstance(one, dict) else "" for one in loras]
    prompt = str(members.get("prompt", "")) if "prompt" not in wrong else ""
    kind = "png" if "format" in wrong else members.get("format", "png")
    # Without their weights, which may be wrong: a tag of the prompt that adds to one is judged by its own.
    decoder: Any = "full" if "decoder" in wrong else members.get("decoder", "full")
    return Asked(prompt, decoder=decoder, loras=tuple((str(name), 0.0) for name in held), format=kind, **sound)
