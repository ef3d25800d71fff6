"""The shapes of requests and answers, as pydantic models. Whoever validates, validates with these."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from minimon_server.creatures.hatchery import LARGEST_SEED
from minimon_server.creatures.rarity import Rarity


def _rarity_as_typed(value: object) -> object:
    """Accept `S+` as people type it into an address, where `+` means a blank (WHATWG URL, section 5.1)."""
    if not isinstance(value, str):
        return value
    value = value.upper()
    return "S+" if value == "S " else value


def _plain_digits(value: object) -> object:
    """Refuse what `int()` would take beyond plain digits: blanks, underscores, other scripts' digits."""
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdigit()):
        return "not a number"
    return value


Seed = Annotated[int, BeforeValidator(_plain_digits), Field(ge=0, le=LARGEST_SEED)]


class GenerateQuery(BaseModel):
    """The parameters of `GET /v1/generate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rarity: Annotated[Rarity | None, BeforeValidator(_rarity_as_typed)] = Field(
        None, description="The rarity to get, instead of one drawn by weight."
    )
    seed: Seed | None = Field(None, description="The same seed (and rarity) gives the same creature.")


class CreatureMetadata(BaseModel):
    """Who the creature is."""

    id: str = Field(description="`mnm_` and 24 hexadecimal digits: 96 random bits.", pattern="^mnm_[0-9a-f]{24}$")
    name: str = Field(description="Letters, with single blanks, hyphens or apostrophes inside; at most 32 characters.")
    rarity: Rarity


class CreatureAnswer(BaseModel):
    """The answer of `GET /v1/generate`."""

    imageBase64: str = Field(description="The PNG file in standard base64 (RFC 4648, section 4).")  # noqa: N815 - wire name
    metadata: CreatureMetadata
    generatedAt: str = Field(description="RFC 3339, UTC, whole seconds.")  # noqa: N815 - wire name


class HealthAnswer(BaseModel):
    """The answer of `GET /health`."""

    status: Literal["ok"]
    time: str
    backend: Literal["files"]
