"""The one thread that writes the ledger: it takes whatever waits, writes it with one sync, then lets everyone know.

While the disk syncs one batch, the next one gathers: the more clients, the fewer syncs a record ("group commit").
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from minimon_server.errors import Text
from minimon_server.logs import Logger
from minimon_server.scores.ledger import Entry, Ledger, LedgerBroken, LedgerFull

# The checkpoint file is for the next start, and lags by this much at most; clients get one over all that is on disk.
CHECKPOINT_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 10.0

_ENDING: Final = Text("le serveur se termine", "the server is ending")


@dataclass(frozen=True, slots=True)
class _Waiting:
    entry: Entry
    done: asyncio.Future[None]


class Writer:
    """Appends for one event loop. After `LedgerBroken` nothing is written any more, whoever asks."""

    def __init__(self, ledger: Ledger, log: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._log, self._clock = ledger, log, clock
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._closing = False
        self._checkpoint_due: float | None = None
        self._room_due: float | None = None
        self.broken: Text | None = None
        self.full = False  # the last batch found no room
        self.checkpoint_trouble: str | None = None
        self.batches = 0
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    async def append(self, entry: Entry) -> None:
        """Return when the record is on disk; raise `LedgerFull` or `LedgerBroken` when it is not and will not be."""
        if self.broken:
            raise LedgerBroken(self.broken)
        done = self._loop.create_future()
        with self._wake:
            if self._closing:  # nobody would come to write it
                raise LedgerBroken(_ENDING)
            self._waiting.append(_Waiting(entry, done))
            self._wake.notify()
        await done

    def stop_for(self, reason: Text) -> None:
        """Write no more: what is on disk was found to be wrong."""
        if not self.broken:
            self.broken = reason
            self._log.error("certifying is off until the next start", reason=reason.en)

    async def close(self) -> bool:
        """Write what waits, save a last checkpoint, and end; return False when the disk holds the thread up."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)
        if self._thread.is_alive():
            self._log.error("the ledger's disk does not answer: left as it is, for the next start to mend")
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                self._write(batch)
            if self._checkpoint_due is not None and (self._closing or self._clock() >= self._checkpoint_due):
                self._save_checkpoint()
            if self._room_due is not None and self._clock() >= self._room_due:
                self._try_room()
            if self._closing and not self._waiting:
                return

    def _next_batch(self) -> list[_Waiting]:
        with self._wake:
            while not self._waiting and not self._closing:
                dues = [due for due in (self._checkpoint_due, self._room_due) if due is not None]
                pause = min(dues) - self._clock() if dues else None
                if pause is not None and pause <= 0:
                    break
                self._wake.wait(pause)
            batch = list(self._waiting)
            self._waiting.clear()
        return batch

    def _write(self, batch: list[_Waiting]) -> None:
        outcome: Exception | None = None
        try:
            if self.broken:
                raise LedgerBroken(self.broken)
            self._ledger.append([waiting.entry for waiting in batch])
            self.full, self._room_due = False, None
            if self._checkpoint_due is None:
                self._checkpoint_due = self._clock() + CHECKPOINT_SECONDS
        except LedgerFull as error:
            if not self.full:
                self._log.error("no room for the ledger", reason=str(error))
            self.full, outcome = True, error
            self._room_due = self._clock() + _RETRY_SECONDS
        except LedgerBroken as error:
            self.stop_for(error.text)
            outcome = error
        except Exception as error:  # whatever it is, nobody may be told that his record is safe
            self.stop_for(Text(f"erreur interne ({error!r})", f"internal error ({error!r})"))
            outcome = LedgerBroken(self.broken or Text("", ""))
        self.batches += 1
        self._loop.call_soon_threadsafe(_settle, batch, outcome)

    def _save_checkpoint(self) -> None:
        self._checkpoint_due = None
        if self.broken:
            return  # nothing is signed over what may be wrong
        try:
            self._ledger.save_checkpoint()
            self.checkpoint_trouble = None
        except OSError as error:
            if not self.checkpoint_trouble:
                self._log.error("the checkpoint could not be saved", reason=error.strerror)
            self.checkpoint_trouble = error.strerror or "error"
            if not self._closing:
                self._checkpoint_due = self._clock() + _RETRY_SECONDS
        except Exception as error:  # whatever it is, whoever waits for this thread must not wait for ever
            self.stop_for(Text(f"erreur interne ({error!r})", f"internal error ({error!r})"))

    def _try_room(self) -> None:
        """Look for room again without a request: who is told that this server is not ready may send none."""
        self._room_due = None
        if self.broken:
            return
        try:
            self._ledger.try_room()
            self.full = False
        except LedgerFull:
            self._room_due = self._clock() + _RETRY_SECONDS
        except LedgerBroken as error:
            self.stop_for(error.text)
        except Exception as error:
            self.stop_for(Text(f"erreur interne ({error!r})", f"internal error ({error!r})"))


def _settle(batch: list[_Waiting], outcome: Exception | None) -> None:
    for waiting in batch:
        if waiting.done.done():
            continue  # its request was cancelled meanwhile
        if outcome:
            waiting.done.set_exception(outcome)
        else:
            waiting.done.set_result(None)
