"""`POST /replay`: one of our pictures in, the job that makes it again out. Checks what it says as `/generate` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from minimon_server.beside import Crew
from minimon_server.errors import (
    Conflict,
    FieldMistake,
    IdempotencyMismatch,
    InvalidRequest,
    PayloadTooLarge,
    QueueFull,
    Text,
    UnsupportedMediaType,
)
from minimon_server.jobs import replay
from minimon_server.jobs.drawing import Drawing
from minimon_server.jobs.errors import EngineUnavailable, JobsUnavailable, ModelNotAvailable, NoRoom
from minimon_server.jobs.model_looks import PATIENCE_SECONDS
from minimon_server.jobs.pictures import MEDIA_TYPES
from minimon_server.web.bodies import media_type_of, read_body
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.intake import Room
from minimon_server.web.job_schemas import LARGEST_PICTURE, DrawBody, JobReplayed, NoQuery
from minimon_server.web.jobs import GENERATE, JSON, JobDesk, json_answer
from minimon_server.web.observe import note
from minimon_server.web.validation import Examined, examine_json, read_query

# A model's fingerprint; the digests of trained words; the hashes of model, VAE and LoRAs; what computes.
Here = tuple[str | None, Mapping[str, str], Mapping[str, str], Mapping[str, str]]
# Models whose weights are looked at, at once.
AT_ONCE: Final = 8
_WANTED: Final = Text(
    f"Le corps est un fichier d'image : {', '.join(MEDIA_TYPES)}.",
    f"The body is a picture file: {', '.join(MEDIA_TYPES)}.",
)
_OTHER: Final = Text("n'est pas ce que dit Content-Type", "is not what Content-Type says")
_TOO_DEEP: Final = Text("contient des listes dans des listes", "holds lists within lists")

REPLAY: Final = Guide(
    summary=Text("Refait une image d'après son fichier.", "Makes a picture again from its file."),
    detail=Text(
        "Le corps est un fichier que ce serveur a fait, entier. La tâche demande le même modèle, texte, graine et "
        "réglages ; `differences` dit si les versions, les poids du modèle ou ce qui calcule ne sont plus les mêmes.",
        "The body is a file that this server has made, whole. The job asks for the same model, prompt, seed and "
        "settings; `differences` says whether versions, the model's weights or what computes are no longer the same.",
    ),
    query=NoQuery,
    files=MEDIA_TYPES,
    headers=GENERATE.headers,
    answers=(
        Answer(Text("Acceptée.", "Accepted."), {JSON: JobReplayed}, status=202, headers=GENERATE.answers[0].headers),
    ),
    errors=(
        Conflict,
        EngineUnavailable,
        IdempotencyMismatch,
        InvalidRequest,
        JobsUnavailable,
        ModelNotAvailable,
        NoRoom,
        PayloadTooLarge,
        QueueFull,
        UnsupportedMediaType,
    ),
    samples=("-k {token}{base}/replay -H 'Content-Type: image/png' --data-binary @picture.png",),
)


class ReplayDesk:
    """The endpoint; what is taken goes the way of `POST /generate`."""

    def __init__(self, desk: JobDesk, drawing: Drawing) -> None:
        self._desk = desk
        self._drawing = drawing
        self._room = Room()
        self.disk = Crew("fingerprint", AT_ONCE, PATIENCE_SECONDS)

    async def replay(self, request: Request) -> Response:
        """Accept the job that makes a picture again."""
        read_query(request.scope, NoQuery)
        with self._room.share() as took:
            data = await read_body(request.scope, request.receive, MEDIA_TYPES, _WANTED, LARGEST_PICTURE, took)
            told = _told_in(data, media_type_of(request.scope))
            del data
        examined = _examined(told)
        accepted, status, headers = await self._desk.accept(request, examined, exact=True)
        here = await self._here(request, told)
        accepted["differences"] = replay.differences(told, self._drawing.versions(), *here)
        return json_answer(accepted, status, headers)

    async def _here(self, request: Request, told: Mapping[str, Any]) -> Here:
        """Return what tells a model's weights, trained words, and LoRAs from others; nothing when the disk is silent.

        The job is accepted, whatever the disk does now, and whoever sent the file must hear of it.
        """
        texts = [str(told["prompt"]), str(told["negative_prompt"])]
        names = replay.trained_words(told)

        model, hashed = str(told["model"]), replay.told_hashes(told)
        loras = [name.removeprefix("loras.") for name in hashed if name.startswith("loras.")]

        def look() -> Here:
            hashes = self._drawing.hashes(model, loras) if hashed else {}
            drawing = self._drawing
            return drawing.fingerprint(model), drawing.trained(texts, names), hashes, _computing(drawing)

        try:
            return await self.disk.do(look)
        except TimeoutError:
            note(request.scope, fingerprint="the folder of models does not answer")
            return None, {}, {}, {}


def _computing(drawing: Drawing) -> Mapping[str, str]:
    """Return what computes here, and to how few bits it rounds LoRAs, if it does."""
    choices = drawing.choices()
    is_rounded = bool(choices) and choices["quantized_loras"].value is True
    rounding = {"loras_rounded_to": str(choices["quantization"].value)} if is_rounded else {}
    return {**drawing.device(), **rounding}


def _told_in(data: bytes, media_type: str) -> Mapping[str, Any]:
    kind = replay.kind_of(data)
    if kind is not None and f"image/{kind}" != media_type:
        raise InvalidRequest(fields=[FieldMistake("body", _OTHER)])
    try:
        return replay.told_in(data)
    except replay.NotReadable as error:
        raise InvalidRequest(error.text, fields=[FieldMistake("body", error.text)]) from None


def _examined(told: Mapping[str, Any]) -> Examined[DrawBody]:
    try:
        written = orjson.dumps(replay.body_of(told))
    except orjson.JSONEncodeError:
        raise InvalidRequest(fields=[FieldMistake("body", _TOO_DEEP)]) from None
    return examine_json(written, DrawBody)
