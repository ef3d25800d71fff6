"""Who makes signatures, and where: at once, or in a process of its own where a signature would hold the server up.

The library signs under the interpreter lock, so that a thread would not help. What one signature of 400 bytes costs, in
microseconds of one core of an AMD EPYC (`python -m bench.signing_costs`, cryptography 50.0.2):

    ES256 23, Ed25519 35 | Ed448 185, ES384 212, ES512 251, ES256K 347, RS256 with 2048 bits 248, 3072: 700, 4096: 1463

Those to the left of the bar sign at once. The others would hold every request up for longer than most requests take,
and sign elsewhere.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections import deque
from pathlib import Path
from typing import Final, Protocol

from minimon_server.errors import SigningUnavailable, StartupError
from minimon_server.logs import Lines
from minimon_server.scores.public_keys import PublicKey
from minimon_server.scores.signer_child import Child
from minimon_server.scores.signer_process import MOST_BYTES
from minimon_server.scores.signing import SigningKey

FAST: Final = frozenset({"ES256", "Ed25519"})
START_SECONDS: Final = 30.0
# A signature takes milliseconds: a process that owes one and is silent for this long is stuck.
SILENCE_SECONDS: Final = 10.0
# A process that dies again and again has a reason that starting it anew does not mend.
MOST_DEATHS: Final = 5
DEATHS_SECONDS: Final = 60.0
REST_SECONDS: Final = 60.0
_PROGRAM_FOLDER: Final = Path(__file__).resolve().parents[2]


class Signer(Protocol):
    """What signs; every signature is in the native format of `public`."""

    public: PublicKey

    @property
    def available(self) -> bool:
        """Whether a signature that is asked for now can be expected, for `/ready` to tell."""

    async def start(self) -> None:
        """Make ready; raise `StartupError` when that fails."""

    async def sign(self, message: bytes) -> bytes:
        """Return a signature of `message`, or raise `SigningUnavailable`."""

    async def close(self) -> None:
        """Answer what was asked for, then end."""


def make_signer(key: SigningKey, lines: Lines) -> InlineSigner | ProcessSigner:
    """Return what suits the key; nothing runs before `start`."""
    return InlineSigner(key) if key.public.algorithm in FAST else ProcessSigner(key, lines)


class InlineSigner:
    """Signs at once, in the thread that asks."""

    def __init__(self, key: SigningKey) -> None:
        self.public = key.public
        self.sign_now = key.sign

    @property
    def available(self) -> bool:
        """Always: whoever asks does the work."""
        return True

    async def start(self) -> None:
        """Do nothing: the key is ready."""

    async def sign(self, message: bytes) -> bytes:
        """Return a signature of `message`."""
        return self.sign_now(message)

    async def close(self) -> None:
        """Do nothing: nothing is open."""


class ProcessSigner:
    """Signs in a process of its own, which is started anew when it dies; it rests after five deaths within a minute."""

    def __init__(
        self,
        key: SigningKey,
        lines: Lines,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        """`silence_seconds`: when a process is taken for stuck; `rest_seconds`: the pause after too many deaths."""
        self.public = key.public
        self._pkcs8 = key.pkcs8
        self._lines = lines
        self._silence = silence_seconds
        self._rest = rest_seconds
        self._child: Child | None = None
        self._waiting: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._resting_until: float | None = None
        self._closing = False
        self._watch: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """Whether the process lives, or another is about to."""
        return self._is_kept_alive and self._resting_until is None

    @property
    def _is_kept_alive(self) -> bool:
        return not self._closing and self._watch is not None and not self._watch.done()

    @property
    def process_id(self) -> int | None:
        """The process that signs now, None while there is none."""
        return self._child.process.pid if self._child else None

    async def start(self) -> None:
        """Start the process; raise `StartupError` when it does not come up."""
        try:
            child = await self._launch()
        except (OSError, RuntimeError, TimeoutError) as error:
            raise StartupError(
                [f"the process that signs scores does not start: {str(error) or 'it is too slow'}"]
            ) from None
        self._watch = asyncio.create_task(self._keep_alive(child), name="signer")
        self._watch.add_done_callback(self._unwatched)

    async def sign(self, message: bytes) -> bytes:
        """Return a signature of `message`; raise `SigningUnavailable` when the process dies over it."""
        if len(message) > MOST_BYTES:
            raise ValueError(f"{len(message)} bytes are more than a frame holds")
        if not self._is_kept_alive:
            raise SigningUnavailable
        loop = asyncio.get_running_loop()
        if self._resting_until is not None:
            raise SigningUnavailable(retry_after=max(1, round(self._resting_until - loop.time())))
        answer: asyncio.Future[bytes] = loop.create_future()
        if self._child is None:
            self._waiting.append((message, answer))
        else:
            self._child.ask(message, answer)
        return await answer

    async def close(self) -> None:
        """Let the process answer what it was asked, and end it."""
        self._closing = True
        child = self._child
        if child is not None and child.process.stdin is not None:
            child.process.stdin.close()
        if self._watch is not None:
            if child is None:
                self._watch.cancel()  # it was about to start another one
            await asyncio.wait([self._watch], timeout=2 * self._silence)
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if child is not None:
            child.kill()
        self._fail_waiting()

    async def _launch(self) -> Child:
        """Start one process and hand it the key, by its input alone: arguments and variables can be read by others."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "minimon_server.scores.signer_process",
            stdin=PIPE,
            stdout=PIPE,
            cwd=_PROGRAM_FOLDER,
            start_new_session=sys.platform != "win32",
        )
        child = Child(process)
        try:
            child.send(self._pkcs8())
            async with asyncio.timeout(START_SECONDS):
                frames = await child.frames()
            if frames != [self.public.key_id.encode("ascii")]:
                raise RuntimeError("it ended, or has another key" if frames else "it ended at once")
        except BaseException:
            child.kill()
            await process.wait()
            raise
        self._child = child
        for message, answer in self._waiting:
            child.ask(message, answer)
        self._waiting.clear()
        return child

    async def _keep_alive(self, child: Child | None) -> None:
        """Pass answers on while the process lives, and start another when it has died."""
        deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        loop = asyncio.get_running_loop()
        while True:
            if child is not None:
                reason = await self._pass_answers(child)
                if self._closing:
                    return
            deaths.append(loop.time())
            self._lines.tell("error", "the process that signs scores has died", {"reason": reason})
            if len(deaths) == MOST_DEATHS and loop.time() - deaths[0] < DEATHS_SECONDS:
                await self._pause()
            try:
                child = await self._launch()
            except (OSError, RuntimeError, TimeoutError) as error:
                child, reason = None, f"it did not start: {str(error) or 'it was too slow'}"
                self._fail_waiting()
            else:
                self._lines.tell("info", "another process signs scores now", {"process": child.process.pid})

    async def _pause(self) -> None:
        self._resting_until = asyncio.get_running_loop().time() + self._rest
        self._lines.tell("error", "no scores are signed for a while", {"seconds": self._rest})
        self._fail_waiting(max(1, round(self._rest)))
        await asyncio.sleep(self._rest)
        self._resting_until = None

    async def _pass_answers(self, child: Child) -> str:
        """Hand signatures to those who wait, until the process ends; return why it did."""
        reason = None
        try:
            while frames := await self._next_frames(child):
                for signature in frames:
                    answer = child.asked.popleft()
                    if not answer.done():  # whoever asked may have given up
                        answer.set_result(signature)
        except TimeoutError:
            reason = f"it was silent for {self._silence:g} s and has been killed"
        except (OSError, IndexError) as error:
            reason = f"its answers cannot be read: {error!r}"
        finally:
            self._child = None
            for answer in child.asked:
                if not answer.done():
                    answer.set_exception(SigningUnavailable())
        if reason:
            child.kill()
        return reason or f"it ended with status {await child.status(self._silence)}"

    async def _next_frames(self, child: Child) -> list[bytes]:
        """Wait for answers, but not for ever where some are due."""
        while True:
            due = bool(child.asked)
            try:
                async with asyncio.timeout(self._silence):
                    return await child.frames()
            except TimeoutError:
                # Asked after this wait began: then the next wait decides.
                if due:
                    raise

    def _unwatched(self, watch: asyncio.Task[None]) -> None:
        """Tell of a mistake of ours in the keeping alive, which nobody awaits: from then on nothing is signed."""
        if not watch.cancelled() and (error := watch.exception()):
            self._lines.tell("error", "no scores are signed until the next start", {"exception": error})
            self._fail_waiting()

    def _fail_waiting(self, retry_after: int = 1) -> None:
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_exception(SigningUnavailable(retry_after=retry_after))
        self._waiting.clear()
