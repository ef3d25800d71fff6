"""Ports of 127.0.0.1 for servers that are about to start, in the bench and in the tests."""

from __future__ import annotations

import errno
import itertools
import os
import socket

# Below those that systems give to the clients' ends of connections (Linux: from 32768 on): between the moment when a
# port is found free and the one when a server takes it, a connection of a neighbour cannot be given it.
PORTS = range(12_000, 32_000)
APART = 997  # ports between two processes whose numbers follow each other: neighbours do not look at the same ones

_TURN = itertools.count(os.getpid() * APART)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at the moment, another one at each call."""
    for _ in PORTS:
        port = PORTS[next(_TURN) % len(PORTS)]
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"every port of 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1} is in use")
