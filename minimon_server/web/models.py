"""`GET /models`, `/loras` and `/ip-adapters`: what is known, and whether it can be used now. Looks at no disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import Language, Text
from minimon_server.jobs.drawing import Drawing, IpAdapterInfo, LoraInfo, ModelInfo
from minimon_server.jobs.errors import ModelNotAvailable
from minimon_server.jobs.model_looks import ModelLooks
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.job_schemas import NoQuery
from minimon_server.web.jobs import JSON, json_answer
from minimon_server.web.model_schemas import IpAdapterList, LoraList, ModelList
from minimon_server.web.problems import header, spoken_language
from minimon_server.web.validation import read_query

MODELS: Final = Guide(
    summary=Text("Les modèles, et ceux qui sont là.", "The models, and which are there."),
    detail=Text(
        "Dans l'ordre du catalogue : le premier disponible sert qui n'en nomme aucun.",
        "In the catalogue's order: the first available one serves who names none.",
    ),
    query=NoQuery,
    answers=(Answer(Text("Les modèles.", "The models."), {JSON: ModelList}),),
    errors=(ModelNotAvailable,),
    samples=("-k {token}{base}/models",),
)
LORAS: Final = Guide(
    summary=Text("Les LoRA, et ceux qui sont là.", "The LoRAs, and which are there."),
    query=NoQuery,
    answers=(Answer(Text("Les LoRA.", "The LoRAs."), {JSON: LoraList}),),
    errors=(ModelNotAvailable,),
    samples=("-k {token}{base}/loras",),
)
IP_ADAPTERS: Final = Guide(
    summary=Text("Les IP-Adapters, et ceux qui sont là.", "The IP-Adapters, and which are there."),
    detail=Text(
        "Le premier qui est là et qui va avec le modèle lit l'image de référence de qui n'en nomme aucun.",
        "The first one that is there and fits the model reads the reference picture of who names none.",
    ),
    query=NoQuery,
    answers=(Answer(Text("Les IP-Adapters.", "The IP-Adapters."), {JSON: IpAdapterList}),),
    errors=(ModelNotAvailable,),
    samples=("-k {token}{base}/ip-adapters",),
)


class Shelf:
    """The endpoints; what there is is looked up at every request."""

    def __init__(
        self,
        models: ModelLooks[ModelInfo],
        loras: ModelLooks[LoraInfo],
        ip_adapters: ModelLooks[IpAdapterInfo],
        drawing: Drawing,
    ) -> None:
        self._models = models
        self._loras = loras
        self._ip_adapters = ip_adapters
        self._schedulers = drawing.schedulers  # that the engine knows; a model may go with fewer
        self._nobody = drawing.unavailable

    async def models(self, request: Request) -> Response:
        """List the models."""
        read_query(request.scope, NoQuery)
        language = spoken_language(header(request.scope, b"accept-language"))
        found = (await self._models.now()).values()
        lines = [self._line(model, language) | _model_line(model, self._schedulers) for model in found]
        return _answer({"models": lines}, language)

    async def loras(self, request: Request) -> Response:
        """List the adapters."""
        read_query(request.scope, NoQuery)
        language = spoken_language(header(request.scope, b"accept-language"))
        found = (await self._loras.now()).values()
        lines = [self._line(lora, language) | _lora_line(lora) for lora in found]
        return _answer({"loras": lines}, language)

    async def ip_adapters(self, request: Request) -> Response:
        """List what can read a reference picture."""
        read_query(request.scope, NoQuery)
        language = spoken_language(header(request.scope, b"accept-language"))
        found = (await self._ip_adapters.now()).values()
        return _answer(
            {"ip_adapters": [self._line(one, language) | {"variant": one.variant} for one in found]}, language
        )

    def _line(self, one: ModelInfo | LoraInfo | IpAdapterInfo, language: Language) -> dict[str, Any]:
        why = one.unavailable or self._nobody
        return {
            "id": one.id,
            "name": one.name,
            "available": why is None,
            "reason": why.spoken(language) if why else None,
            "how": one.how.spoken(language) if one.how else None,
            "licence": one.licence,
            "pinned": one.pinned,
            "base": one.base,
        }


def _model_line(model: ModelInfo, schedulers: Sequence[str]) -> dict[str, Any]:
    return {
        "kind": model.kind,
        "prediction": model.prediction,
        "native_size": model.native_size,
        "supported_loras": list(model.supported_loras),
        "schedulers": list(schedulers if model.schedulers is None else model.schedulers),
        "defaults": {
            "steps": model.steps,
            "guidance_scale": model.guidance_scale,
            "guidance_rescale": model.guidance_rescale,
            "width": model.width,
            "height": model.height,
            "scheduler": model.scheduler,
            "clip_skip": model.clip_skip,
            "prompt_prefix": model.prompt_prefix,
            "negative_prefix": model.negative_prefix,
        },
    }


def _lora_line(lora: LoraInfo) -> dict[str, Any]:
    words = lora.trigger_words
    return {
        "default_weight": lora.default_weight,
        "trigger_words": None if words is None else list(words),
        "network": lora.network,
    }


def _answer(body: object, language: Language) -> Response:
    return json_answer(body, headers={"Content-Language": language, "Vary": "Accept-Language"})
