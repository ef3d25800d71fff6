"""What lies in models/ and stands in no catalogue: its id, its place, what it is. Hashes and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimon_server.catalog import words
from minimon_server.catalog.checkpoint_kinds import UNKNOWN, checkpoint_kind
from minimon_server.catalog.dropped import PICKLES, REFUSED
from minimon_server.catalog.entries import Catalogue
from minimon_server.catalog.header import Header, NotSafetensors, read_header
from minimon_server.catalog.network_kinds import network_kind, peft_kind
from minimon_server.catalog.plans import Kind
from minimon_server.engines.checkpoint_files import CHECKPOINTS, VAES
from minimon_server.engines.ip_adapter_files import ROOT as IP_ADAPTERS
from minimon_server.engines.model_folders import BrokenModel, read_model
from minimon_server.engines.peft_folders import is_peft_folder
from minimon_server.engines.weight_files import ADAPTERS


@dataclass(frozen=True, slots=True)
class Unlisted:
    """One file or folder; `place` is its path inside the folder of models, `told` what it is, for people."""

    kind: Kind
    id: str
    place: str
    told: str


def unlisted(root: Path, catalogue: Catalogue) -> Iterator[Unlisted]:
    """Yield what can be asked for and stands in no catalogue: folders of models, single files, LoRAs, parts.

    Of two with one id the catalogue's counts, then a model's folder, then a LoRA's file, as for the server. Raise
    `OSError` for a folder that cannot be listed.
    """
    models = {entry.id for entry in catalogue.model}
    for path in _in(root):
        if (path / "model_index.json").exists() and path.name not in models:
            models.add(path.name)
            yield Unlisted("model", path.name, path.name, _of_folder(path))
    yield from _files(root, CHECKPOINTS, "model", models)
    loras = {name for entry in catalogue.lora for name in (entry.id, Path(entry.place).stem)}
    for one in _files(root, ADAPTERS, "lora", loras):
        loras.add(one.id)
        yield one
    for path in _in(root / ADAPTERS):
        if path.name not in loras and is_peft_folder(path):
            yield Unlisted("lora", path.name, f"{ADAPTERS}/{path.name}", _of_peft_folder(path))
    yield from _parts(root, catalogue)


def _parts(root: Path, catalogue: Catalogue) -> Iterator[Unlisted]:
    """Yield the folders of parts; one whose name another part has is known by its place."""
    listed, taken = {entry.place for entry in catalogue.part}, {entry.id for entry in catalogue.part}
    for folder, told in ((IP_ADAPTERS, "an IP-Adapter's folder"), (VAES, "a VAE's folder")):
        for path in _in(root / folder):
            place = f"{folder}/{path.name}"
            if path.is_dir() and place not in listed:
                name = place if path.name in taken else path.name
                taken.add(name)
                yield Unlisted("part", name, place, told)


def _in(folder: Path) -> list[Path]:
    """Return what a folder holds, by name, without what is hidden; nothing where there is no such folder."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []


def _files(root: Path, folder: str, kind: Kind, taken: set[str]) -> Iterator[Unlisted]:
    """Yield the files of weights whose stems are not `taken`; of two with one stem the one that can be read."""
    weights = [path for path in _in(root / folder) if path.suffix.lower() in {".safetensors", *PICKLES}]
    seen = set(taken)
    for path in sorted(weights, key=lambda path: path.suffix.lower() in PICKLES):
        if path.stem not in seen:
            seen.add(path.stem)
            yield Unlisted(kind, path.stem, f"{folder}/{path.name}", _of_file(path, kind))


def _of_folder(path: Path) -> str:
    try:
        base = read_model(path).info.base
    except BrokenModel as error:
        return f"a folder that {words.unusable(str(error)).en}"
    return f"a folder in the diffusers layout{_for(base)}"


def _of_peft_folder(path: Path) -> str:
    try:
        found = peft_kind(path)
        problem = found.problem
    except NotSafetensors as error:
        problem = str(error)
    except OSError as error:
        problem = f"cannot be read ({(error.strerror or 'error').lower()})"
    if problem:
        return f"a folder that {words.unusable(problem).en}"
    return f"a LoRA of the kind {found.network} as PEFT saves it{_for(found.base)}"


def _of_file(path: Path, kind: Kind) -> str:
    ending = path.suffix.lower()
    try:
        if ending in PICKLES:
            raise NotSafetensors(REFUSED.format(ending=ending))
        base, what, problem = _kind_of(read_header(path), kind)
    except NotSafetensors as error:
        problem = str(error)
    except OSError as error:
        problem = f"it cannot be read ({(error.strerror or 'error').lower()})"
    return f"a file that {words.unusable(problem).en}" if problem else f"{what}{_for(base)}"


def _kind_of(header: Header, kind: Kind) -> tuple[str, str, str]:
    """Return the base of a file, what people call it, and why it is none of its kind."""
    if kind == "lora":
        network = network_kind(header)
        return network.base, f"a LoRA of the kind {network.network}", network.problem
    found = checkpoint_kind(header)
    return found.base, "a model in one file", found.problem


def _for(base: str) -> str:
    return "" if base == UNKNOWN else f", {base} by its tensors"
