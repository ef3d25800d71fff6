"""The pictures that clients send with a job: read in a thread, kept until the job has ended. Knows no HTTP.

Nothing here waits for the disk or unpacks a picture on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from minimon_server.engines.messages import NO_INPUTS, BadPicture, DrawRequest, NormalPicture
from minimon_server.errors import FieldMistake, InvalidRequest, Text
from minimon_server.jobs.errors import JobsUnavailable, NoRoom
from minimon_server.jobs.input_files import InputFiles, InputsFull
from minimon_server.jobs.job import State
from minimon_server.jobs.store import JobStore
from minimon_server.logs import Logger

# Each takes up to a quarter of a gigabyte while it works.
READ_AT_ONCE: Final = 2
# What transparent parts of a picture lie on, by what it is for: paper, and a mask that marks nothing there.
GROUNDS: Final[Mapping[str, str]] = {"init_image": "white", "mask": "black", "ip_adapter_image": "white"}
# An ended job is never drawn again: nothing asks for its pictures any more.
_NEEDED_IN: Final = frozenset({State.PENDING, State.PROGRESS})
_EVERY: Final = 2**31
_KEPT: Final = Text(
    "Les images des tâches qui attendent prennent déjà toute la place permise (MINIMON_OUTPUT_MEGABYTES).",
    "The pictures of waiting jobs take all the room that they may already (MINIMON_OUTPUT_MEGABYTES).",
)

InputFile = NormalPicture
ReadPicture = Callable[[bytes, str], InputFile]


class Inputs:
    """The one way to the pictures that jobs begin with."""

    def __init__(self, files: InputFiles, read: ReadPicture, log: Logger) -> None:
        """`read` makes of a file's bytes and the colour under transparent parts a picture, or raises `BadPicture`."""
        self._files = files
        self._read = read
        self._log = log
        self._reading = asyncio.Semaphore(READ_AT_ONCE)

    async def read(self, field: str, data: bytes) -> InputFile:
        """Return the picture of one field of a request; raise `InvalidRequest` that names it."""
        try:
            async with self._reading:
                return await asyncio.to_thread(self._read, data, GROUNDS[field])
        except BadPicture as error:
            raise InvalidRequest(fields=[FieldMistake(field, error.text)]) from error

    @asynccontextmanager
    async def held(self, pictures: Sequence[InputFile]) -> AsyncIterator[None]:
        """Have pictures on the disk until the job that names them is accepted, or is not.

        Raises `NoRoom` where waiting jobs take all the room, `JobsUnavailable` when the disk does not take them.
        """
        held: list[str] = []
        try:
            for picture in pictures:
                await self._hold(picture)
                held.append(picture.picture.digest)
            yield
        finally:
            self._files.let_go(held)

    async def _hold(self, picture: InputFile) -> None:
        try:
            await asyncio.to_thread(self._files.hold, picture)
        except InputsFull as error:
            raise NoRoom(_KEPT) from error
        except OSError as error:
            self._log.error("a picture of a request cannot be stored", exception=error)
            raise JobsUnavailable from error

    async def files_of(self, request: DrawRequest) -> Mapping[str, bytes]:
        """Return the files of a request by their digests; raise `InputLost`."""
        if not request.inputs:
            return NO_INPUTS
        digests = {picture.digest for picture in request.inputs}
        return await asyncio.to_thread(lambda: {digest: self._files.read(digest) for digest in digests})

    async def sweep(self, store: JobStore) -> None:
        """Remove the pictures that no job needs any more."""
        idle = self._files.idle()
        if not idle:
            return
        jobs = await store.list(_EVERY, _NEEDED_IN)
        unnamed = idle - {picture.digest for job in jobs for picture in job.request.inputs}
        if unnamed:
            await asyncio.to_thread(self._files.remove, unnamed)
