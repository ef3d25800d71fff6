"""`POST /generate`, `GET /status/{job_id}`, `GET /jobs`, `DELETE /jobs/{job_id}`: only translates, decides nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import (
    Conflict,
    FieldMistake,
    Forbidden,
    Gone,
    IdempotencyMismatch,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    QueueFull,
    Text,
    UnsupportedMediaType,
)
from minimon_server.jobs.asked_reference import NO_IP_ADAPTERS
from minimon_server.jobs.drawing import Drawing, IpAdapterInfo, LoraInfo, ModelInfo, mistakes_in, request_for
from minimon_server.jobs.errors import EngineUnavailable, JobsUnavailable, ModelNotAvailable, NoRoom
from minimon_server.jobs.inputs import InputFile
from minimon_server.jobs.job import Job, Priority, State
from minimon_server.jobs.model_looks import ModelLooks
from minimon_server.jobs.service import NO_SUCH_JOB, Jobs, Wish
from minimon_server.json_mistakes import invalid
from minimon_server.web import job_answers
from minimon_server.web.asked_bodies import asked_of, sketched, words_of
from minimon_server.web.form_schemas import DrawForm
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.intake import NO_FILES, Intake
from minimon_server.web.job_schemas import (
    DrawBody,
    JobAccepted,
    JobCancelled,
    JobList,
    JobsQuery,
    JobStatus,
    NoQuery,
)
from minimon_server.web.limits import address_key
from minimon_server.web.observe import note
from minimon_server.web.validation import Examined, read_query

# The body, status and headers of an answer.
Accepted = tuple[dict[str, Any], int, dict[str, str]]
JSON: Final = "application/json"
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY: Final = re.compile(r"[!-~]{1,255}")
_WRONG_KEY: Final = FieldMistake(
    "Idempotency-Key",
    Text("une fois, 1 à 255 caractères ASCII visibles", "once, 1 to 255 visible ASCII characters"),
)
JOB_ID: Final = {"job_id": Text("L'identifiant que `POST /generate` a donné.", "The id that `POST /generate` gave.")}

GENERATE: Final = Guide(
    summary=Text("Une image d'après un texte.", "A picture from a prompt."),
    detail=Text(
        "La tâche est sur le disque quand la réponse part : rien ne la perd plus. `Idempotency-Key` : la même clé et "
        "la même demande donnent la même tâche, quoi que soient devenus modèles et file entre-temps. Les images "
        "peuvent venir en fichiers (`multipart/form-data`), le reste dans la partie `request`.",
        "The job is on the disk when the answer leaves: nothing loses it any more. `Idempotency-Key`: the same key and "
        "the same request give the same job, whatever has become of models and queue meanwhile. Pictures may come as "
        "files (`multipart/form-data`), the rest in the part `request`.",
    ),
    body=DrawBody,
    form=DrawForm,
    headers={
        "Idempotency-Key": Text(
            "La même clé et le même corps : la même tâche.", "The same key and the same body: the same job."
        )
    },
    answers=(
        Answer(
            Text("Acceptée.", "Accepted."),
            {JSON: JobAccepted},
            status=202,
            headers={"Location": Text("Où demander son état.", "Where to ask for its state.")},
        ),
    ),
    errors=(
        Conflict,
        EngineUnavailable,
        Forbidden,
        IdempotencyMismatch,
        JobsUnavailable,
        ModelNotAvailable,
        NoRoom,
        PayloadTooLarge,
        QueueFull,
        UnsupportedMediaType,
    ),
    samples=(
        "-k {token}{base}/generate -H 'Content-Type: application/json' -d '{{\"prompt\": \"a beautiful sunset\"}}'",
        '-k {token}{base}/generate -F \'request={{"prompt": "the same in winter"}}\' -F init_image=@image.png',
    ),
)
STATUS: Final = Guide(
    summary=Text("Où en est une tâche.", "Where a job stands."),
    query=NoQuery,
    path=JOB_ID,
    answers=(Answer(Text("Son état.", "Its state."), {JSON: JobStatus}),),
    errors=(Gone, JobsUnavailable, NotFound),
    samples=("-k {token}{base}/status/$JOB_ID",),
)
LIST: Final = Guide(
    summary=Text("Les tâches, les plus récentes d'abord.", "The jobs, the newest first."),
    query=JobsQuery,
    answers=(Answer(Text("Les tâches.", "The jobs."), {JSON: JobList}),),
    errors=(JobsUnavailable,),
    samples=("-k {token}'{base}/jobs?state=PENDING'",),
)
CANCEL: Final = Guide(
    summary=Text("Annule une tâche qui attend ou qui court.", "Cancels a job that waits or runs."),
    detail=Text("Une tâche qui court s'arrête dans l'étape.", "A running job stops within its step."),
    query=NoQuery,
    path=JOB_ID,
    answers=(Answer(Text("Annulée.", "Cancelled."), {JSON: JobCancelled}),),
    errors=(Conflict, Gone, JobsUnavailable, NotFound),
    samples=("-k {token}-X DELETE {base}/jobs/$JOB_ID",),
)


class JobDesk:
    """The endpoints of jobs that answer with JSON."""

    def __init__(
        self,
        jobs: Jobs,
        drawing: Drawing,
        looks: ModelLooks[ModelInfo],
        loras: ModelLooks[LoraInfo],
        ip_adapters: ModelLooks[IpAdapterInfo],
        draw_seed: Callable[[], int],
    ) -> None:
        self._jobs = jobs
        self._drawing = drawing
        self._looks = looks
        self._loras = loras
        self._ip_adapters = ip_adapters
        self._draw_seed = draw_seed
        self._intake = Intake(jobs.inputs)

    async def generate(self, request: Request) -> Response:
        """Accept a job."""
        read_query(request.scope, NoQuery)
        async with self._intake.body(request.scope, request.receive) as sent:
            try:
                files = await self._intake.unpacked(sent)
            except InvalidRequest as error:
                raise await self._with_all(sent.examined, error) from error
            return json_answer(*await self.accept(request, sent.examined, files))

    async def accept(
        self,
        request: Request,
        examined: Examined[DrawBody],
        files: Mapping[str, bytes] = NO_FILES,
        *,
        exact: bool = False,
    ) -> Accepted:
        """Take what is asked for as a job, and return the answer's body, status and headers; `exact` as in `Asked`."""
        key = idempotency_key(request)
        if (body := examined.read) is None:
            raise invalid([*examined.mistakes, *await self._more_mistakes(examined)])
        client, asked = client_of(request), words_of(body, await self._intake.digests(files))
        job = await self._jobs.find(client, key, asked) if key else None
        if job is None:
            try:
                pictures = await self._intake.pictures(files) if not self._drawing.unavailable else {}
            except InvalidRequest as error:
                raise await self._with_all(examined, error) from error
            job = await self._accepted(body, pictures, client, asked, key, exact=exact)
        note(request.scope, job=job.id)
        headers = {"Location": f"/status/{job.id}"}
        return job_answers.accepted(job, self._jobs.standing(job)), 202, headers

    async def _accepted(
        self,
        body: DrawBody,
        pictures: Mapping[str, InputFile],
        client: str,
        asked: bytes,
        key: str | None,
        *,
        exact: bool,
    ) -> Job:
        """Fill in what was left out, and submit the job with its pictures on the disk."""
        if self._drawing.unavailable:
            raise EngineUnavailable(self._drawing.unavailable)
        models, known = await self._looks.now(), await self._loras.now()
        shown = await self._ip_adapters.now() if body.ip_adapter or "ip_adapter_image" in pictures else NO_IP_ADAPTERS
        wanted = asked_of(body, pictures, known, exact=exact)
        drawn = request_for(
            wanted, models, self._drawing.schedulers, self._draw_seed, known, shown, self._drawing.draft
        )
        # Who asks for several pictures has the patience for them; who asks for one waits for it.
        priority: Priority = "player" if body.count == 1 else "batch"
        async with self._jobs.inputs.held(list(pictures.values())):
            return await self._jobs.submit(Wish(drawn, client, priority, asked, key))

    async def _with_all(self, examined: Examined[DrawBody], error: InvalidRequest) -> InvalidRequest:
        """Return what is wrong with the pictures of a body with all that is wrong beside them."""
        found = replace(examined, mistakes=(*examined.mistakes, *error.fields))
        return invalid([*found.mistakes, *await self._more_mistakes(found)])

    async def _more_mistakes(self, examined: Examined[DrawBody]) -> Sequence[FieldMistake]:
        """Return what a body with mistakes names that there is none of here: who mends them all need not come twice."""
        try:
            models = await self._looks.now() if examined.members else {}
            known = await self._loras.now() if examined.members else {}
        except ModelNotAvailable:
            return ()  # what is wrong in itself is wrong whatever models there are
        if not models:
            return ()
        wrong = frozenset(mistake.field for mistake in examined.mistakes)
        asked, draft = sketched(examined.members, wrong), self._drawing.draft
        return mistakes_in(asked, models, self._drawing.schedulers, wrong, known, draft=draft)

    async def status(self, request: Request) -> Response:
        """Tell where a job stands."""
        read_query(request.scope, NoQuery)
        job = await self._jobs.get(job_id_of(request))
        return json_answer(job_answers.status(job, self._jobs.standing(job)))

    async def list(self, request: Request) -> Response:
        """List jobs."""
        query = read_query(request.scope, JobsQuery)
        states = frozenset(State) if query.state is None else frozenset({query.state})
        jobs = await self._jobs.list(query.limit, states)
        counts = {state.value: count for state, count in self._jobs.store.counts().items()}
        lines = [job_answers.line(job, self._jobs.store.position(job)) for job in jobs]
        return json_answer({"jobs": lines, "counts": counts})

    async def cancel(self, request: Request) -> Response:
        """Cancel a job."""
        read_query(request.scope, NoQuery)
        job = await self._jobs.cancel(job_id_of(request))
        return json_answer({"job_id": job.id, "state": job.state.value})


def job_id_of(request: Request) -> str:
    """Return the id in the path; what cannot be one is not there."""
    found = str(request.path_params["job_id"]).lower()
    if not _ID.fullmatch(found):
        raise NotFound(NO_SUCH_JOB)
    note(request.scope, job=found)
    return found


def idempotency_key(request: Request) -> str | None:
    """Return the key that makes a request repeatable, if it has one; raise `InvalidRequest` when it is none."""
    values = request.headers.getlist("idempotency-key")
    if len(values) > 1 or not all(_KEY.fullmatch(value) for value in values):
        raise InvalidRequest(fields=[_WRONG_KEY])
    return values[0] if values else None


def client_of(request: Request) -> str:
    """Return what stands for a client in the journal: not its address, which need not be kept."""
    host = request.client.host if request.client else "local"
    return blake2b(address_key(host), digest_size=8).hexdigest()


def json_answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return JSON that nobody may keep."""
    return Response(orjson.dumps(body), status, {"Cache-Control": "no-store", **(headers or {})}, JSON)
