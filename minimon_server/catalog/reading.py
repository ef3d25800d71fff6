"""From the bytes of a catalogue to its entries, or to its mistakes, each with line and member. Reads no file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from minimon_server.catalog.entries import TAKEN, Catalogue, LoraEntry, ModelEntry, PartEntry
from minimon_server.toml_lines import Place, line_of, of_syntax, shown

LARGEST: Final = 256 * 1024
MOST_TOLD: Final = 20


class CatalogMistakes(Exception):
    """What is wrong with a catalogue, one line of text each: the line of the file, the member, what it may hold."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("; ".join(lines))


def read_catalogue(data: bytes) -> Catalogue:
    """Return what a catalogue says; raise `CatalogMistakes` with all that is wrong, twenty at the most."""
    if len(data) > LARGEST:
        raise CatalogMistakes([f"it is larger than {LARGEST} bytes"])
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CatalogMistakes([f"line {line}: it is not UTF-8"]) from None
    try:
        said = tomllib.loads(text)
    except RecursionError:
        raise CatalogMistakes(["it is nested too deeply"]) from None
    except ValueError as error:  # also of a number of thousands of digits, which is no TOMLDecodeError
        raise CatalogMistakes([of_syntax(str(error))]) from None
    mistakes: list[tuple[Place, str]]
    try:
        read = Catalogue.model_validate(said)
    except ValidationError as error:
        mistakes = [(one["loc"], _said(one)) for one in error.errors(include_input=False, include_url=False)]
    else:
        mistakes = list(_contradictions(read))
        if not mistakes:
            return read
    lines = [_told(text, said, place, message) for place, message in mistakes[:MOST_TOLD]]
    if len(mistakes) > MOST_TOLD:
        lines.append(f"and {len(mistakes) - MOST_TOLD} more")
    raise CatalogMistakes(lines)


def _said(error: Any) -> str:
    """Return what pydantic found, with what may stand there."""
    if error["type"] == "extra_forbidden":
        known = _members_at(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        return f"is no member; did you mean {near[0]}?" if near else f"is no member; there are: {', '.join(known)}"
    return str(error["msg"]).removeprefix("Value error, ")


def _members_at(place: Place) -> list[str]:
    """Return the members that may stand at a place of the catalogue."""
    kind: Any = Catalogue
    for step in place:
        if isinstance(step, str) and isinstance(kind, type) and issubclass(kind, BaseModel):
            field = next((one for name, one in kind.model_fields.items() if (one.alias or name) == step), None)
            held = field.annotation if field else None
            kind = next((one for one in (held, *get_args(held)) if _is_member(one)), None)
    fields = kind.model_fields if _is_member(kind) else {}
    return [field.alias or name for name, field in fields.items()]


def _is_member(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _contradictions(read: Catalogue) -> Iterator[tuple[Place, str]]:
    """Yield what cannot be true together."""
    kinds: dict[str, Sequence[ModelEntry | LoraEntry | PartEntry]]
    kinds = {"model": read.model, "lora": read.lora, "part": read.part}
    for kind, entries in kinds.items():
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            if entry.id in seen:
                yield (kind, number, "id"), f"{entry.id} stands twice"
            seen.add(entry.id)
            yield from _of_source(kind, number, entry)
    loras = {one.id for one in read.lora}
    vaes = {one.id for one in read.part if one.kind == "vae"}
    places: set[str] = set()
    for number, model in enumerate(read.model):
        if model.kind == "diffusers" and model.id in TAKEN:
            yield ("model", number, "id"), f"the folder {model.id} holds other things; choose another id"
        if model.vae and model.vae not in vaes:
            yield ("model", number, "vae"), f"there is no part of kind vae with the id {model.vae}"
        for name in model.loras:
            if name not in loras:
                yield ("model", number, "loras"), f"there is no lora with the id {name}"
    for number, lora in enumerate(read.lora):
        if lora.place in places:
            yield ("lora", number, "file"), "another lora has the same file"
        places.add(lora.place)


def _of_source(kind: str, number: int, entry: ModelEntry | LoraEntry | PartEntry) -> Iterator[tuple[Place, str]]:
    """Yield what a source lacks for what it is to bring: one file, a folder of a model, named files."""
    source = entry.source
    if not source.is_known:
        return
    single = isinstance(entry, LoraEntry) or (isinstance(entry, ModelEntry) and entry.kind == "checkpoint")
    if single and source.hub and not source.file.endswith(".safetensors"):
        yield (kind, number, "source", "file"), "names the one file of the repository, which ends with .safetensors"
    if not single and source.url:
        yield (kind, number, "source", "url"), "a folder comes from a hub repository, not from an address"
    if not single and source.file:
        yield (kind, number, "source", "file"), "a folder has many files"
    if isinstance(entry, PartEntry) and source.hub and not source.files:
        yield (kind, number, "source", "files"), "names the files of the part"
    for name in source.files:
        if not name.endswith((".safetensors", ".json", ".txt")):
            yield (kind, number, "source", "files"), "files end with .safetensors, .json or .txt: nothing that runs"


def _told(text: str, said: Any, place: Place, message: str) -> str:
    """Return `line 12: model sdxl-base: source.revision: what is wrong`."""
    line = line_of(text, place)
    words, members = [], list(place)
    if len(members) >= 2 and isinstance(members[1], int):
        entry = said[members[0]][members[1]]
        name = entry.get("id") if isinstance(entry, dict) else None
        words.append(f"{members[0]} {shown(name) if isinstance(name, str) else members[1] + 1}")
        members = members[2:]
    if members:
        words.append(".".join(shown(str(one)) for one in members))
    return (f"line {line}: " if line else "") + ": ".join([*words, message])
