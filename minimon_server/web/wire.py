"""How bytes leave: the pieces that an answer is sent in go out together. Parses nothing, knows no answer."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Iterable
from typing import Any, Final

# Beyond this the pieces are handed over at once, so that the transport can say that the client is too slow.
GATHERED_BYTES: Final = 256 * 1024
# How often a connection that is being closed is looked at.
LOOK_SECONDS: Final = 0.1


class GatheringTransport:
    """A transport that hands over what was written in one turn of the event loop as one batch.

    An answer is written as a head and then its body, in one or several pieces. Each single write over TLS costs a
    record, a trip through OpenSSL's buffers and a system call of its own; a batch shares the last two, and a handler
    can send the large part of an answer as it lies there, without copying it between what comes before and after.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, linger_seconds: float = 30.0
    ) -> None:
        """`linger_seconds`: how long a client may take to read the rest once the connection is being closed."""
        self._transport = transport
        self._linger_seconds = linger_seconds
        self._linger: asyncio.TimerHandle | None = None
        self._give_up_at = 0.0
        self._was_sent = False
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Take one piece; it is handed over before the loop's next turn."""
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size > GATHERED_BYTES:
            self.flush()

    def writelines(self, list_of_data: Iterable[bytes]) -> None:
        """Take several pieces."""
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        """Hand over what is here, and close once it is sent, or once the client has had its time to read it.

        TLS would also wait for the client to say goodbye, which one that sleeps never does (RFC 8446, section 6.1,
        asks nobody to wait for that). So it is looked after: what the other side has, is sent.
        """
        self.flush()
        self._transport.close()
        if self._linger is None:
            self._give_up_at = self._loop.time() + self._linger_seconds
            self._linger = self._loop.call_later(min(LOOK_SECONDS, self._linger_seconds), self._look)

    def _look(self) -> None:
        """Abort when two looks in a row, with the loop's work between them, found nothing left to send."""
        sent = _unsent_bytes(self._transport) == 0
        if (sent and self._was_sent) or self._loop.time() >= self._give_up_at:
            self._transport.abort()
        else:
            self._was_sent = sent
            self._linger = self._loop.call_later(LOOK_SECONDS, self._look)

    def lost(self) -> None:
        """Learn that the connection is no more."""
        self._pieces.clear()
        if self._linger is not None:
            self._linger.cancel()

    def abort(self) -> None:
        """Drop what is here, and close at once."""
        self._pieces.clear()
        self._size = 0
        if self._linger is not None:
            self._linger.cancel()
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the transport itself."""
        return getattr(self._transport, name)

    def flush(self) -> None:
        """Hand over what is here."""
        if self._pieces:
            pieces, self._pieces, self._size = self._pieces, [], 0
            if not self._transport.is_closing():
                self._transport.writelines(pieces)


def _unsent_bytes(transport: asyncio.Transport) -> int | None:
    """Return how many bytes the kernel holds that the other side has not; None where it does not say (not Linux)."""
    socket = transport.get_extra_info("socket")
    if socket is None:
        return None
    try:
        held = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return None
    return int(struct.unpack("i", held)[0])
