"""The process that signs slowly, so that the server need not: frames in, signatures out, in order. Knows no file.

Started by `signer.ProcessSigner`. A frame is four bytes of length, most significant first, and that many bytes. The
first one in is the private key (PKCS #8 DER); the first one out is its key id, and from then on every message that
comes in goes out as its signature. The process ends when its input does, however its parent came to its end.
"""

from __future__ import annotations

import signal
import sys
from typing import BinaryIO, Final

from minimon_server.scores.signing import from_pkcs8

MOST_BYTES: Final = 1024 * 1024
LENGTH: Final = 4


def frame(content: bytes) -> bytes:
    """Return `content` with its length before it."""
    return len(content).to_bytes(LENGTH, "big") + content


def _read(source: BinaryIO) -> bytes | None:
    """Return the next frame, None at the end of the input, be it in the middle of a frame."""
    head = source.read(LENGTH)
    if len(head) < LENGTH:
        return None
    length = int.from_bytes(head, "big")
    if length > MOST_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    content = source.read(length)
    return content if len(content) == length else None


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Sign until `source` ends, or until nobody reads `target` any more."""
    secret = _read(source)
    if secret is None:
        return
    key = from_pkcs8(secret)
    answer = key.public.key_id.encode("ascii")
    try:
        while True:
            target.write(frame(answer))
            target.flush()
            message = _read(source)
            if message is None:
                return
            answer = key.sign(message)
    except BrokenPipeError:
        return  # the server is gone, and with it whoever waited for this signature


def main() -> None:
    """Serve on the standard streams."""
    # Ctrl-C and a service manager reach every process of the server, which still wants signatures while it ends.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
