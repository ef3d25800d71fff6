"""The shape of `POST /generate` as a form. The parts are read by `forms`, and what they hold by others."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from minimon_server.web.input_schemas import PictureFile
from minimon_server.web.job_schemas import DrawBody
from minimon_server.web.schemas import said


class DrawForm(BaseModel):
    """The body of `POST /generate` as a form: pictures as files, and the rest as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    request: DrawBody = Field(**said("Le corps JSON, sans les images.", "The JSON body, without the pictures."))
    init_image: PictureFile | None = None
    mask: PictureFile | None = None
    ip_adapter_image: PictureFile | None = None
