"""What can be asked for now: the catalogue and what lies on the disk, put together. Loads nothing, fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from minimon_server.catalog import words
from minimon_server.catalog.checkpoint_kinds import UNKNOWN, CheckpointKind, checkpoint_kind
from minimon_server.catalog.dropped import Dropped, DroppedFiles, Whole
from minimon_server.catalog.entries import Catalogue, Defaults, LoraEntry, ModelEntry, PartEntry
from minimon_server.catalog.kept import KeptCatalogue
from minimon_server.catalog.network_kinds import NetworkKind, network_kind, peft_kind
from minimon_server.catalog.single_files import USUAL_SIDE, told_of_file
from minimon_server.engines.checkpoint_files import CHECKPOINTS
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.model_info import APPLIED_NETWORKS, LoraInfo, ModelInfo
from minimon_server.engines.peft_folders import files_of_adapter, is_peft_folder
from minimon_server.engines.schedulers import most_steps
from minimon_server.engines.weight_files import ADAPTERS
from minimon_server.errors import Text
from minimon_server.logs import Logger

CATALOGUE: Final = "catalog.toml"
USUAL_PACE: Final = (30, 5.0)  # steps and guidance where neither catalogue nor folder says


class Stock:
    """The models and LoRAs of one folder. For every thread; whoever asks may wait for the disk."""

    def __init__(self, root: Path, folders: ModelFolders, log: Logger, kept: KeptCatalogue | None = None) -> None:
        """`folders` are those of `root` that the engine loads, `kept` its catalogue, where others read it too."""
        self._root = root
        self._folders = folders
        self._log = log
        self._kept = kept or KeptCatalogue(root / CATALOGUE, log)
        self._checkpoints = DroppedFiles(
            root / CHECKPOINTS, checkpoint_kind, lambda problem: CheckpointKind(problem=problem), log
        )
        saved = Whole(is_peft_folder, files_of_adapter, peft_kind)
        self._loras = DroppedFiles(
            root / ADAPTERS, network_kind, lambda problem: NetworkKind(problem=problem), log, saved
        )
        self._shadowed: set[str] = set()
        self._contradicted: dict[str, str] = {}  # entries of the catalogue that ask too much of their model, and how
        self._told: dict[str, object] = {}

    def models(self) -> Sequence[ModelInfo]:
        """Return every model that is known: those of the catalogue in its order, then folders, then single files."""
        catalogue = self._kept.now()
        loras = list(self._lora_infos(catalogue))
        found = [self._with_loras(info, catalogue, loras) for info in self._model_infos(catalogue)]
        self._tell_contradictions(found, catalogue)
        there = sum(info.unavailable is None for info in found)
        self._told = {"known": len(found), "available": there}
        return found

    def loras(self) -> Sequence[LoraInfo]:
        """Return every LoRA that is known: those of the catalogue in its order, then the files beside it."""
        return list(self._lora_infos(self._kept.now()))

    def lora_file(self, name: str) -> Path | None:
        """Return the file of a LoRA by its id, or its folder; None where there is none that could be read."""
        entry = next((entry for entry in self._kept.now().lora if entry.id == name), None)
        found = self._loras.look().get(name if entry is None else Path(entry.place).stem)
        return None if found is None or found.kind.problem else self._root / ADAPTERS / found.file

    def facts(self) -> Mapping[str, object]:
        """Return what the last look found, without looking: models, and what is wrong with the catalogue."""
        problems = [*self._kept.problems, *self._contradicted.values()]
        return {**self._told, "catalog": problems or "ok"}

    def _model_infos(self, catalogue: Catalogue) -> Iterator[ModelInfo]:
        folders = {info.id: info for info in self._folders.infos()}
        broken = dict(self._folders.broken())
        files = dict(self._checkpoints.look())
        for entry in catalogue.model:
            if entry.kind == "diffusers":
                yield _of_folder(entry, folders.pop(entry.id, None), broken.pop(entry.id, None))
            else:
                vae = next((part for part in catalogue.part if part.id == entry.vae), None)
                yield _of_checkpoint(entry, files.pop(entry.id, None), self._root, vae)
        named = {entry.id for entry in catalogue.model}
        for info in folders.values():
            if not self._is_shadowed(named, info.id, f"{info.id}/"):
                yield info
        for name, problem in broken.items():
            if not self._is_shadowed(named, name, f"{name}/"):
                yield _bare(name, "diffusers", words.unusable(problem))
        for name, found in files.items():
            if not self._is_shadowed(named | set(folders) | set(broken), name, f"{CHECKPOINTS}/{found.file}"):
                yield told_of_file(_bare(name, "checkpoint", None), found, self._root)

    def _is_shadowed(self, named: set[str], name: str, place: str) -> bool:
        """Return whether something else has this id already; told once."""
        if name not in named:
            return False
        if place not in self._shadowed:
            self._shadowed.add(place)
            self._log.warning("model left out: another one has its id", id=name, place=place)
        return True

    def _tell_contradictions(self, found: Sequence[ModelInfo], catalogue: Catalogue) -> None:
        """Log once which entries ask for more steps than their scheduler takes, also of models that are not here."""
        said = {entry.id: entry.defaults for entry in catalogue.model}
        problems = {info.id: too_many_steps(info, said[info.id]) for info in found if info.id in said}
        now = {name: f"{CATALOGUE}: model {name}: {problem}" for name, problem in problems.items() if problem}
        for name, problem in now.items():
            if self._contradicted.get(name) != problem:
                self._log.warning("an entry of the catalogue cannot be used", problem=problem)
        self._contradicted = now

    def _lora_infos(self, catalogue: Catalogue) -> Iterator[LoraInfo]:
        files = dict(self._loras.look())
        stems = {Path(entry.place).stem for entry in catalogue.lora}
        for entry in catalogue.lora:
            yield _of_lora(entry, files.get(Path(entry.place).stem))
        named = {entry.id for entry in catalogue.lora}
        for name, found in files.items():
            if name not in stems and not self._is_shadowed(named, name, f"{ADAPTERS}/{found.file}"):
                kind = found.kind
                yield LoraInfo(
                    name, name, base=kind.base, network=kind.network, unavailable=_why_not_applied(kind, kind.base)
                )

    @staticmethod
    def _with_loras(info: ModelInfo, catalogue: Catalogue, loras: Sequence[LoraInfo]) -> ModelInfo:
        """Return a model with the LoRAs that the catalogue gives it, and the others that only lie there.

        Of both those that are not known to be made for another base: where nobody knows, the engine finds out whether
        anything fits.
        """
        said = next((entry.loras for entry in catalogue.model if entry.id == info.id), ())
        listed = {entry.id for entry in catalogue.lora}
        other = {lora.id for lora in loras if UNKNOWN not in (lora.base, info.base) and lora.base != info.base}
        free = (lora.id for lora in loras if lora.id not in listed and lora.network != UNKNOWN)
        return replace(info, supported_loras=tuple(name for name in (*said, *free) if name not in other))


def _of_folder(entry: ModelEntry, info: ModelInfo | None, problem: str | None) -> ModelInfo:
    if info is None:
        why = words.MISSING if problem is None else words.unusable(problem)
        return _filled(_bare(entry.id, entry.kind, why), entry, words.how_to_get(entry))
    return _filled(info, entry)


def _of_checkpoint(
    entry: ModelEntry, found: Dropped[CheckpointKind] | None, root: Path, vae: PartEntry | None
) -> ModelInfo:
    if found is None:
        return _filled(_bare(entry.id, entry.kind, words.MISSING), entry, words.how_to_get(entry))
    info = told_of_file(_bare(entry.id, entry.kind, None), found, root, vae)
    if UNKNOWN not in (entry.base, info.base) and entry.base != info.base:
        return replace(_filled(info, entry), unavailable=words.bases_differ(entry.base, info.base))
    return _filled(info, entry, info.how)


def _of_lora(entry: LoraEntry, found: Dropped[NetworkKind] | None) -> LoraInfo:
    info = LoraInfo(
        entry.id,
        entry.name,
        entry.default_weight,
        entry.trigger_words,
        entry.base,
        licence=entry.licence,
        pinned=entry.source.is_pinned,
    )
    if found is None:
        return replace(info, unavailable=words.MISSING, how=words.how_to_get(entry))
    kind = found.kind
    base = kind.base if kind.base != UNKNOWN else entry.base
    return replace(info, network=kind.network, base=base, unavailable=_why_not_applied(kind, entry.base))


def _why_not_applied(kind: NetworkKind, said: str) -> Text | None:
    if kind.problem:
        return words.unusable(kind.problem)
    if UNKNOWN not in (said, kind.base) and said != kind.base:
        return words.bases_differ(said, kind.base)
    return None if kind.network in APPLIED_NETWORKS else words.not_applied(kind.network)


def _bare(name: str, kind: str, why: Text | None) -> ModelInfo:
    """Return a model of which nothing but its name is known."""
    steps, guidance = USUAL_PACE
    return ModelInfo(name, name, USUAL_SIDE, USUAL_SIDE, steps, guidance, kind=kind, unavailable=why)


def _filled(info: ModelInfo, entry: ModelEntry, how: Text | None = None) -> ModelInfo:
    """Return a model with what the catalogue says of it; where it says nothing, what was found stays."""
    said: Defaults = entry.defaults
    if info.clip_layers is not None and (said.clip_skip or 0) > info.clip_layers:
        problem = f"the catalogue's clip_skip is {said.clip_skip}; this model takes {info.clip_layers} at most"
        info = replace(info, unavailable=words.unusable(problem))
    if info.schedulers is not None and said.scheduler not in (None, *info.schedulers):
        problem = f"the catalogue's scheduler {said.scheduler} would draw something else than this model"
        info = replace(info, unavailable=words.unusable(problem))
    filled = replace(
        info,
        name=entry.name,
        base=info.base if info.base != UNKNOWN else entry.base,
        licence=entry.licence or info.licence,
        pinned=entry.source.is_pinned,
        width=said.width or info.width,
        height=said.height or info.height,
        steps=info.steps if said.steps is None else said.steps,
        guidance_scale=info.guidance_scale if said.guidance_scale is None else said.guidance_scale,
        scheduler=said.scheduler,
        clip_skip=said.clip_skip,
        prompt_prefix=said.prompt_prefix,
        negative_prefix=said.negative_prefix,
        how=how,
    )
    steps_problem = too_many_steps(filled, said)
    if steps_problem is None or filled.unavailable is not None:
        return filled
    return replace(filled, unavailable=words.unusable(f"the catalogue says of {entry.id}: {steps_problem}"))


def too_many_steps(model: ModelInfo, said: Defaults) -> str | None:
    """Return why what an entry says gives a model more steps than its scheduler takes; None where it does not.

    Of a model that is not here its own limit is not known, and the usual one of distilled models is taken.
    """
    most = dict(model.most_steps or most_steps({})).get(model.scheduler)
    if most is None or model.steps <= most or (said.steps, said.scheduler) == (None, None):
        return None
    field = "scheduler" if said.steps is None else "steps"
    return f"defaults.{field}: {model.steps} steps, at most {most} with {model.scheduler or 'its own scheduler'}"
