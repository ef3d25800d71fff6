"""The single files of one folder of models/: each told by its header, read again only when it changes."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from minimon_server.catalog.header import Header, NotSafetensors, read_header
from minimon_server.catalog.kept import Stamp, stamp_of
from minimon_server.logs import Logger

Kind = TypeVar("Kind")

MOST_FILES: Final = 1000
PICKLES: Final = frozenset({".ckpt", ".pt", ".pth", ".bin"})
REFUSED: Final = "a {ending} file is a pickle, which could run anything when it is read: safetensors only"
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")


@dataclass(frozen=True, slots=True)
class Dropped(Generic[Kind]):
    """One file: its name and what it is."""

    file: str
    kind: Kind


class DroppedFiles(Generic[Kind]):
    """A folder whose files appear by themselves, each with its stem for an id."""

    def __init__(
        self, folder: Path, judge: Callable[[Header], Kind], refuse: Callable[[str], Kind], log: Logger
    ) -> None:
        """`judge` says what a header is, `refuse` makes what stands for a file that is not read, with the reason."""
        self._folder = folder
        self._judge = judge
        self._refuse = refuse
        self._log = log
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[Stamp | None, Dropped[Kind]]] = {}
        self._problems: set[str] = set()

    def look(self) -> Mapping[str, Dropped[Kind]]:
        """Return what lies there by its id, in the order of the names."""
        with self._lock:
            problems: set[str] = set()
            seen: dict[str, tuple[Stamp | None, Dropped[Kind]]] = {}
            for path in self._files(problems):
                stamp = stamp_of(path)
                known = self._seen.get(path.name)
                seen[path.name] = known if known and known[0] == stamp else (stamp, self._read(path))
            self._seen = seen
            for problem in sorted(problems - self._problems):
                self._log.warning("files of models are left out", folder=self._folder.name, problem=problem)
            self._problems = problems
            found: dict[str, Dropped[Kind]] = {}
            for name, (_, one) in seen.items():
                found.setdefault(Path(name).stem, one)
            return found

    def _files(self, problems: set[str]) -> Iterator[Path]:
        """Yield the files that are or claim to be weights; of two with one stem the one that can be read first."""
        try:
            with os.scandir(self._folder) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except FileNotFoundError:
            return
        except OSError as error:
            problems.add(f"the folder cannot be listed: {(error.strerror or 'error').lower()}")
            return
        weights = [name for name in names if Path(name).suffix.lower() in {".safetensors", *PICKLES}]
        if len(weights) > MOST_FILES:
            problems.add(f"there are {len(weights)} files; the first {MOST_FILES} are told")
        for name in sorted(weights[:MOST_FILES], key=lambda name: (Path(name).suffix.lower() in PICKLES, name)):
            if _NAME.fullmatch(Path(name).stem):
                yield self._folder / name
            else:
                problems.add(f"{name[:128]!a} has a name that cannot be an id")

    def _read(self, path: Path) -> Dropped[Kind]:
        ending = path.suffix.lower()
        try:
            if ending in PICKLES:
                raise NotSafetensors(REFUSED.format(ending=ending))
            return Dropped(path.name, self._judge(read_header(path)))
        except NotSafetensors as error:
            problem = str(error)
        except OSError as error:
            problem = f"it cannot be read ({(error.strerror or type(error).__name__).lower()})"
        self._log.warning("model file cannot be used", file=f"{self._folder.name}/{path.name}", reason=problem)
        return Dropped(path.name, self._refuse(problem))
