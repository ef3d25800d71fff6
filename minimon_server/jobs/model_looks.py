"""Which models there are now, looked up beside the event loop, once for all who ask meanwhile. Knows no folder.

Folders may lie on a disk that is slow or does not answer (a share of the network): whoever wants to draw waits for it
then, and nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from minimon_server.beside import in_thread
from minimon_server.errors import Text
from minimon_server.jobs.errors import ModelNotAvailable
from minimon_server.logs import Logger

PATIENCE_SECONDS: Final = 10.0

SILENT: Final = Text(
    "Le dossier des modèles ne répond pas ; réessayez dans un instant.",
    "The folder of models does not answer; try again in a moment.",
)


class Named(Protocol):
    """What has an id: a model, a LoRA."""

    @property
    def id(self) -> str:
        """Unlike that of any other."""


Found = TypeVar("Found", bound=Named)


class ModelLooks(Generic[Found]):
    """Owned by the event loop; `look` is called on a thread, one call at a time.

    Each answer comes from a look that began after it was asked for: a folder that was put there is seen by the next
    request. Those who ask while one look is on its way share the next.
    """

    def __init__(self, look: Callable[[], Sequence[Found]], patience: float = PATIENCE_SECONDS) -> None:
        """`patience` is for how many seconds an answer is waited for."""
        self._look = look
        self._patience = patience
        self._next: asyncio.Future[Mapping[str, Found]] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def now(self) -> Mapping[str, Found]:
        """Return what there is by its id, in its order; raise `ModelNotAvailable` when the disk does not answer."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_for_all())
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(self._next)  # others wait for the same
        except TimeoutError:
            raise ModelNotAvailable(SILENT, headers={"Retry-After": "5"}) from None

    async def _look_for_all(self) -> None:
        while (asked := self._next) is not None:
            self._next = None
            try:
                found = await in_thread(self._look, "models")  # which may never end
            except Exception as error:
                asked.set_exception(error)  # it is raised to each who asked
            else:
                asked.set_result({model.id: model for model in found})
        self._looking = None


async def look_often(look: Callable[[], object], log: Logger, seconds: float = 5.0) -> None:
    """Look at once and every few seconds, for ever: what has changed is told by `/ready` though nobody asks for it."""
    while True:
        try:
            await in_thread(look, "models")  # which may never end
        except Exception:
            log.exception("models cannot be looked up")
        await asyncio.sleep(seconds)
