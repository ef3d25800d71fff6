"""One request over plain HTTP, without what a client sets up for TLS. Knows no server."""

from __future__ import annotations

import ssl
from typing import Any, Final

import httpx2

# Whom a connection over TLS would trust. To read whom the system trusts takes 40 ms of processor for each request, and
# a server that starts meanwhile lacks them.
NOBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def ask(method: str, url: str, **more: Any) -> httpx2.Response:
    """Send a request, through no proxy, and return the answer."""
    return httpx2.request(method, url, trust_env=False, verify=NOBODY, **more)
