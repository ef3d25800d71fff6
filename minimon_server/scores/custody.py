"""Who has the ledger: takes its lock, opens it, waits for it, closes it, and tells its trouble. Certifies nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from minimon_server.beside import in_thread
from minimon_server.errors import InvalidRequest, PayloadTooLarge, SigningUnavailable, StartupError, Text
from minimon_server.logs import Logger
from minimon_server.scores import records
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.ledger import LedgerBroken, Paths
from minimon_server.scores.lock import LedgerLock
from minimon_server.scores.opening import Opened, Opening
from minimon_server.scores.payload import read_canonical
from minimon_server.scores.scan import Tampered
from minimon_server.scores.signed import read_signed
from minimon_server.scores.signer import Signer
from minimon_server.scores.signing import SigningKey
from minimon_server.scores.verify import judge_line
from minimon_server.scores.writer import CLOSE_SECONDS, Writer
from minimon_server.times import Clock

Found = TypeVar("Found")

# How long a request waits for a ledger that is still being read after a start.
PATIENCE: Final = 5.0
# How long the server waits for it before it listens: a small ledger is open before the first request.
HEAD_START: Final = 1.0

OFF: Final = Text("La certification est arrêtée ; /ready dit pourquoi.", "Certifying is off; /ready says why.")


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs: scores, and checkpoints. One key, one purpose."""

    signing: SigningKey
    signer: Signer
    checkpoint: SigningKey


class Custody:
    """One ledger in one process, from its lock to its last checkpoint."""

    def __init__(self, paths: Paths, keys: Keys, new_name: Callable[[], str], clock: Clock, log: Logger) -> None:
        """Take the ledger's lock; raise `StartupError` when another process has it."""
        self._lock = LedgerLock(paths)
        self._signer, self._clock, self._log = keys.signer, clock, log
        self._opening = Opening(
            paths,
            keys.checkpoint,
            keys.signing.public,
            judge_line,
            log,
            new_name=new_name,
            stamp=lambda: clock.now_ms().replace(":", "").replace(".", ""),
        )
        self.opened: Opened | None = None
        self.writer: Writer | None = None
        self._refusal: Text | None = None
        self._is_open = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.last_issued = ""  # by earlier runs

    async def start(self) -> None:
        """Read the ledger; return once it is open, or goes on being read: then requests wait a little."""
        self._task = asyncio.create_task(self._open())
        await asyncio.wait([self._task], timeout=HEAD_START)

    async def _open(self) -> None:
        try:
            await self._signer.start()
            opened = await in_thread(self._opening.open, "ledger-opening")
            self.last_issued = self._issued_at(opened.last_line)
            self.writer = Writer(opened.ledger, self._log)
            self.opened = opened
            self._log.info("ledger open", records=opened.ledger.size, keys=len(opened.ring.scores))
        except Tampered as error:
            self._refuse(error.text, record=error.record, offset=error.offset)
        except StartupError as error:
            self._refuse(Text(*[" ".join(error.lines)] * 2))
        except Exception as error:  # the rest of the server serves on, whatever it is, and /ready tells
            why = _told(error)
            self._refuse(Text(f"le registre ne peut être ouvert ({why})", f"the ledger cannot be opened ({why})"))
        finally:
            self._is_open.set()

    def _issued_at(self, line: bytes | None) -> str:
        if not line:
            return ""
        try:
            issued = read_canonical(read_signed(records.read_line(line).answer).canonical).issued_at
        except (InvalidRequest, PayloadTooLarge, ValueError) as error:  # an older writer's, vouched for as it is
            self._log.warning("the last record does not say when it was issued", reason=str(error))
            return ""
        if issued > self._clock.now_ms():
            self._log.warning("the clock is behind the ledger's last record", last=issued)
        return issued

    def _refuse(self, reason: Text, **where: object) -> None:
        self._refusal = reason
        self._log.error("the ledger is refused: nothing is certified", reason=reason.en, **where)

    async def close(self) -> None:
        """Write what waits, save the checkpoint, let the lock go."""
        self._opening.abandoned = True
        if self._task and not await _ended(self._task):
            self._log.error("the ledger cannot be read to an end: left as it is")
            await self._signer.close()
            return  # the reading thread keeps the lock, for as long as this process lives
        written = not self.writer or await self.writer.close()
        await self._signer.close()
        if not written:
            return  # its thread may yet go on writing: the files and the lock stay with it until this process is gone
        if self.opened:
            self.opened.ledger.close()
        self._lock.release()

    async def ledger(self) -> tuple[Opened, Writer]:
        """Return the open ledger and its writer; raise `SigningUnavailable` when there is none."""
        if not self._is_open.is_set():
            try:
                await asyncio.wait_for(self._is_open.wait(), PATIENCE)
            except TimeoutError:
                text = Text("Le registre est encore en cours de lecture.", "The ledger is still being read.")
                raise SigningUnavailable(text) from None
        if not self.opened or not self.writer:
            raise SigningUnavailable(OFF, retry_after=60)
        return self.opened, self.writer

    async def ring(self) -> KeyRing:
        """Return the public keys; also of a ledger that is refused, as long as they are what was signed."""
        if not self._is_open.is_set():
            await self.ledger()
        ring = self.opened.ring if self.opened else self._opening.ring
        if ring is None:
            raise SigningUnavailable(OFF, retry_after=60)
        return ring

    @staticmethod
    def look(look: Callable[[], Found], writer: Writer) -> Found:
        """Read from the ledger; what is no longer what it was is never shown, and nothing more is signed over it."""
        try:
            return look()
        except LedgerBroken as error:
            writer.stop_for(error.text)
            raise SigningUnavailable(OFF, retry_after=60) from error
        except (OSError, ValueError) as error:
            writer.stop_for(Text(f"le registre est illisible ({error})", f"the ledger cannot be read ({error})"))
            raise SigningUnavailable(OFF, retry_after=60) from error

    @property
    def trouble(self) -> Text | None:
        """Why no score can be certified now, or None."""
        if not self._is_open.is_set():
            return Text(
                f"Le registre est en cours de lecture : {self._opening.read} enregistrements.",
                f"The ledger is being read: {self._opening.read} records.",
            )
        reason = self._refusal or (self.writer.broken if self.writer else None)
        if reason:
            return Text(f"Certification arrêtée : {reason.fr}", f"Certifying is off: {reason.en}")
        if self.writer and self.writer.full:
            return Text("Il n'y a plus de place pour le registre.", "There is no room left for the ledger.")
        if self.writer and self.writer.checkpoint_trouble:
            why = self.writer.checkpoint_trouble
            return Text(
                f"Le point de contrôle n'a pu être enregistré : {why}", f"The checkpoint could not be saved: {why}"
            )
        return None


async def _ended(task: asyncio.Task[None]) -> bool:
    await asyncio.wait([task], timeout=CLOSE_SECONDS)
    if task.done():
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


def _told(error: Exception) -> str:
    """Return what an error says, of a file by its name too: which one is in the way is what an operator needs."""
    if not isinstance(error, OSError) or not error.strerror:
        return repr(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
