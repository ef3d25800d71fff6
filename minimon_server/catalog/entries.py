"""The members of `models/catalog.toml` and their limits, as pydantic models. Reads no file and looks at no disk."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from minimon_server.engines.checkpoint_files import CHECKPOINTS
from minimon_server.engines.schedulers import SCHEDULERS
from minimon_server.engines.weight_files import ADAPTERS

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# Folders of models/ that hold files of one kind each: no model's folder may bear such a name.
PARTS: Final = ("vae", "ip-adapter")
TAKEN: Final = frozenset({CHECKPOINTS, ADAPTERS, "embeddings", *PARTS})
MOST_ENTRIES: Final = 500


def sound_path(text: str) -> bool:
    """Return whether a text is a path inside a folder, the same for every system: no `..`, no root, no oddities."""
    parts = text.split("/")
    return (
        len(text) <= 512
        and bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9 ()+,=@._/-]*", text))
        and all(part not in ("", ".", "..") and not part.endswith((".", " ")) for part in parts)
        and not PurePosixPath(text).is_absolute()
    )


def _path(text: str) -> str:
    if text and not sound_path(text):
        raise ValueError("must be a path inside its folder, without '..', without a root")
    return text


def _revision(text: str) -> str:
    if text and (not sound_path(text) or " " in text):
        raise ValueError("must be a commit (40 hexadecimal digits), a branch or a tag")
    return text


def _url(text: str) -> str:
    if not text:
        return text
    try:
        parts = urlsplit(text)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        sound = parts.scheme == "https" or (parts.scheme == "http" and local)
    except ValueError:
        sound, parts = False, urlsplit("")
    if not sound or not parts.hostname or parts.username is not None or re.search(r"[^!-~]", text):
        raise ValueError("must be an https address without a password in it")
    return text


def _scheduler(text: str) -> str:
    if text not in SCHEDULERS:
        raise ValueError(f"there is no such scheduler; there are: {', '.join(SCHEDULERS)}")
    return text


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Id = Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=64)]
Words = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]
# No tags such as <lora:...>: what is applied is asked for, not slipped in.
Prefix = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f\x7f<>]*$")]
RepoPath = Annotated[str, AfterValidator(_path)]
Weight = Annotated[float, Field(ge=-2, le=2)]
Side = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]


class Member(BaseModel):
    """What all members have in common: nothing unknown, no type taken for another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class Source(Member):
    """Where something comes from: a hub repository, an address, or this machine; all empty where nobody knows."""

    hub: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$")] = ""
    url: Annotated[str, AfterValidator(_url), Field(max_length=2000)] = ""
    local: bool = False
    revision: Annotated[str, AfterValidator(_revision)] = ""
    variant: Annotated[str, Field(pattern=r"^([a-z0-9]+)?$", max_length=16)] = ""
    file: RepoPath = ""
    files: Annotated[tuple[RepoPath, ...], BeforeValidator(_listed), Field(max_length=64)] = ()
    sha256: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{64})?$")] = ""
    size_bytes: Annotated[int, Field(ge=1, le=1 << 50)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (bool(self.hub) + bool(self.url) + self.local) > 1:
            raise ValueError("names more than one of hub, url and local")
        if not self.hub and (self.revision or self.variant or self.file or self.files):
            raise ValueError("revision, variant, file and files go with hub")
        if self.file and self.files:
            raise ValueError("names both file and files")
        if (self.sha256 or self.size_bytes) and (self.files or (self.hub and not self.file)):
            raise ValueError("sha256 and size_bytes go with one file; those of a repository come with its revision")
        return self

    @property
    def is_known(self) -> bool:
        """Whether it can be fetched from somewhere."""
        return bool(self.hub or self.url)

    @property
    def is_pinned(self) -> bool:
        """Whether it is the same for ever: by its SHA-256, or by a commit, which holds its hashes."""
        return (self.is_known or self.local) and bool(self.sha256 or (self.hub and COMMIT.fullmatch(self.revision)))


class Defaults(Member):
    """What a request that leaves these out gets; None leaves it to the model."""

    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=50)] | None = None
    width: Side | None = None
    height: Side | None = None
    scheduler: Annotated[str, AfterValidator(_scheduler)] | None = None
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
    prompt_prefix: Prefix = ""
    negative_prefix: Prefix = ""


class Entry(Member):
    """What every entry has."""

    id: Id
    name: Annotated[Words, Field(min_length=1, max_length=200)]
    base: Id = "unknown"
    licence: Words = ""
    about_gb: Annotated[float, Field(gt=0, le=100_000)] | None = None
    source: Source = Source()


class ModelEntry(Entry):
    """One model: a folder in the diffusers layout, or a single file."""

    kind: Literal["diffusers", "checkpoint"]
    vae: Id | Literal[""] = ""
    loras: Annotated[tuple[Id, ...], BeforeValidator(_listed), Field(max_length=MOST_ENTRIES)] = ()
    defaults: Defaults = Defaults()

    @property
    def place(self) -> str:
        """Where it lies, inside the folder of models."""
        return self.id if self.kind == "diffusers" else f"{CHECKPOINTS}/{self.id}.safetensors"


class LoraEntry(Entry):
    """One LoRA or one of its kin: a single file."""

    file: Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9 ()+,=@._-]*\.safetensors)?$", max_length=200)] = ""
    default_weight: Weight = 1.0
    trigger_words: Annotated[tuple[Words, ...], BeforeValidator(_listed), Field(max_length=100)] | None = None

    @property
    def place(self) -> str:
        """Where it lies, inside the folder of models."""
        return f"{ADAPTERS}/{self.file or self.id + '.safetensors'}"


class PartEntry(Entry):
    """What models share: a VAE, an IP-Adapter; a folder."""

    kind: Literal["vae", "ip-adapter"]

    @property
    def place(self) -> str:
        """Where it lies, inside the folder of models."""
        return f"{self.kind}/{self.id}"


class Catalogue(Member):
    """A whole catalogue; the first model that is available serves who names none."""

    schema_number: Literal[1] = Field(alias="schema")
    model: Annotated[tuple[ModelEntry, ...], BeforeValidator(_listed), Field(max_length=MOST_ENTRIES)] = ()
    lora: Annotated[tuple[LoraEntry, ...], BeforeValidator(_listed), Field(max_length=MOST_ENTRIES)] = ()
    part: Annotated[tuple[PartEntry, ...], BeforeValidator(_listed), Field(max_length=MOST_ENTRIES)] = ()


EMPTY: Final = Catalogue(schema=1)
