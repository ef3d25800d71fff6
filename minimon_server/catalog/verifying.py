"""`download_models.py --verify`: what is on the disk, compared with its note or with the catalogue. Fetches nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from minimon_server.catalog.entries import Catalogue, LoraEntry, ModelEntry, Source
from minimon_server.catalog.fetching import hash_of
from minimon_server.catalog.header import NotSafetensors, read_header
from minimon_server.catalog.plans import Item, Kind, items_of, lies_at
from minimon_server.catalog.receipts import Receipt, added, differences, read_receipt
from minimon_server.catalog.unlisted import unlisted
from minimon_server.catalog.words import how_to_get

NOBODY_SAYS: Final = Source()


@dataclass(frozen=True, slots=True)
class Subject:
    """What can be verified: where it lies inside the folder of models, and what the catalogue says of it.

    `told` says what it is where the catalogue does not know it, `how` what would bring it here.
    """

    kind: Kind
    id: str
    place: str
    is_folder: bool
    source: Source = NOBODY_SAYS
    how: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one subject; `text` is for people."""

    of: Literal["sound", "wrong", "not verified", "not there"]
    text: str


def subjects_of(catalogue: Catalogue, root: Path) -> dict[tuple[str, str], Subject]:
    """Return what can be verified by kind and id: the catalogue's entries, then what only lies there.

    Raise `OSError` for a folder that cannot be listed.
    """
    found = [_catalogued(item, root) for item in items_of(catalogue)]
    for one in unlisted(root, catalogue):
        is_folder = (root / one.place).is_dir()
        found.append(Subject(one.kind, one.id, one.place, is_folder, told=f"{one.told}, in no catalogue; "))
    return {(one.kind, one.id): one for one in found}


def _catalogued(item: Item, root: Path) -> Subject:
    entry, place = item.entry, lies_at(item, root)
    single = isinstance(entry, LoraEntry) or (isinstance(entry, ModelEntry) and entry.kind == "checkpoint")
    single = single and place == entry.place
    return Subject(item.kind, entry.id, place, not single, entry.source, how_to_get(entry).en)


def verify(subjects: Iterable[Subject], root: Path, say: Callable[[str], None], *, named: bool) -> int:
    """Read every byte of what is there and say what came of each; return the exit status.

    It is 1 when something differs, and for what was `named` also when it is not there or nothing tells what it should
    be: 0 then says that all that was named is sound. What nobody named and is not there is passed over.
    """
    failing = {"wrong", "not verified", "not there"} if named else {"wrong"}
    status, was_there = 0, False
    for subject in subjects:
        verdict = _judged(subject, root)
        status = 1 if verdict.of in failing else status
        was_there = was_there or verdict.of != "not there"
        if named or verdict.of != "not there":
            say(f"{subject.kind} {subject.id}: {verdict.text}{_read_with(subject, root)}")
    if not (named or was_there):
        say("Nothing is there to verify.")
    return status


def _read_with(subject: Subject, root: Path) -> str:
    """Return what is said of a folder beside a model's single file: its members count instead of the file's."""
    beside = subject.place.removesuffix(".safetensors")
    if subject.kind != "model" or subject.is_folder or not (root / beside).is_dir():
        return ""
    return f"; read with it, and not verified: models/{beside}/"


def _judged(subject: Subject, root: Path) -> Verdict:
    target = root / subject.place
    if not target.exists():
        if os.path.lexists(target):
            return Verdict("wrong", f"models/{subject.place} is a link that leads nowhere")
        return Verdict("not there", f"not there: {subject.how}")
    if target.is_dir() != subject.is_folder or not (target.is_dir() or target.is_file()):
        due = "folder" if subject.is_folder else "file"
        return Verdict("wrong", f"{subject.told}models/{subject.place} is no {due}")
    receipt = read_receipt(target)
    if receipt is not None:
        return _beside_note(subject, target, receipt)
    if subject.is_folder:
        why = "a folder without a note of what was fetched, and nothing else here says what its files should be"
        return Verdict("not verified", f"{subject.told}not verified: {why}")
    try:
        return _beside_catalogue(subject, target)
    except OSError as error:
        return Verdict("wrong", f"{subject.told}cannot be read ({(error.strerror or 'error').lower()})")


def _beside_note(subject: Subject, target: Path, receipt: Receipt) -> Verdict:
    wrong, pinned = differences(target, receipt), subject.source.sha256.lower()
    others: list[str] = []
    try:
        read, others = added(target, receipt)
        wrong += [f"{name} was not fetched, and is read with what was" for name in read]
    except OSError as error:
        wrong.append(f"the folder cannot be listed ({(error.strerror or 'error').lower()})")
    if pinned and any(one.sha256 != pinned for one in receipt.files.values()):
        wrong.append("the catalogue now wants another SHA-256")
    told = f"{subject.told}{'; '.join(wrong) if wrong else 'as it was fetched'} ({receipt.source})"
    told += f"; not fetched, and not read: {', '.join(others)}" if others else ""
    return Verdict("wrong" if wrong else "sound", told)


def _beside_catalogue(subject: Subject, target: Path) -> Verdict:
    """Judge a file that this command did not bring: by the catalogue's hash, or else as far as it can be."""
    found, wanted, size = hash_of(target), subject.source.sha256.lower(), subject.source.size_bytes
    wrong = []
    if wanted and found.sha256 != wanted:
        wrong.append(f"its SHA-256 is {found.sha256}, and the catalogue says {wanted}")
    if size and found.size != size:
        wrong.append(f"it has {found.size} bytes, and the catalogue says {size}")
    if not wanted and target.suffix.lower() == ".safetensors":
        try:
            read_header(target)
        except NotSafetensors as error:
            wrong.append(str(error))
    if wrong:
        return Verdict("wrong", f"{subject.told}{'; '.join(wrong)}")
    if wanted:
        return Verdict("sound", f"as the catalogue says (SHA-256 {wanted}), and not brought by this command")
    why = "no note of what was fetched" if subject.told else "no note of what was fetched, no SHA-256 in the catalogue"
    return Verdict("not verified", f"{subject.told}not verified: {why}; its SHA-256 is {found.sha256}")
