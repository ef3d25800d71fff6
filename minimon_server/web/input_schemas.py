"""The shapes of what is asked beyond text, and how large a body may be that holds pictures. Reads no picture."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from minimon_server.jobs.asked_reference import LARGEST_SCALE
from minimon_server.jobs.input_rules import LARGEST_SIDE, SMALLEST_SIDE, USUAL_HIRES_STRENGTH
from minimon_server.web.schemas import said

# Two prompts whose every character is written as two \uXXXX, and the rest: a body without pictures.
LARGEST_TEXT = 1024 * 1024
# A picture of 16 megapixels that does not pack well, with its mask, as base64; telephones' pictures are a fifth of it.
LARGEST_BODY = 32 * 1024 * 1024

Side = Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE, multiple_of=8)]
Strength = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[float, Field(ge=0, le=LARGEST_SCALE)]
EncodedPicture = Annotated[
    str, Field(min_length=1, max_length=LARGEST_BODY, json_schema_extra={"contentEncoding": "base64"})
]
# A file as it is; JSON Schema has no other word for it than a text of that media type.
PictureFile = Annotated[str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]


class HiresWish(BaseModel):
    """A second pass over the first picture, at another size."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    scale: Annotated[float, Field(ge=1, le=4)] | None = Field(
        None, **said("Combien de fois plus grande ; ou bien ses côtés.", "How many times larger; or else its sides.")
    )
    width: Side | None = Field(None, **said("En pixels, multiple de 8.", "In pixels, a multiple of 8."))
    height: Side | None = Field(None, **said("En pixels, multiple de 8.", "In pixels, a multiple of 8."))
    steps: Annotated[int, Field(ge=1, le=150)] | None = Field(
        None, **said("Sans elles, celles de la première passe.", "Without them, those of the first pass.")
    )
    strength: Strength = Field(
        USUAL_HIRES_STRENGTH, **said("Quelle part en redessiner.", "How much of it to draw anew.")
    )
