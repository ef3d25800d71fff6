"""`GET /models` and `GET /loras`: what can be drawn with now. Looks at no disk itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import Text
from minimon_server.jobs.errors import ModelNotAvailable
from minimon_server.jobs.model_looks import ModelLooks
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.job_schemas import LoraList, ModelList, NoQuery
from minimon_server.web.jobs import JSON, json_answer
from minimon_server.web.validation import read_query

MODELS: Final = Guide(
    summary=Text("Les modèles qui sont là.", "The models that are there."),
    query=NoQuery,
    answers=(Answer(Text("Les modèles.", "The models."), {JSON: ModelList}),),
    errors=(ModelNotAvailable,),
    samples=("-k {token}{base}/models",),
)
LORAS: Final = Guide(
    summary=Text("Les LoRA qui sont là.", "The LoRAs that are there."),
    detail=Text("Pas encore de catalogue : la liste est vide.", "There is no catalogue yet: the list is empty."),
    query=NoQuery,
    answers=(Answer(Text("Les LoRA.", "The LoRAs."), {JSON: LoraList}),),
    samples=("-k {token}{base}/loras",),
)


class Shelf:
    """The endpoints; models are looked up at every request."""

    def __init__(self, looks: ModelLooks, schedulers: Sequence[str]) -> None:
        """`schedulers` are the names that the engine knows; a model may go with fewer."""
        self._looks = looks
        self._schedulers = schedulers

    async def models(self, request: Request) -> Response:
        """List the models."""
        read_query(request.scope, NoQuery)
        found = [
            {
                "id": model.id,
                "name": model.name,
                "supported_loras": list(model.supported_loras),
                "schedulers": list(self._schedulers if model.schedulers is None else model.schedulers),
                "defaults": {
                    "steps": model.steps,
                    "guidance_scale": model.guidance_scale,
                    "guidance_rescale": model.guidance_rescale,
                    "width": model.width,
                    "height": model.height,
                },
            }
            for model in (await self._looks.now()).values()
        ]
        return json_answer({"models": found})

    async def loras(self, request: Request) -> Response:
        """List the adapters: none, until there is a catalogue of them."""
        read_query(request.scope, NoQuery)
        return json_answer({"loras": []})
