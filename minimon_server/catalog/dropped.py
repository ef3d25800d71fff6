"""The single files of one folder of models/, and folders that are one thing each: told, read again when they change."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """One file, or one folder: its name and what it is."""

    file: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Whole(Generic[Kind]):
    """Folders that are one thing each: `has` tells them, `files` are those that count, `judge` says what one is.

    `judge` raises `NotSafetensors` or `OSError` for one that cannot be used.
    """

    has: Callable[[Path], bool]
    files: Callable[[Path], Sequence[Path]]
    judge: Callable[[Path], Kind]


class DroppedFiles(Generic[Kind]):
    """A folder whose files appear by themselves, each with its stem for an id, a folder with its name."""

    def __init__(
        self,
        folder: Path,
        judge: Callable[[Header], Kind],
        refuse: Callable[[str], Kind],
        log: Logger,
        whole: Whole[Kind] | None = None,
    ) -> None:
        """`judge` says what a header is, `refuse` makes what stands for a file that is not read, with the reason."""
        self._whole = whole
        self._folder = folder
        self._judge = judge
        self._refuse = refuse
        self._log = log
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[list[Stamp | None], Dropped[Kind]]] = {}
        self._problems: set[str] = set()

    def look(self) -> Mapping[str, Dropped[Kind]]:
        """Return what lies there by its id, in the order of the names: files, then folders."""
        with self._lock:
            problems: set[str] = set()
            seen: dict[str, tuple[list[Stamp | None], Dropped[Kind]]] = {}
            ids: dict[str, str] = {}
            for path, is_whole in self._files(problems):
                stamps = [stamp_of(one) for one in (self._whole.files(path) if self._whole and is_whole else [path])]
                known = self._seen.get(path.name)
                seen[path.name] = known if known and known[0] == stamps else (stamps, self._read(path, is_whole))
                ids[path.name] = path.name if is_whole else path.stem
            self._seen = seen
            for problem in sorted(problems - self._problems):
                self._log.warning("files of models are left out", folder=self._folder.name, problem=problem)
            self._problems = problems
            found: dict[str, Dropped[Kind]] = {}
            for name, (_, one) in seen.items():
                found.setdefault(ids[name], one)
            return found

    def _files(self, problems: set[str]) -> Iterator[tuple[Path, bool]]:
        """Yield the files that are or claim to be weights; of two with one stem the one that can be read first.

        Then folders, where they are one thing each, with True.
        """
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
                yield self._folder / name, False
            else:
                problems.add(f"{name[:128]!a} has a name that cannot be an id")
        others = sorted(set(names) - set(weights)) if self._whole else []
        whole = [name for name in others if self._whole and self._whole.has(self._folder / name)]
        if len(whole) > MOST_FILES:
            problems.add(f"there are {len(whole)} folders; the first {MOST_FILES} are told")
        taken = {Path(name).stem for name in weights}
        for name in whole[:MOST_FILES]:
            if name in taken:
                problems.add(f"{name!a} is left out: a file has its id")
            elif _NAME.fullmatch(name):
                yield self._folder / name, True
            else:
                problems.add(f"{name[:128]!a} has a name that cannot be an id")

    def _read(self, path: Path, is_whole: bool) -> Dropped[Kind]:
        ending = path.suffix.lower()
        try:
            if is_whole and self._whole:
                return Dropped(path.name, self._whole.judge(path))
            if ending in PICKLES:
                raise NotSafetensors(REFUSED.format(ending=ending))
            return Dropped(path.name, self._judge(read_header(path)))
        except NotSafetensors as error:
            problem = str(error)
        except OSError as error:
            problem = f"it cannot be read ({(error.strerror or type(error).__name__).lower()})"
        self._log.warning("model file cannot be used", file=f"{self._folder.name}/{path.name}", reason=problem)
        return Dropped(path.name, self._refuse(problem))
