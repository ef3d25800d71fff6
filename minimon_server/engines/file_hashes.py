"""SHA-256 of files and of parts of them, each computed once as long as the file's path, inode, size and times stay.

Judges nothing.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

from minimon_server.engines.file_stamps import Stamp, stamp_or_missing, sure_stamp_of
from minimon_server.engines.kept_hashes import KeptHashes
from minimon_server.logs import Logger

SHORT: Final = 10  # hexadecimal digits: what A1111 and Civitai know a file by ("AutoV2")


class FileHashes:
    """For every thread. Whoever asks for a hash that somebody computes already waits for that one."""

    def __init__(self, log: Logger, kept: KeptHashes | None = None) -> None:
        """`kept` are the hashes on the disk, for the next start; without it they are known to this process alone."""
        self._log = log
        self._kept = kept
        self._lock = threading.Lock()
        self._known: dict[tuple[Path, str], tuple[Stamp, str]] = {}
        self._busy: dict[tuple[Path, str], threading.Lock] = {}

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file in lower-case hex, read whole if it is new; raise `OSError`."""
        return self.of_part(path, "", lambda: _digest_of(path))

    def of_part(self, path: Path, part: str, digest: Callable[[], str]) -> str:
        """Return the SHA-256 of what `part` names of a file, by `digest` if it is new; raise `OSError` as that does.

        What `part` names must follow from the file's bytes alone; "" is the whole file.
        """
        with self._lock:
            busy = self._busy.setdefault((path, part), threading.Lock())
        with busy:
            stamp = sure_stamp_of(path)
            known = self._known.get((path, part))
            if known is not None and known[0] == stamp:
                return known[1]
            kept = self._kept.find(path, stamp, part) if self._kept else None
            if kept is not None:
                self._known[path, part] = stamp, kept
                return kept
            found = digest()
            if sure_stamp_of(path) == stamp:  # else somebody writes it, and the next one reads it again
                self._known[path, part] = stamp, found
                if self._kept:
                    self._kept.keep(path, stamp, found, part)
            return found

    def of_part_of_several(self, paths: Sequence[Path], part: str, digest: Callable[[], str]) -> str:
        """The same of what lies in several files, known as long as none of them changes; raise `OSError` if one does.

        It is kept with the file that changed last: when that one's times are long past, so are the others'.
        """
        states = {path: sure_stamp_of(path) for path in paths}
        latest = max(paths, key=lambda path: max(states[path][-2:]))
        others = [(str(path.absolute()), states[path]) for path in sorted(states) if path != latest]

        def of_one_state() -> str:
            found = digest()
            if any(sure_stamp_of(path) != state for path, state in states.items()):
                raise OSError(errno.ESTALE, "changed while it was read")
            return found

        beside = f" beside {sha256(repr(others).encode()).hexdigest()}" if others else ""
        return self.of_part(latest, part + beside, of_one_state)

    def of_all(self, paths: Iterable[Path]) -> str | None:
        """Return the hash of one file, or that of `of_several`; None where there is none.

        A file that cannot be read is told in the log, and nothing is returned.
        """
        found = set(paths)
        try:
            return self.of_several(found) if found else None
        except OSError as error:
            self._log.warning("file has no hash", reason=(error.strerror or type(error).__name__).lower())
            return None

    def of_several(self, paths: Iterable[Path]) -> str:
        """Return the hash of one file, or one over the names and hashes of several; raise `OSError`.

        The latter is the SHA-256 of a line `<sha256>  <folder>/<name>` a file, sorted: as `sha256sum` writes
        them. Files that all lie in one folder go without its name: that is whatever somebody calls it, and no content.
        """
        found = sorted(set(paths))
        if len(found) == 1:
            return self.of(found[0])
        is_one = len({path.parent for path in found}) == 1
        lines = [f"{self.of(path)}  {path.name if is_one else f'{path.parent.name}/{path.name}'}\n" for path in found]
        return sha256("".join(lines).encode()).hexdigest()

    def of_loaded(self, paths: Iterable[Path], stamps: Mapping[Path, Stamp]) -> str | None:
        """Return `of_all` of files that were loaded; None, and a line in the log, where one is not what it was then.

        `stamps` are those of `file_stamps.stamp_of` as they were loaded.
        """
        found = sorted(set(paths))
        if self._are_still(found, stamps):  # else another is not even read
            digest = self.of_all(found)
            if self._are_still(found, stamps):
                return digest
        return None

    def begin(self, parts: Mapping[str, Sequence[Path]], stamps: Mapping[Path, Stamp]) -> Hashing:
        """Compute `of_loaded` of each part's files on a thread of its own, while whoever asked goes on."""
        return Hashing(self, parts, stamps)

    def _are_still(self, paths: Sequence[Path], stamps: Mapping[Path, Stamp]) -> bool:
        for path in paths:
            if stamp_or_missing(path) != stamps.get(path):
                self._log.warning("file has no hash", file=path.name, reason="it changed after it was loaded")
                return False
        return True


class Hashing:
    """What is being computed: the hash of each part, see `FileHashes.of_loaded`."""

    def __init__(self, hashes: FileHashes, parts: Mapping[str, Sequence[Path]], stamps: Mapping[Path, Stamp]) -> None:
        self._found: dict[str, str | None] = dict.fromkeys(parts)
        self._done = threading.Event()

        def compute() -> None:
            try:
                for part, paths in parts.items():
                    self._found[part] = hashes.of_loaded(paths, stamps)
            finally:
                self._done.set()

        # Nobody waits for it at the end of the process: the disk may be silent.
        threading.Thread(target=compute, name="hashes", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Return whether all is known, after waiting for so long at the most."""
        return self._done.wait(seconds)

    @property
    def found(self) -> Mapping[str, str | None]:
        """What is known now."""
        return self._found


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
