"""One file from an address into its place: continued after a cut, checked, and only then given its name."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

import httpx2
import orjson

from minimon_server.catalog.asking import Asker, Failed, Refused
from minimon_server.catalog.hashing import GrowingHash, NotKept
from minimon_server.catalog.header import NotSafetensors, read_header
from minimon_server.disk import make_folder, sync_folder, write_all, write_whole

MARGIN: Final = 64 << 20  # bytes that stay free on the disk, whatever is fetched
_BLOCK: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_NO_RANGE: Final = re.compile(r"bytes \*/(\d{1,18})")


class NoRoom(Refused):
    """The disk is too full for it."""

    status = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file: where it is, what people call it, and what is known of it before it comes. `git_oid` is git's SHA-1."""

    url: str
    name: str
    size: int | None = None
    sha256: str | None = None
    git_oid: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is known of a file that came in part; it stands beside it."""

    url: str
    etag: str | None = None
    size: int | None = None


class Progress(Protocol):
    """Who shows how far it is."""

    def begin(self, name: str, done: int, total: int | None) -> None:
        """Show a file of which `done` bytes are there already."""

    def add(self, count: int) -> None:
        """Show `count` bytes more."""

    def end(self) -> None:
        """Show no more of this file."""


class Fetcher:
    """Fetches files one after the other. Whoever calls holds the lock of what they belong to."""

    def __init__(self, asker: Asker, progress: Progress) -> None:
        self._asker = asker
        self._progress = progress

    def fetch(self, wanted: Wanted, path: Path) -> Fetched:
        """Put a file under `path`; raise `Refused` when it cannot be had or is not what it should be.

        What came in part lies beside it as `.part`; a name that is no `.part` is only ever given to a checked file.
        """
        make_folder(path.parent)
        part = _Part(path)
        try:
            return self._fetched(wanted, part)
        except (NotKept, KeyboardInterrupt) as error:
            if isinstance(error, NotKept) or isinstance(error.__cause__, NotKept):
                part.remove()  # the next sync would say nothing of what this one lost
            raise

    def _fetched(self, wanted: Wanted, part: _Part) -> Fetched:
        resumed = part.size > 0
        while True:
            self._asker.again(lambda: self._more(wanted, part), lambda: part.size)
            try:
                fetched = _checked(wanted, part)
            except Refused:
                part.remove()
                if not resumed:
                    raise
                resumed = False  # the bytes of an earlier time may be the wrong ones: once more, from the first
                continue
            part.finish()
            return fetched

    def _more(self, wanted: Wanted, part: _Part) -> None:
        """Ask once for what is missing, and append it; raise `Failed` when it does not all come."""
        have, etag = part.usable(wanted)
        if wanted.size is not None and have == wanted.size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and etag:
            headers["If-Range"] = etag
        with self._asker.get(wanted.url, headers) as answer:
            if answer.status_code == 416:
                found = _NO_RANGE.fullmatch(answer.headers.get("content-range", ""))
                if have and found and int(found[1]) == have:
                    return
                part.remove()
                raise Failed(f"{wanted.name}: the server does not have what is missing")
            place = _place(answer, have)
            if place is None:
                raise part.misled(f"{wanted.name}: the server sends another part than it was asked for")
            begin, total = place
            if begin != have:
                part.remove()
            _check_body(answer, wanted, total)
            limit = wanted.size if wanted.size is not None else total
            self._check_room(wanted, part.path.parent, None if limit is None else limit - begin)
            part.remember(_Begun(wanted.url, _strong(answer), limit))
            self._progress.begin(wanted.name, begin, limit)
            try:
                self._append(answer, part, limit, wanted.name)
            finally:
                self._progress.end()
        if limit is not None and part.size < limit:
            raise Failed(f"{wanted.name}: cut after {part.size} of {limit} bytes")

    def _append(self, answer: httpx2.Response, part: _Part, limit: int | None, name: str) -> None:
        have, growing = part.size, part.hash
        with part.appending() as descriptor, growing.following():
            for piece in self._asker.body(answer):
                have += len(piece)
                if limit is not None and have > limit:
                    part.remove()
                    raise Refused(f"{name}: the server sends more than the {limit} bytes that it should have")
                try:
                    write_all(descriptor, piece)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                        raise NoRoom(f"{name}: the disk is full after {part.size} bytes, which are kept") from None
                    raise
                growing.grown(len(piece))
                self._progress.add(len(piece))

    @staticmethod
    def _check_room(wanted: Wanted, folder: Path, missing: int | None) -> None:
        free = shutil.disk_usage(folder).free
        if missing is not None and missing + MARGIN > free:
            raise NoRoom(f"{wanted.name}: {missing} bytes are missing, and the disk has room for {free}")


class _Part:
    """The part of a file that is there, with what is known of it."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.path = final.with_name(final.name + ".part")
        self._memo = final.with_name(final.name + ".part.json")
        self.hash = GrowingHash(self.path)
        self._was_misled = False

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def usable(self, wanted: Wanted) -> tuple[int, str | None]:
        """Return how many bytes may be kept, and by which mark the server knows the file; remove them otherwise."""
        begun = self._begun()
        same = begun and begun.url == wanted.url and (wanted.size is None or begun.size in (None, wanted.size))
        # Without a mark or a hash nobody would notice that the file at that address has become another.
        sure = begun and (begun.etag or wanted.sha256 or wanted.git_oid)
        fits = wanted.size is None or self.size <= wanted.size
        if self.size and not (same and sure and fits):
            self.remove()
        return self.size, begun.etag if begun else None

    @contextmanager
    def appending(self) -> Iterator[int]:
        """Open it for more bytes at its end; what lies there by that name is a file, and no link."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o644)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def remember(self, begun: _Begun) -> None:
        write_whole(self._memo, orjson.dumps(asdict(begun)))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._memo.unlink(missing_ok=True)
        self.hash = GrowingHash(self.path)

    def misled(self, said: str) -> Exception:
        """Remove it: such a server would never continue it. Return what to raise; once it is worth beginning anew."""
        self.remove()
        error = Refused(said) if self._was_misled else Failed(said)
        self._was_misled = True
        return error

    def finish(self) -> None:
        """Give the file its name, durably."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise NotKept(error.errno, error.strerror) from None
        finally:
            os.close(descriptor)
        self.path.replace(self.final)
        self._memo.unlink(missing_ok=True)
        sync_folder(self.final.parent)

    def _begun(self) -> _Begun | None:
        try:
            told = orjson.loads(self._memo.read_bytes())
            etag, size = told["etag"], told["size"]
            begun = _Begun(str(told["url"]), etag and str(etag), None if size is None else int(size))
        except (OSError, ValueError, LookupError, TypeError):
            return None  # none, or half of one: the part begins anew
        return begun


def _place(answer: httpx2.Response, have: int) -> tuple[int, int | None] | None:
    """Return where the bytes of an answer begin, and how many there are in all if it says so; None for other ones."""
    if answer.status_code == 200:
        length = answer.headers.get("content-length", "")
        return 0, int(length) if length.isascii() and length.isdigit() else None
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    if not found or int(found[1]) != have or int(found[2]) != int(found[3]) - 1:
        return None
    return have, int(found[3])


def _check_body(answer: httpx2.Response, wanted: Wanted, total: int | None) -> None:
    """Raise `Refused` for a body that cannot be the file."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise Refused(f"{wanted.name}: the server compresses what it was asked to send as it is")
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise Refused(f"{wanted.name}: the server sends a web page instead of the file")
    if total is not None and wanted.size is not None and total != wanted.size:
        raise Refused(f"{wanted.name}: the server has {total} bytes, and it should be {wanted.size}")


def _strong(answer: httpx2.Response) -> str | None:
    """Return the mark by which the server knows these very bytes (RFC 9110, section 8.8.3); a weak one is none."""
    etag: str = answer.headers.get("etag", "")
    return etag if re.fullmatch(r'"[!#-~]{1,200}"', etag) else None


def _checked(wanted: Wanted, part: _Part) -> Fetched:
    """Return size and hash of a file; raise `Refused` when it is not what it should be."""
    fetched, path = Fetched(*part.hash.whole()), part.path
    if wanted.size is not None and fetched.size != wanted.size:
        raise Refused(f"{wanted.name}: {fetched.size} bytes came, and it should be {wanted.size}")
    if wanted.sha256 is not None and fetched.sha256 != wanted.sha256.lower():
        raise Refused(f"{wanted.name}: its SHA-256 is {fetched.sha256}, and it should be {wanted.sha256.lower()}")
    if wanted.git_oid is not None and wanted.sha256 is None and _git_oid(path, fetched.size) != wanted.git_oid:
        raise Refused(f"{wanted.name}: it is not the file of that revision")
    if wanted.name.endswith(".safetensors"):
        try:
            read_header(path)
        except NotSafetensors as error:
            raise Refused(f"{wanted.name}: {error}") from None
    return fetched


def hash_of(path: Path) -> Fetched:
    """Return how long a file is and its SHA-256."""
    return Fetched(*GrowingHash(path).whole())


def _git_oid(path: Path, size: int) -> str:
    """Return git's name of a file's content; it tells revisions apart, it keeps no secret."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_BLOCK):
            digest.update(piece)
    return digest.hexdigest()
