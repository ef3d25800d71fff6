"""The signing process as its parent sees it: frames to it and from it, and its end. Decides nothing about another."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections import deque

from minimon_server.scores.signer_process import LENGTH, frame


class Child:
    """One signing process: what was asked of it and not answered yet, oldest first."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.asked: deque[asyncio.Future[bytes]] = deque()
        self._unread = bytearray()

    def send(self, content: bytes) -> None:
        """Write one frame to the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(frame(content))

    def ask(self, message: bytes, answer: asyncio.Future[bytes]) -> None:
        """Ask for a signature of `message`, which `answer` waits for."""
        self.asked.append(answer)
        try:
            self.send(message)
        except (OSError, RuntimeError):
            # The pipe is closed because the process has died: whoever reads its answers finds out, and fails this one.
            pass

    async def frames(self) -> list[bytes]:
        """Return what has come by now, at least one frame; an empty list means that the process has ended."""
        assert self.process.stdout is not None
        found: list[bytes] = []
        while not found:
            data = await self.process.stdout.read(65536)
            if not data:
                return []
            self._unread += data
            while len(self._unread) >= LENGTH:
                end = LENGTH + int.from_bytes(self._unread[:LENGTH], "big")
                if len(self._unread) < end:
                    break
                found.append(bytes(self._unread[LENGTH:end]))
                del self._unread[:end]
        return found

    async def status(self, seconds: float) -> int:
        """Wait for the end of a process that has closed its output, and put one to it after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self.process.wait()
        except TimeoutError:
            self.kill()
            return await self.process.wait()

    def kill(self) -> None:
        """End the process at once, if it has not ended."""
        if self.process.returncode is None:
            self.process.kill()
