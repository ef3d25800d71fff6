"""Ports for servers: free, each another one, and none that a client's end of a connection may be given."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from bench import ports
from bench.ports import PORTS, free_port

USUAL_FIRST = 32768  # Linux; those of other systems are higher
GIVEN_TO_CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_each_is_another_one_that_a_server_can_take() -> None:
    found = [free_port() for _ in range(200)]
    assert len(set(found)) == len(found)
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.skipif(not GIVEN_TO_CLIENTS.exists(), reason="this system does not tell which ports clients get")
def test_no_connection_is_given_one_of_them() -> None:
    first = int(GIVEN_TO_CLIENTS.read_text("ascii").split()[0])
    if first < USUAL_FIRST:
        pytest.skip(f"this system was set to give clients ports from {first} on")
    assert PORTS.stop <= first


def test_one_in_use_is_passed_over_and_none_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    monkeypatch.setattr(ports, "PORTS", range(first, first + 1))
    with socket.create_server(("127.0.0.1", first)), pytest.raises(OSError, match="every port of 127") as caught:
        free_port()
    assert caught.value.errno == errno.EADDRINUSE
    assert free_port() == first
