"""What can go wrong, by name: one class per error code, in French and English. Knows nothing of HTTP messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Language = Literal["fr", "en"]


@dataclass(frozen=True, slots=True)
class Text:
    """One sentence for people, in the two languages that the server speaks."""

    fr: str
    en: str

    def spoken(self, language: Language) -> str:
        """Return the sentence in `language`."""
        return self.fr if language == "fr" else self.en


@dataclass(frozen=True, slots=True)
class FieldMistake:
    """One field of a request that is wrong: its name as the client wrote it, and what it may hold."""

    field: str
    message: Text


class MinimonError(Exception):
    """The root of every error that a client may see; `code` and `status` never change with the language."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    title: ClassVar[Text] = Text("Erreur interne", "Internal error")
    default: ClassVar[Text] = Text(
        "Le serveur a rencontré une erreur ; son journal en dit la cause.",
        "The server met an error; its log tells the cause.",
    )

    def __init__(
        self,
        detail: Text | None = None,
        *,
        fields: Sequence[FieldMistake] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.detail = detail or self.default
        self.fields = tuple(fields)
        self.headers = dict(headers or {})
        super().__init__(self.detail.en)


class Unauthorized(MinimonError):
    """No token, or a token that is not ours (RFC 6750, section 3)."""

    code = "UNAUTHORIZED"
    status = 401
    title = Text("Non autorisé", "Unauthorized")
    default = Text(
        "Cette route demande un en-tête « Authorization: Bearer … » valable.",
        "This route needs a valid 'Authorization: Bearer ...' header.",
    )


class Forbidden(MinimonError):
    """A token that is ours but does not open this."""

    code = "FORBIDDEN"
    status = 403
    title = Text("Interdit", "Forbidden")
    default = Text("Ce jeton n'ouvre pas cette route.", "This token does not open this route.")


class NotFound(MinimonError):
    """Nothing lives at this path."""

    code = "NOT_FOUND"
    status = 404
    title = Text("Introuvable", "Not found")
    default = Text("Rien n'existe à cette adresse.", "Nothing lives at this path.")


class MethodNotAllowed(MinimonError):
    """The path exists, but not for this method; the `Allow` header names those that it takes."""

    code = "METHOD_NOT_ALLOWED"
    status = 405
    title = Text("Méthode non permise", "Method not allowed")
    default = Text(
        "Cette adresse ne prend pas cette méthode ; l'en-tête Allow donne celles qu'elle prend.",
        "This path does not take this method; the Allow header names those that it takes.",
    )


class BadRequest(MinimonError):
    """Bytes that are not one plain HTTP request (RFC 9112), or that could be read as more than one thing."""

    code = "BAD_REQUEST"
    status = 400
    title = Text("Requête illisible", "Bad request")
    default = Text("Ceci n'est pas une requête HTTP lisible.", "This is not a readable HTTP request.")


class RequestTimeout(MinimonError):
    """A request that does not arrive in time."""

    code = "REQUEST_TIMEOUT"
    status = 408
    title = Text("Requête trop lente", "Request timeout")
    default = Text("La requête n'est pas arrivée à temps.", "The request did not arrive in time.")


class Gone(MinimonError):
    """It was here, and is kept no longer."""

    code = "GONE"
    status = 410
    title = Text("Retiré", "Gone")
    default = Text("C'était ici et n'est plus gardé.", "It was here and is kept no longer.")


class PayloadTooLarge(MinimonError):
    """A body larger than its route takes."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413
    title = Text("Corps trop grand", "Payload too large")

    def __init__(self, *, limit: int) -> None:
        told = Text(
            f"Le corps de la requête dépasse {limit} octets.", f"The body of the request is larger than {limit} bytes."
        )
        most = Text(f"au plus {limit} octets", f"at most {limit} bytes")
        super().__init__(told, fields=[FieldMistake("body", most)])


class UnsupportedMediaType(MinimonError):
    """A body of a kind that its route does not read."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415
    title = Text("Type de contenu non pris", "Unsupported media type")
    default = Text("Cette route ne lit pas ce type de contenu.", "This route does not read this kind of content.")


class HeadersTooLarge(MinimonError):
    """A request line and headers beyond 16 KiB or 100 fields."""

    code = "HEADERS_TOO_LARGE"
    status = 431
    title = Text("En-têtes trop grands", "Headers too large")
    default = Text(
        "La ligne de requête et les en-têtes dépassent 16 Kio ou 100 champs.",
        "The request line and headers are beyond 16 KiB or 100 fields.",
    )


class InvalidRequest(MinimonError):
    """The request says something that it may not; every wrong field is named."""

    code = "INVALID_REQUEST"
    status = 422
    title = Text("Requête invalide", "Invalid request")
    default = Text(
        "La requête contient des champs invalides ; « errors » les nomme tous.",
        "The request holds invalid fields; 'errors' names each one.",
    )


class RateLimited(MinimonError):
    """This address has used up its allowance; `Retry-After` says how many seconds to wait."""

    code = "RATE_LIMITED"
    status = 429
    title = Text("Trop de requêtes", "Too many requests")

    def __init__(self, *, limit: int, retry_after: int) -> None:
        super().__init__(
            Text(
                f"Limite de {limit} requêtes par minute atteinte ; réessayez dans {retry_after} s.",
                f"The limit of {limit} requests a minute is reached; try again in {retry_after} s.",
            ),
            headers={"Retry-After": str(retry_after)},
        )


class QueueFull(MinimonError):
    """So many jobs wait that no more are taken; `Retry-After` comes from how long jobs take."""

    code = "QUEUE_FULL"
    status = 429
    title = Text("File pleine", "Queue full")

    def __init__(self, *, limit: int, of_client: bool, retry_after: int) -> None:
        detail = Text(
            f"{limit} tâches attendent déjà ; réessayez dans {retry_after} s.",
            f"{limit} jobs are waiting already; try again in {retry_after} s.",
        )
        if of_client:
            detail = Text(
                f"{limit} de vos tâches attendent déjà ; réessayez dans {retry_after} s.",
                f"{limit} of your jobs are waiting already; try again in {retry_after} s.",
            )
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class GenerationFailed(MinimonError):
    """The creature could not be made, through no fault of the client."""

    code = "GENERATION_FAILED"
    status = 500
    title = Text("Échec de génération", "Generation failed")
    default = Text("Le Minimon n'a pas pu être généré.", "The Minimon could not be generated.")


class SigningUnavailable(MinimonError):
    """Whoever signs scores does not answer now; `Retry-After` says how many seconds to wait."""

    code = "SIGNING_UNAVAILABLE"
    status = 503
    title = Text("Signature indisponible", "Signing unavailable")

    def __init__(self, why: Text | None = None, *, retry_after: int = 5) -> None:
        super().__init__(
            why
            or Text(
                f"Rien ne peut être signé en ce moment ; réessayez dans {retry_after} s.",
                f"Nothing can be signed at this moment; try again in {retry_after} s.",
            ),
            headers={"Retry-After": str(retry_after)},
        )


class Conflict(MinimonError):
    """What is asked for cannot be done in the present state of things."""

    code = "CONFLICT"
    status = 409
    title = Text("Conflit", "Conflict")
    default = Text("L'état présent ne le permet pas.", "The present state does not allow this.")


class IdempotencyMismatch(MinimonError):
    """A key that came with another request before (draft-ietf-httpapi-idempotency-key-header-07, section 2.7)."""

    code = "IDEMPOTENCY_MISMATCH"
    status = 422
    title = Text("Clé déjà utilisée", "Key already used")
    default = Text(
        "Cette Idempotency-Key a déjà servi pour une autre requête.",
        "This Idempotency-Key was used for another request before.",
    )


class StartupError(Exception):
    """Why the server cannot start, or go on: one line per mistake, and the exit status that says so."""

    def __init__(self, lines: Sequence[str], *, exit_status: int = 2) -> None:
        self.lines = tuple(lines)
        self.exit_status = exit_status
        super().__init__("\n".join(self.lines))
