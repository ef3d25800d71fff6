"""Finished creatures on the disk, one file each, every one of them taken at most once. Decides nothing about them.

A creature is taken by removing its file, and given out only when that removal is on the disk: whatever dies, and
whenever, nobody gets it twice. What was taken and not given out is lost, which is what a creature is cheap enough for.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from minimon_server.creatures.drawn import Finished, MaybeKept
from minimon_server.creatures.hatchery import Creature
from minimon_server.creatures.rarity import RARITIES, Rarity
from minimon_server.disk import make_folder, remove, sync_folder, write_whole
from minimon_server.engines.files import Picture, png_size
from minimon_server.logs import Logger

SCHEMA: Final = 1
LARGEST: Final = 64 * 1024 * 1024  # bytes of one file
LONGEST_HEADER: Final = 4096
_NAME: Final = re.compile(r"([0-7])-(mnm_[0-9a-f]{24})\.creature")


class StockFiles:
    """One folder. Every method may wait for its disk; one call at a time."""

    def __init__(self, folder: Path, maker: Callable[[], str], log: Logger) -> None:
        """`maker` tells what draws creatures now; it may wait for a disk. Those of another one are thrown away."""
        self._folder = folder
        self._told_maker = maker
        self._maker = ""
        self._log = log
        self.discarded = 0

    def open(self) -> dict[Rarity, list[str]]:
        """Return the names of the creatures that are there, by rarity, the oldest first; remove what is none."""
        make_folder(self._folder)
        found, strange = self.look()
        if strange:
            self._log.info("creatures of another model, or half written, leave the stock", creatures=len(strange))
            self.discarded += len(self._remove(strange))
        return found

    def look(self) -> tuple[dict[Rarity, list[str]], list[str]]:
        """Return the names of the creatures that are there, as `open` does, and of what it removes; change nothing."""
        self._maker = self._told_maker()
        found: dict[Rarity, list[str]] = {rarity: [] for rarity in RARITIES}
        strange: list[str] = []
        for path in sorted(self._folder.iterdir(), key=lambda path: (path.lstat().st_mtime_ns, path.name)):
            name = _NAME.fullmatch(path.name)
            if name is None:
                if path.name.endswith(".creature.new"):  # of a writer that was killed
                    strange.append(path.name)
                continue
            if self._is_of_maker(path):
                found[RARITIES[int(name[1])]].append(path.name)
            else:
                strange.append(path.name)
        return found, strange

    def put(self, one: Finished) -> str:
        """Keep a creature that nobody has, down to the disk, and return its name.

        Raise `OSError` where it surely does not lie there, `MaybeKept` where nobody knows.
        """
        creature = one.creature
        header = {
            "schema": SCHEMA,
            "maker": self._maker,
            "id": creature.id,
            "name": creature.name,
            "rarity": creature.rarity,
            "renamed": one.renamed,
            "sha256": sha256(creature.picture.png).hexdigest(),
        }
        name = f"{RARITIES.index(creature.rarity)}-{creature.id}.creature"
        path = self._folder / name
        try:
            write_whole(path, json.dumps(header).encode("ascii") + b"\n" + creature.picture.png)
        except OSError as error:
            # It may have its name, and only the folder's sync have failed: then the next start would find it.
            try:
                remove(path)
            except OSError:
                raise MaybeKept(error.errno, error.strerror) from error
            raise
        return name

    def take(self, names: Sequence[str]) -> list[Finished]:
        """Take creatures for good: when this returns, no crash and no other process brings them back.

        One that is missing or damaged is left out, and told in the log.
        """
        read = [(name, self._read(self._folder / name)) for name in names]
        taken = set(self._remove(names))
        return [one for name, one in read if one is not None and name in taken]

    def _remove(self, names: Iterable[str]) -> list[str]:
        """Remove files down to the disk; return those that we have removed, and not somebody else."""
        removed = []
        for name in names:
            try:
                (self._folder / name).unlink()
            except FileNotFoundError:
                self._log.warning("a creature of the stock was taken by somebody else", file=name)
            else:
                removed.append(name)
        sync_folder(self._folder)
        return removed

    def _is_of_maker(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                header = json.loads(file.readline(LONGEST_HEADER))
        except (OSError, ValueError):
            return False
        return isinstance(header, dict) and (header.get("schema"), header.get("maker")) == (SCHEMA, self._maker)

    def _read(self, path: Path) -> Finished | None:
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
            head, _, png = data.partition(b"\n")
            header = json.loads(head)
            if len(data) > LARGEST or header["sha256"] != sha256(png).hexdigest():
                raise ValueError("its bytes are not those that were written")
            picture = Picture(*png_size(png), png)
            creature = Creature(str(header["id"]), str(header["name"]), Rarity(header["rarity"]), picture)
            return Finished(creature, base64.b64encode(png), bool(header["renamed"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._log.warning("a creature of the stock is damaged or gone", file=path.name, reason=str(error))
            return None
