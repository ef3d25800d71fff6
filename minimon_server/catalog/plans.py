"""From an entry of the catalogue to the files that it needs, and where they go. Fetches none of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson

from minimon_server.catalog.asking import Refused
from minimon_server.catalog.entries import Catalogue, LoraEntry, ModelEntry, PartEntry, Source
from minimon_server.catalog.fetching import Wanted
from minimon_server.catalog.hub import Hub, pipeline_files
from minimon_server.engines.peft_folders import is_peft_folder

Kind = Literal["model", "lora", "part"]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry, of one kind."""

    kind: Kind
    entry: ModelEntry | LoraEntry | PartEntry

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.kind} {self.entry.id}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be fetched: the files by their paths inside the folder `target`, or the one file that it is."""

    item: Item
    target: Path
    is_folder: bool
    files: dict[str, Wanted]
    source: str

    @property
    def mark(self) -> str:
        """What tells this plan from another of the same item: other files, or other content."""
        said = {name: one.sha256 or one.git_oid or one.url for name, one in self.files.items()}
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def items_of(catalogue: Catalogue) -> list[Item]:
    """Return every entry, in the catalogue's order."""
    items = [Item("model", entry) for entry in catalogue.model]
    items += [Item("lora", entry) for entry in catalogue.lora]
    return items + [Item("part", entry) for entry in catalogue.part]


def lies_at(item: Item, root: Path) -> str:
    """Return where an item lies, or would, inside the folder of models: of a LoRA's file and folder the file counts."""
    place = item.entry.place
    folder = place.removesuffix(".safetensors")
    is_saved = isinstance(item.entry, LoraEntry) and not (root / place).exists() and is_peft_folder(root / folder)
    return folder if is_saved else place


def with_parts(item: Item, catalogue: Catalogue) -> list[Item]:
    """Return an item and what it cannot do without: the VAE of a single file; a folder gets it inside."""
    entry = item.entry
    if isinstance(entry, ModelEntry) and entry.kind == "checkpoint" and entry.vae:
        return [item, Item("part", _part(catalogue, entry.vae))]
    return [item]


def said_source(source: Source, commit: str = "") -> str:
    """Return where something comes from, in one line."""
    if source.hub:
        return f"{source.hub}@{commit or source.revision or 'main'}" + (f":{source.file}" if source.file else "")
    return source.url


def plan_of(item: Item, catalogue: Catalogue, root: Path, hub: Hub) -> Plan:
    """Return what is to be fetched for an item that has a source; asks the hub for names, sizes and hashes."""
    entry, source = item.entry, item.entry.source
    target = root / entry.place
    if isinstance(entry, PartEntry):
        return _folder(item, target, hub, list(source.files))
    if isinstance(entry, ModelEntry) and entry.kind == "diffusers":
        repository = hub.repository(source.hub, source.revision)
        names = pipeline_files(repository.files, source.variant, without_vae=bool(entry.vae))
        plan = _folder(item, target, hub, names)
        return _with_vae(plan, _part(catalogue, entry.vae), hub) if entry.vae else plan
    return Plan(item, target, False, {target.name: _single(item, target, hub)}, said_source(source))


def _single(item: Item, target: Path, hub: Hub) -> Wanted:
    source = item.entry.source
    said = Wanted(source.url, target.name, source.size_bytes, source.sha256.lower() or None)
    if not source.hub:
        return said
    if source.sha256 and source.size_bytes:  # all that the hub could tell
        return replace(said, url=hub.address(source.hub, source.revision or "main", source.file))
    found = _found(item, hub, source.file)
    for ours, theirs in ((said.sha256, found.sha256), (said.size, found.size)):
        if ours is not None and ours != theirs:
            raise Refused(f"{item.name}: the hub says {theirs} of {source.file}, the catalogue {ours}")
    return replace(found, name=target.name, sha256=said.sha256 or found.sha256)


def _found(item: Item, hub: Hub, path: str) -> Wanted:
    source = item.entry.source
    files = hub.repository(source.hub, source.revision).files
    if path not in files:
        raise Refused(f"{item.name}: {source.hub} has no {path}")
    return files[path]


def _folder(item: Item, target: Path, hub: Hub, names: list[str]) -> Plan:
    source = item.entry.source
    files = {name: _found(item, hub, name) for name in names}
    return Plan(item, target, True, files, said_source(source, hub.repository(source.hub, source.revision).commit))


def _with_vae(plan: Plan, vae: PartEntry, hub: Hub) -> Plan:
    """Return a plan whose folder vae/ comes from another repository."""
    inside = _folder(Item("part", vae), plan.target, hub, list(vae.source.files))
    files = {f"vae/{name.rpartition('/')[2]}": one for name, one in inside.files.items()}
    return replace(plan, files={**plan.files, **files}, source=f"{plan.source} with {inside.source}")


def _part(catalogue: Catalogue, name: str) -> PartEntry:
    return next(part for part in catalogue.part if part.id == name)
