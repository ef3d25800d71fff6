"""The image store: pictures as files of one folder, each with its digest. Decides not what is kept.

A picture is on the disk, whole and under its name, before a record names it. Its name carries the attempt: whoever
comes too late writes beside it, never over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from minimon_server.disk import make_folder
from minimon_server.engines.messages import DrawnPicture
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.errors import StartupError
from minimon_server.jobs.disk import UNFINISHED, finish, write_unfinished
from minimon_server.jobs.job import Job, PictureFile

_ENDINGS: Final = "|".join(one.ending for one in FORMATS.values())
_OF_ENDINGS: Final = {one.ending: one.media_type for one in FORMATS.values()}
MEDIA_TYPES: Final = tuple(_OF_ENDINGS.values())
# What we have written ourselves. Anything else in the folder is somebody's, and left alone.
_OURS: Final = re.compile(
    rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})(?:\.\d+){{1,2}}\.(?:{_ENDINGS})(?:{UNFINISHED})?"
)
# What makes a file's bytes of a picture: its pixels, the format, and the quality or None.
Pack = Callable[[DrawnPicture, str, int | None], bytes]
# Longer texts (a prompt) stand in the picture and in the request; a record need not hold them once for each picture.
LONGEST_TEXT: Final = 1024


class Damaged(Exception):
    """A file that is missing, or no longer holds the bytes that were written."""


class PictureStore:
    """The one writer of its folder. Every call may wait for the disk: call it beside the event loop."""

    def __init__(self, folder: Path, pack: Pack) -> None:
        """`folder` is made by `prepare`, and need not be there where nothing is ever written."""
        self._folder = folder
        self._pack = pack

    def prepare(self) -> None:
        """Make the folder if need be; raise `StartupError` when that cannot be."""
        folder = self._folder
        try:
            make_folder(folder)
        except OSError as error:
            raise StartupError([f"MINIMON_OUTPUT_DIR: {folder} cannot be used: {error.strerror}"]) from error

    def write(self, job: Job, pictures: Sequence[DrawnPicture]) -> tuple[PictureFile, ...]:
        """Write all pictures of an attempt and return what the record says of them; a failure leaves none behind."""
        asked = job.request
        names = names_of(job.id, job.attempt, len(pictures), FORMATS[asked.format].ending)
        paths = [self._folder / name for name in names]
        try:
            files = [
                self._put(path, picture, self._pack(picture, asked.format, asked.quality))
                for path, picture in zip(paths, pictures, strict=True)
            ]
            finish(paths)
        except Exception:  # the disk's, or of what packs
            self.remove([name + end for name in names for end in ("", UNFINISHED)])
            raise
        return tuple(files)

    def _put(self, path: Path, picture: DrawnPicture, packed: bytes) -> PictureFile:
        write_unfinished(path, packed)
        return _described(path.name, picture, packed)

    def read(self, picture: PictureFile) -> bytes:
        """Return the bytes that were written; raise `Damaged` when they cannot be had."""
        try:
            packed = (self._folder / picture.name).read_bytes()
        except OSError as error:
            raise Damaged(picture.name) from error
        if sha256(packed).hexdigest() != picture.digest:
            raise Damaged(picture.name)
        return packed

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, those that are not there included."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def unnamed(self, jobs: Iterable[Job]) -> dict[str, str]:
        """Return the files of ours that no record names, each with the job that its name tells."""
        named = {picture.name for job in jobs if not job.removed for picture in job.pictures}
        if not self._folder.is_dir():
            return {}
        found = (_OURS.fullmatch(entry.name) for entry in self._folder.iterdir())
        return {name[0]: name[1] for name in found if name and name[0] not in named}


def names_of(job_id: str, attempt: int, count: int, ending: str = "png") -> list[str]:
    """Return the file names of an attempt: `<job>.<attempt>.png`, or with `.1`, `.2` and so on for several pictures."""
    if count == 1:
        return [f"{job_id}.{attempt}.{ending}"]
    return [f"{job_id}.{attempt}.{number}.{ending}" for number in range(1, count + 1)]


def media_type_of(name: str) -> str:
    """Return the media type of one of our files, by its ending."""
    return _OF_ENDINGS[name.rpartition(".")[2]]


def _described(name: str, picture: DrawnPicture, packed: bytes) -> PictureFile:
    kept: dict[str, Any] = {
        key: value
        for key, value in picture.metadata.items()
        if not (isinstance(value, str) and len(value) > LONGEST_TEXT)
    }
    digest = sha256(packed).hexdigest()
    return PictureFile(name, digest, len(packed), picture.seed, picture.width, picture.height, kept)
