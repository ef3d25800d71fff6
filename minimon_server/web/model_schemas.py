"""The shapes of what is answered about models and LoRAs, as pydantic models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from minimon_server.web.schemas import said


class ModelDefaults(BaseModel):
    """What those get who do not say."""

    steps: int
    guidance_scale: float
    guidance_rescale: float
    width: int
    height: int
    scheduler: str | None = Field(**said("`null` : celui du modèle.", "`null`: the model's own."))
    clip_skip: int | None
    prompt_prefix: str = Field(
        **said(
            "Mis devant le prompt, sauf s'il commence déjà par son premier mot.",
            "Put before the prompt, unless that begins with its first word already.",
        )
    )
    negative_prefix: str


class Availability(BaseModel):
    """Whether something can be used now."""

    available: bool
    reason: str | None = Field(**said("Pourquoi pas.", "Why not."))
    how: str | None = Field(**said("Ce qui le ferait venir.", "What would bring it here."))
    licence: str
    pinned: bool = Field(
        **said("Sa source est fixée par révision ou SHA-256.", "Its source is fixed by revision or SHA-256.")
    )
    base: str = Field(**said("Sa famille : `sdxl`, `sd15`…", "Its family: `sdxl`, `sd15`…"))


class ModelLine(Availability):
    """One model."""

    id: str
    name: str
    supported_loras: list[str]
    schedulers: list[str] = Field(**said("Ceux avec lesquels il va.", "Those that go with it."))
    kind: Literal["diffusers", "checkpoint"]
    prediction: Literal["epsilon", "v", ""] = Field(**said("Vide : inconnu.", "Empty: nobody knows."))
    native_size: int | None = Field(
        **said(
            "Le côté de tout ce qu'il dessine, ensuite rééchantillonné ; null : la taille demandée.",
            "The side of all that it draws, then resampled; null: it draws the size that is asked for.",
        )
    )
    defaults: ModelDefaults


class ModelList(BaseModel):
    """The answer of `GET /models`."""

    models: list[ModelLine]


class LoraLine(Availability):
    """One adapter."""

    id: str
    name: str
    default_weight: float
    trigger_words: list[str] | None
    network: str = Field(
        **said("Comment il est fait, d'après ses tenseurs : `lora`, `loha`…", "How it is made, by its tensors.")
    )


class IpAdapterLine(Availability):
    """One IP-Adapter."""

    id: str
    name: str
    variant: Literal["plain", "plus", "full", ""] = Field(
        **said("D'après ses tenseurs ; vide : il n'est pas là.", "By its tensors; empty: it is not there.")
    )


class IpAdapterList(BaseModel):
    """The answer of `GET /ip-adapters`."""

    ip_adapters: list[IpAdapterLine]


class LoraList(BaseModel):
    """The answer of `GET /loras`."""

    loras: list[LoraLine]
