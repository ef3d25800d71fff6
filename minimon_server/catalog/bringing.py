"""One item from its plan onto the disk: one process at a time, whole or not at all, with a note beside it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from minimon_server.catalog.asking import Refused
from minimon_server.catalog.fetching import MARGIN, Fetched, Fetcher, NoRoom, hash_of
from minimon_server.catalog.plans import Item, Plan
from minimon_server.catalog.receipts import Receipt, is_whole, place_of, read_receipt, write_receipt
from minimon_server.catalog.replacing import also_at, clear_of_others, fits_beside, keep, own_files, take_place
from minimon_server.disk import make_folder, sync_folder

WORKSHOP: Final = ".downloads"  # beside the models, so that a rename is enough; no model is looked for in it
KEPT: Final = "kept"  # inside it: what people changed of what was fetched, and what else had no place any more
_FORMER: Final = "former"

Outcome = Literal["fetched", "already there", "there, not by this command"]


class Bringer:
    """Puts items into one folder of models."""

    def __init__(
        self, root: Path, fetcher: Fetcher, tell: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        """`tell` gets lines for people; `clock` gives seconds since 1970."""
        self._root = root
        self._fetcher = fetcher
        self._tell = tell
        self._clock = clock

    @contextmanager
    def alone(self, item: Item) -> Iterator[None]:
        """Let nobody else fetch this item meanwhile; whoever comes second waits, and finds it there then."""
        make_folder(self._root / WORKSHOP)
        path = self._root / WORKSHOP / f"{item.kind}-{item.entry.id}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._tell(f"{item.name}: another process fetches it; waiting for that one")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def bring(self, plan: Plan) -> Outcome:
        """Fetch what is missing; raise `Refused`. Called within `alone`."""
        self._put_back(plan)
        if outcome := self._standing(plan):
            if outcome == "already there":
                self._clear(plan)
            return outcome
        if plan.is_folder:
            self._bring_folder(plan)
        else:
            ((name, wanted),) = plan.files.items()
            self._check_room(plan, plan.target.parent)
            receipt = read_receipt(plan.target) if os.path.lexists(plan.target) else None
            if receipt and plan.target.is_file() and hash_of(plan.target) not in receipt.files.values():
                self._keep(plan, plan.target, name)
            fetched = self._fetcher.fetch(wanted, plan.target)
            self._note(plan, plan.target, {name: fetched})
        return "fetched"

    def _standing(self, plan: Plan) -> Outcome | None:
        """Return what is to be said where nothing is to be done."""
        if not os.path.lexists(plan.target):
            return None
        receipt = read_receipt(plan.target)
        if receipt is not None:
            agreed = all(
                (had := receipt.files.get(name))
                and wanted.sha256 in (None, had.sha256)
                and wanted.size in (None, had.size)
                for name, wanted in plan.files.items()
            )
            if agreed and receipt.source == plan.source and is_whole(plan.target, receipt):
                return "already there"
            if plan.is_folder and plan.target.is_symlink():
                raise Refused(
                    f"{plan.item.name}: {plan.target.name} is a link to another revision, or to a damaged one; "
                    "move the link away first"
                )
            self._tell(f"{plan.item.name}: what is there is another revision, or damaged; fetching it anew")
            return None
        known = next(iter(plan.files.values())).sha256
        if plan.is_folder or known is None:
            return "there, not by this command"
        self._tell(f"{plan.item.name}: comparing the file that is there")
        found = hash_of(plan.target)
        if found.sha256 != known:
            raise Refused(
                f"{plan.item.name}: {plan.target.name} is there and is another file (SHA-256 {found.sha256}, "
                f"not {known}); move it away first"
            )
        self._note(plan, plan.target, {plan.target.name: found})
        return "already there"

    def _bring_folder(self, plan: Plan) -> None:
        """Fetch into a folder of the workshop, and give it its name when all of it is there."""
        workshop = self._root / WORKSHOP
        half = workshop / f"{plan.item.kind}-{plan.item.entry.id}@{plan.mark}"
        make_folder(half)
        clear_of_others(half, plan.files)  # what is there may be the folder that an earlier one took the place of
        self._check_room(plan, half)
        fetched = {}
        for name, wanted in plan.files.items():
            path = half / name
            # What has its name was checked when it got it; here it is only hashed again, for the note.
            there = hash_of(path) if path.is_file() else None
            agrees = there and wanted.size in (None, there.size) and wanted.sha256 in (None, there.sha256)
            fetched[name] = there if there and agrees else self._fetcher.fetch(wanted, path)
        self._note(plan, half, fetched)
        make_folder(plan.target.parent)
        if os.path.lexists(plan.target):
            self._save_own(plan, half)
            if not take_place(half, plan.target, self._former(plan)):
                self._tell(f"{plan.item.name}: it was not there for a moment: this system cannot exchange two folders")
        else:
            half.replace(plan.target)
            sync_folder(plan.target.parent)
        self._clear(plan)

    def _save_own(self, plan: Plan, half: Path) -> None:
        """Let what the former folder has that was not fetched lie in the new one too, or where it is kept."""
        receipt = read_receipt(plan.target)
        if receipt is None:
            raise Refused(f"{plan.item.name}: {plan.target.name} lost its note meanwhile; move it away first")
        carried = []
        for name, is_changed in own_files(plan.target, receipt):
            if is_changed or not fits_beside(name, plan.files):
                self._keep(plan, plan.target / name, name)
            else:
                also_at(plan.target / name, half / name)
                carried.append(name)
        if carried:
            self._tell(f"{plan.item.name}: stays, not being of this command: {', '.join(carried)}")

    def _keep(self, plan: Plan, path: Path, name: str) -> None:
        place = keep(path, self._root / WORKSHOP / KEPT / f"{plan.item.kind}-{plan.item.entry.id}", name)
        self._tell(f"{plan.item.name}: {name} is not what was fetched; it is kept as {place}")

    def _former(self, plan: Plan) -> Path:
        return self._root / WORKSHOP / f"{plan.item.kind}-{plan.item.entry.id}@{_FORMER}"

    def _put_back(self, plan: Plan) -> None:
        """Give a folder its name again where the end came between the renames."""
        former = self._former(plan)
        if not plan.is_folder or not former.is_dir():
            return
        if os.path.lexists(plan.target):  # the end came after the second rename, when all of it was saved
            if read_receipt(plan.target) is not None:
                shutil.rmtree(former)
        else:
            make_folder(plan.target.parent)
            former.replace(plan.target)
            sync_folder(plan.target.parent)
            self._tell(f"{plan.item.name}: put back what an interrupted replacement had taken away")

    def _clear(self, plan: Plan) -> None:
        """Remove what the workshop has of a folder that is there: all of it that is anybody's own was saved before."""
        for old in (self._root / WORKSHOP).glob(f"{plan.item.kind}-{plan.item.entry.id}@*"):
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)

    def _check_room(self, plan: Plan, folder: Path) -> None:
        """Raise `NoRoom` when what is missing does not fit, as far as sizes are known."""
        make_folder(folder)
        missing = 0
        for name, wanted in plan.files.items():
            path = folder / name
            there = next((one for one in (path, path.with_name(f"{path.name}.part")) if one.is_file()), None)
            missing += max(0, (wanted.size or 0) - (there.stat().st_size if there else 0))
        free = shutil.disk_usage(folder).free
        if missing and missing + MARGIN > free:
            raise NoRoom(f"{plan.item.name}: {missing} bytes are missing, and the disk has room for {free}")

    def _note(self, plan: Plan, target: Path, files: dict[str, Fetched]) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        write_receipt(place_of(target), Receipt(plan.source, files, moment))
