"""The shapes of signed creatures, for the documents; `signed_creatures` itself reads more strictly."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from minimon_server.creatures.rarity import Rarity
from minimon_server.web.schemas import CreatureAnswer, said
from minimon_server.web.score_schemas import SCORE_ID, SignedBody


class SignedCreature(BaseModel):
    """What a verdict tells of a creature that holds."""

    id: str = Field(pattern=SCORE_ID)
    name: str = Field(min_length=1)
    rarity: Rarity
    pictureSha256: str = Field(  # noqa: N815 - wire name
        pattern="^[0-9a-f]{64}$",
        **said("SHA-256 des octets de l'image servie.", "SHA-256 of the bytes of the picture that was served."),
    )
    generatedAt: str = Field(  # noqa: N815 - wire name
        **said("RFC 3339, UTC, en secondes entières.", "RFC 3339, UTC, whole seconds.")
    )


class CreaturePayload(SignedCreature):
    """What is signed of a creature."""

    type: Literal["creature"] = Field(**said("Ce que c'est.", "What it is."))


class SignedCreatureBody(SignedBody):
    """A signed creature: the shape of a signed score, with another payload."""

    payload: CreaturePayload  # type: ignore[assignment]


class SignedCreatureToVerify(SignedBody):
    """The body of `POST /v1/verify-creature`: a payload that is none is judged, not refused."""

    model_config = ConfigDict(extra="forbid")

    payload: dict[str, Any]  # type: ignore[assignment]


class CreatureOrSigned(CreatureAnswer):
    """The answer of `GET /v1/generate`; `signed` is there with `sign=1` alone."""

    signed: SignedCreatureBody | None = Field(
        None, **said("Avec `sign=1` seulement, jamais null.", "With `sign=1` alone, and never null.")
    )


class CreatureVerdict(BaseModel):
    """The answer of `POST /v1/verify-creature`."""

    valid: bool
    reason: str | None = Field(**said("Pourquoi pas : un code stable.", "Why not: a stable code."))
    detail: str | None = Field(**said("Le même pour des personnes.", "The same for people."))
    keyId: str | None = Field(  # noqa: N815 - wire name
        **said("L'empreinte RFC 7638 de la clé qui a signé.", "RFC 7638 thumbprint of the key that signed.")
    )
    creature: SignedCreature | None = Field(
        **said("Ce qui est signé, si c'est valable.", "What was signed, if it holds.")
    )
