"""`GET /image/{job_id}` and `GET /download/{filename}`: pictures, or why there is none yet. By table, never by path."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from minimon_server.errors import Gone, NotFound, Text
from minimon_server.jobs.errors import JobsUnavailable
from minimon_server.jobs.job import State
from minimon_server.jobs.pictures import MEDIA_TYPES
from minimon_server.jobs.service import Jobs
from minimon_server.web import job_answers
from minimon_server.web.guide import Answer, Guide, Shape
from minimon_server.web.job_schemas import DrawingFailed, ImageQuery, NoQuery, StillDrawing
from minimon_server.web.jobs import JOB_ID, JSON, job_id_of
from minimon_server.web.problems import header, spoken_language
from minimon_server.web.validation import read_query

_FILE: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.[0-9]{1,9}){1,2}\.[a-z]{3,4}")
_NO_FILE: Final = Text("Aucune image n'a ce nom.", "No picture has this name.")
_NO_PICTURE: Final = Text("Cette tâche n'a pas autant d'images.", "This job has not so many pictures.")
_CANCELLED: Final = Text("Cette tâche a été annulée.", "This job was cancelled.")
_FILES: Final[dict[str, Shape]] = dict.fromkeys(MEDIA_TYPES, "bytes")
_FILE_HEADERS: Final = {
    "X-Job-ID": Text("La tâche.", "The job."),
    "X-Generation-Metadata": Text(
        "Ce qui a fait l'image : JSON en ASCII, 4 Kio au plus.", "What made the picture: ASCII JSON, at most 4 KiB."
    ),
}

IMAGE: Final = Guide(
    summary=Text("L'image d'une tâche, ou 202 tant qu'elle n'est pas prête.", "A job's picture, or 202 until it is."),
    detail=Text(
        "Une tâche qui a échoué répond 500 avec sa raison. `curl -f` prend un 202 pour un succès : `docs/jobs.md` "
        "donne une boucle qui regarde le statut.",
        "A failed job answers 500 with its reason. `curl -f` takes a 202 for success: `docs/jobs.md` has a loop that "
        "looks at the status.",
    ),
    query=ImageQuery,
    path=JOB_ID,
    answers=(
        Answer(Text("L'image.", "The picture."), _FILES, headers=_FILE_HEADERS),
        Answer(
            Text("Pas encore prête.", "Not ready yet."),
            {JSON: StillDrawing},
            status=202,
            headers={"Retry-After": Text("Quand redemander, en secondes.", "When to ask again, in seconds.")},
        ),
        Answer(Text("La tâche a échoué.", "The job failed."), {JSON: DrawingFailed}, status=500),
    ),
    errors=(Gone, JobsUnavailable, NotFound),
    samples=("-k {token}'{base}/image/'$JOB_ID'?wait=60' -o picture.png",),
)
DOWNLOAD: Final = Guide(
    summary=Text("Une image par son nom de fichier.", "A picture by its file name."),
    query=NoQuery,
    path={"filename": Text("Le nom que donne `/status`.", "The name that `/status` gives.")},
    answers=(Answer(Text("L'image.", "The picture."), _FILES, headers=_FILE_HEADERS),),
    errors=(Gone, JobsUnavailable, NotFound),
    samples=("-k {token}{base}/download/$FILENAME -o picture.png",),
)


class PictureDesk:
    """The endpoints of jobs that answer with pictures."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def image(self, request: Request) -> Response:
        """Answer with a job's picture, waiting for it if that was asked."""
        query = read_query(request.scope, ImageQuery)
        job_id = job_id_of(request)
        if query.wait:
            job = await self._jobs.wait(job_id, query.wait, request.is_disconnected)
        else:
            job = await self._jobs.get(job_id)
        if job.state is State.FAILURE:
            return job_answers.drawing_failed(job)
        if job.state is State.REVOKED:
            raise Gone(_CANCELLED)
        if job.state is not State.SUCCESS:
            language = spoken_language(header(request.scope, b"accept-language"))
            return job_answers.still_drawing(job, self._jobs.standing(job), language)
        if query.n > len(job.pictures):
            raise NotFound(_NO_PICTURE)
        picture = job.pictures[query.n - 1]
        return job_answers.picture_file(job, picture, await self._jobs.picture(job, picture))

    async def download(self, request: Request) -> Response:
        """Answer with the picture of a name that some record holds."""
        read_query(request.scope, NoQuery)
        found = _FILE.fullmatch(str(request.path_params["filename"]))
        if not found:
            raise NotFound(_NO_FILE)
        job = await self._jobs.get(found[1])
        for picture in job.pictures:
            if picture.name == found[0]:
                return job_answers.picture_file(job, picture, await self._jobs.picture(job, picture))
        raise NotFound(_NO_FILE)
