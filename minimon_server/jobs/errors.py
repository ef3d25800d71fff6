"""What can go wrong with jobs and nowhere else, as clients see it. Knows nothing of HTTP messages."""

from __future__ import annotations

from typing import Final

from minimon_server.errors import MinimonError, Text


class EngineUnavailable(MinimonError):
    """There is nobody here who could draw."""

    code = "ENGINE_UNAVAILABLE"
    status = 503
    title = Text("Moteur indisponible", "Engine unavailable")
    default = Text(
        "Ce serveur n'a pas de moteur qui dessine.",
        "This server has no engine that draws.",
    )


class JobsUnavailable(MinimonError):
    """The record of jobs cannot be asked now: whether a job is there, nobody can say."""

    code = "JOBS_UNAVAILABLE"
    status = 503
    title = Text("Registre des tâches indisponible", "Jobs unavailable")
    default = Text(
        "Le registre des tâches ne répond pas ; réessayez dans un instant.",
        "The record of jobs does not answer; try again in a moment.",
    )

    def __init__(self, detail: Text | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


PICTURES_SILENT: Final = Text(
    "Le disque des images ne répond pas ; réessayez dans un instant.",
    "The disk of the pictures does not answer; try again in a moment.",
)


class ModelNotAvailable(MinimonError):
    """A model that is known, and cannot be used now."""

    code = "MODEL_NOT_AVAILABLE"
    status = 503
    title = Text("Modèle indisponible", "Model not available")
    default = Text(
        "Aucun modèle n'est installé : mettez un dossier au format diffusers sous models/.",
        "No model is installed: put a folder in the diffusers layout under models/.",
    )


class NoRoom(MinimonError):
    """So many pictures are on their way in, or wait with their jobs, that there is no room for another."""

    code = "NO_ROOM_FOR_PICTURES"
    status = 503
    title = Text("Plus de place pour une image", "No room for a picture")

    def __init__(self, detail: Text) -> None:
        super().__init__(detail, headers={"Retry-After": "30"})
