"""The shapes of what is asked and answered about jobs, as pydantic models. Whoever validates, validates with these."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from minimon_server.jobs.asked_adapters import MOST_LORAS
from minimon_server.jobs.drawing import LARGEST_SEED
from minimon_server.jobs.job import State
from minimon_server.web.input_schemas import EncodedPicture, HiresWish, Scale, Side, Strength
from minimon_server.web.schemas import said

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
LONGEST_PROMPT = 32_768
MOST_PICTURES = 16
LONGEST_WAIT = 120
MOST_LISTED = 500
# The largest file that can be asked for, pure noise as JPEG of quality 100 with the longest prompts, has 13.3 MiB.
LARGEST_PICTURE = 16 * 1024 * 1024


def _plain_number(value: object) -> object:
    """Refuse what `float()` would take beyond JSON's numbers (RFC 8259, section 6): blanks, underscores, nan."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return "not a number"
    return value


# No NUL: the texts of a PNG file end at one.
Text = Annotated[str, Field(max_length=LONGEST_PROMPT, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]


class LoraWish(BaseModel):
    """One adapter of a stack."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    weight: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, **said("Sans lui, celui du LoRA dans `/loras`.", "Without it, the LoRA's own in `/loras`.")
    )


class DrawBody(BaseModel):
    """The body of `POST /generate`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: Text = Field(
        min_length=1,
        **said("Ce que montre l'image, dans la syntaxe d'A1111.", "What the picture shows, in A1111's syntax."),
    )
    negative_prompt: Text = Field("", **said("Ce qu'elle ne montre pas.", "What it does not show."))
    model: Name | None = Field(None, **said("Un des modèles de `/models`.", "One of the models of `/models`."))
    loras: Annotated[tuple[LoraWish, ...], Field(max_length=MOST_LORAS, strict=False)] = Field(
        (), **said("Quatre au plus, appliqués ensemble.", "Four at the most, applied together.")
    )
    steps: Annotated[int, Field(ge=1, le=150)] | None = Field(
        None, **said("Étapes ; sans elles, celles du modèle.", "Steps; without them, the model's own.")
    )
    guidance_scale: Annotated[float, Field(ge=0, le=50)] | None = Field(
        None, **said("Fidélité au texte ; sans elle, celle du modèle.", "How closely to follow the text.")
    )
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = Field(
        None,
        **said(
            "La même graine donne la même image ; sans elle, une est tirée et annoncée.",
            "The same seed gives the same picture; without one, one is drawn and reported.",
        ),
    )
    width: Side | None = Field(None, **said("En pixels, multiple de 8.", "In pixels, a multiple of 8."))
    height: Side | None = Field(None, **said("En pixels, multiple de 8.", "In pixels, a multiple of 8."))
    scheduler: Name | None = Field(None, **said("Sans lui, celui du modèle.", "Without it, the model's own."))
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = Field(
        None, **said("Compté comme A1111 le fait, pour les deux prompts.", "Counted as A1111 does, for both prompts.")
    )
    count: int = Field(
        1,
        ge=1,
        le=MOST_PICTURES,
        **said("Combien d'images, de graines consécutives.", "How many pictures, of consecutive seeds."),
    )
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, **said("Contre la surexposition ; sans lui, celui du modèle.", "Against over-exposure; else the model's.")
    )
    format: Literal["png", "webp", "jpeg", "avif"] = Field("png", **said("Du fichier.", "Of the file."))
    quality: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, **said("Sauf en PNG ; 90, ou 80 en AVIF.", "Not with PNG; 90, or 80 with AVIF.")
    )
    init_image: EncodedPicture | None = Field(
        None, **said("L'image dont partir : PNG, JPEG ou WebP, en base64.", "What to begin with: PNG, JPEG or WebP.")
    )
    mask: EncodedPicture | None = Field(
        None, **said("Blanc : à repeindre ; noir : à laisser.", "White: to be repainted; black: to be left alone.")
    )
    strength: Strength | None = Field(
        None, **said("Quelle part en redessiner ; 0,75 sinon.", "How much of it to draw anew; 0.75 without it.")
    )
    hires: HiresWish | None = Field(None, **said("Une seconde passe, plus grande.", "A second pass at a larger size."))
    add_trigger_words: bool = Field(
        False,
        **said("Ajoute au prompt les mots déclencheurs des LoRA.", "Adds the LoRAs' trigger words to the prompt."),
    )
    ip_adapter_image: EncodedPicture | None = Field(
        None, **said("Une image de référence, montrée à côté du prompt.", "A reference picture, beside the prompt.")
    )
    ip_adapter_scale: Scale | None = Field(
        None, **said("Combien elle compte ; 0,6 sinon.", "How much it counts; 0.6 without it.")
    )
    ip_adapter: Name | None = Field(
        None, **said("L'IP-Adapter qui la lit ; sinon le premier.", "The IP-Adapter that reads it; else the first.")
    )
    decoder: Literal["full", "draft"] = Field(
        "full", **said("`draft` : plus vite, d'autres pixels.", "`draft`: sooner, and other pixels.")
    )


class Meta(BaseModel):
    """How far a job is."""

    current: int = Field(**said("Étapes faites, de toutes les images.", "Steps done, of all its pictures."))
    total: int
    percent: int


class Phase(BaseModel):
    """What the engine is doing."""

    name: Literal["loading", "drawing", "decoding"]
    current: int
    total: int


class JobAccepted(BaseModel):
    """The answer of `POST /generate`."""

    job_id: str = Field(**said("Un UUID.", "A UUID."))
    state: State
    position: int | None = Field(**said("1 : la prochaine.", "1: the next one."))
    eta_seconds: float | None = Field(**said("Estimé, dès que mesuré.", "An estimate, as soon as there is one."))
    seed: int = Field(**said("La graine de la première image.", "The seed of the first picture."))
    scheduler: str | None = Field(**said("Son nom ici ; null : celui du modèle.", "Its name here; null: the model's."))


class Difference(BaseModel):
    """Something that is not as it was when a picture was made."""

    what: str = Field(**said("Son nom dans les métadonnées.", "Its name in the metadata."))
    then: str | None
    now: str | None


class JobReplayed(JobAccepted):
    """The answer of `POST /replay`."""

    differences: list[Difference] = Field(
        **said(
            "Ce qui a changé depuis, et peut changer l'image.", "What has changed since, and may change the picture."
        )
    )


class JobResult(BaseModel):
    """What a job has made."""

    filename: str = Field(**said("Pour `/download`.", "For `/download`."))
    filenames: list[str]
    seed: int
    seeds: list[int]
    width: int
    height: int
    removed: bool = Field(**said("Vrai : les images ne sont plus gardées.", "True: the pictures are kept no longer."))
    prompt_tokens: int | None
    prompt_chunks: int | None = Field(**said("De 75 jetons au plus.", "Of 75 tokens at the most."))
    ignored: list[str] | None = Field(**said("Ce qui est sans effet, et pourquoi.", "What has no effect, and why."))
    loras_rounded_to: str | None = Field(
        **said(
            "En combien de bits sont tenus des poids que les LoRAs ont changés : ce qu'elles y changent est arrondi.",
            "In how few bits weights are held that the LoRAs have changed: what they change there is rounded.",
        )
    )
    layers_in_full: int | None = Field(
        **said(
            "Combien de couches d'un UNet quantifié étaient tenues en entier, parce que les LoRAs les ont changées.",
            "How many layers of a quantised UNet were held in its own numbers, since the LoRAs have changed them.",
        )
    )


class JobStatus(BaseModel):
    """The answer of `GET /status/{job_id}`."""

    job_id: str
    state: State
    meta: Meta
    phase: Phase | None
    position: int | None
    eta_seconds: float | None
    result: JobResult | None
    error: str | None = Field(**said("Pourquoi la tâche a échoué.", "Why the job failed."))
    request: dict[str, Any] = Field(**said("Ce qui est dessiné, entier.", "What is drawn, in full."))
    attempt: int = Field(**said("Combien de fois le dessin a commencé.", "How often its drawing has begun."))
    created: str
    started: str | None
    ended: str | None


class JobLine(BaseModel):
    """One job of a list."""

    job_id: str
    state: State
    position: int | None
    model: str
    created: str
    ended: str | None


class JobList(BaseModel):
    """The answer of `GET /jobs`."""

    jobs: list[JobLine]
    counts: dict[str, int] = Field(**said("Combien dans chaque état.", "How many in each state."))


class JobCancelled(BaseModel):
    """The answer of `DELETE /jobs/{job_id}`."""

    job_id: str
    state: State


class JobEvent(BaseModel):
    """One event of `GET /jobs/{job_id}/events`."""

    id: str = Field(**said("Pour `Last-Event-ID`.", "For `Last-Event-ID`."))
    event: Literal["position", "step", "preview", "end", "error"]
    data: str = Field(
        **said(
            "Du JSON : `position` ; `phase`, `current`, `total` ; `current`, `image_base64` ; `state`, `error`.",
            "JSON: `position`; `phase`, `current`, `total`; `current`, `image_base64`; `state`, `error`.",
        )
    )


class StillDrawing(BaseModel):
    """The answer of `GET /image/{job_id}` before there is a picture."""

    status: Literal["processing"]
    message: str
    state: State
    meta: Meta


class DrawingFailed(BaseModel):
    """The answer of `GET /image/{job_id}` when there will be none."""

    status: Literal["failed"]
    error: str


class ImageQuery(BaseModel):
    """The parameters of `GET /image/{job_id}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT), BeforeValidator(_plain_number)] = Field(
        0, **said("Secondes pendant lesquelles attendre l'image.", "Seconds to wait for the picture.")
    )
    n: Annotated[int, Field(ge=1, le=MOST_PICTURES), BeforeValidator(_plain_number)] = Field(
        1, **said("Laquelle, s'il y en a plusieurs.", "Which one, if there are several.")
    )


class JobsQuery(BaseModel):
    """The parameters of `GET /jobs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State | None = Field(None, **said("Seulement celles-ci.", "Only these."))
    limit: Annotated[int, Field(ge=1, le=MOST_LISTED), BeforeValidator(_plain_number)] = Field(
        50, **said("Combien, les plus récentes d'abord.", "How many, the newest first.")
    )


class NoQuery(BaseModel):
    """The parameters of a route that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")
