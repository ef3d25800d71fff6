"""The shapes of requests and answers, as pydantic models. Whoever validates, validates with these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from minimon_server.creatures.hatchery import LARGEST_SEED
from minimon_server.creatures.rarity import Rarity


def said(fr: str, en: str) -> dict[str, Any]:
    """Describe a field in both languages; `openapi` shows the one that is asked for."""
    return {"description": en, "json_schema_extra": {"x-fr": fr}}


def _rarity_as_typed(value: object) -> object:
    """Accept `S+` as people type it into an address, where `+` means a blank (WHATWG URL, section 5.1)."""
    if not isinstance(value, str):
        return value
    value = value.upper()
    return "S+" if value == "S " else value


def plain_digits(value: object) -> object:
    """Refuse what `int()` would take beyond plain digits: blanks, underscores, other scripts' digits."""
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdigit()):
        return "not a number"
    return value


# The limits stand next to the number: behind a validator, pydantic could not tell them to the OpenAPI document.
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED), BeforeValidator(plain_digits)]


Sign = Literal["0", "1"]
SIGN: Any = Field(
    "0",
    **said(
        "`1` : avec une signature, par la clé des scores ; voir docs/creatures.md.",
        "`1`: with a signature, by the key of the scores; see docs/creatures.md.",
    ),
)


class GenerateQuery(BaseModel):
    """The parameters of `GET /v1/generate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rarity: Annotated[Rarity | None, BeforeValidator(_rarity_as_typed)] = Field(
        None,
        **said("La rareté voulue, au lieu d'une tirée au sort.", "The rarity to get, instead of one drawn by weight."),
    )
    seed: Seed | None = Field(
        None,
        **said(
            "La même graine (et la même rareté) donne la même créature.",
            "The same seed (and rarity) gives the same creature.",
        ),
    )

    background: Literal["transparent"] | None = Field(
        None,
        **said(
            "`transparent` : la créature seule, en PNG avec alpha ; 422 où ce n'est pas possible.",
            "`transparent`: the creature alone, as PNG with alpha; 422 where that cannot be.",
        ),
    )
    sign: Sign = SIGN


class CreatureQuery(BaseModel):
    """The parameters of `GET /v1/creatures/{id}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sign: Sign = SIGN


class CreatureMetadata(BaseModel):
    """Who the creature is."""

    id: str = Field(
        pattern="^mnm_[0-9a-f]{24}$",
        **said(
            "`mnm_` et 24 chiffres hexadécimaux : 96 bits au hasard.",
            "`mnm_` and 24 hexadecimal digits: 96 random bits.",
        ),
    )
    name: str = Field(
        **said(
            "Des lettres, avec blancs, traits d'union ou apostrophes isolés ; 32 caractères au plus.",
            "Letters, with single blanks, hyphens or apostrophes inside; at most 32 characters.",
        )
    )
    rarity: Rarity = Field(**said("De F à S+.", "From F to S+."))


class CreatureAnswer(BaseModel):
    """The answer of `GET /v1/generate`."""

    imageBase64: str = Field(  # noqa: N815 - wire name
        **said("Le fichier PNG en base64 (RFC 4648, section 4).", "The PNG file in base64 (RFC 4648, section 4).")
    )
    metadata: CreatureMetadata
    generatedAt: str = Field(  # noqa: N815 - wire name
        **said("RFC 3339, UTC, en secondes entières.", "RFC 3339, UTC, whole seconds.")
    )


class HealthAnswer(BaseModel):
    """The answer of `GET /health`."""

    status: Literal["ok"]
    time: str = Field(**said("RFC 3339, UTC, en secondes entières.", "RFC 3339, UTC, whole seconds."))
    backend: Literal["files", "sdxl"] = Field(**said("Qui fait les images.", "Who makes the pictures."))


class CheckAnswer(BaseModel):
    """What one part says of itself; each part adds facts of its own."""

    model_config = ConfigDict(extra="allow")

    ok: bool = Field(**said("Vrai si la partie fait son travail.", "True while the part does its work."))


class ReadyAnswer(BaseModel):
    """The answer of `GET /ready`."""

    ready: bool = Field(**said("Vrai avec 200, faux avec 503.", "True with 200, false with 503."))
    reasons: list[str] = Field(**said("Pourquoi pas, pour des personnes.", "Why not, for people."))
    checks: dict[str, CheckAnswer] = Field(**said("Chaque partie, par son nom.", "Each part, by its name."))


class WrongField(BaseModel):
    """One field of a request that is wrong."""

    field: str = Field(**said("Son nom, comme le client l'a écrit.", "Its name, as the client wrote it."))
    message: str = Field(**said("Ce qu'il peut contenir.", "What it may hold."))


class ProblemAnswer(BaseModel):
    """An error: RFC 9457 problem details."""

    type: Literal["about:blank"]
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(**said("Une phrase pour une personne, dans sa langue.", "A sentence for a person, in theirs."))
    code: str = Field(
        pattern="^[A-Z_]+$", **said("Ne change jamais avec la langue.", "Never changes with the language.")
    )
    requestId: str = Field(**said("Sous quel nom le journal en parle.", "What the log calls it."))  # noqa: N815 - wire name
    errors: list[WrongField] = Field(
        default_factory=list, **said("Chaque champ invalide.", "Every field that is wrong.")
    )
