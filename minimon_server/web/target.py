"""What a request may be aimed at: targets and hosts that can mean only one thing. Reads no other part of a head."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from minimon_server.errors import BadRequest, Text

# RFC 9110, section 7.2: uri-host [":" port], and nothing that another parser could read otherwise.
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(:[0-9]{1,5})?")
_CONTROL: Final = re.compile(rb"[\x00-\x20\x7f-\xff\\]|%[01][0-9A-Fa-f]|%7[Ff]")


@lru_cache(maxsize=256)
def check_target(target: bytes) -> None:
    """Raise `BadRequest` unless a request target is a path, plainly written, and perhaps a query."""
    if not target.startswith(b"/") or target.startswith(b"//"):
        raise BadRequest(
            Text(
                "L'adresse demandée doit commencer par une seule barre oblique.",
                "The request target must begin with one slash, and only one.",
            )
        )
    if _CONTROL.search(target.partition(b"?")[0]):
        raise BadRequest(
            Text("Le chemin contient des caractères interdits.", "The path holds characters that are forbidden there.")
        )


def check_host(hosts: list[bytes], version: str) -> None:
    """Raise `BadRequest` unless there is one readable Host; HTTP/1.0 may do without (RFC 9112, section 3.2)."""
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise BadRequest(Text("Il faut un en-tête Host, et un seul.", "One Host header is needed, and only one."))
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest(Text("L'en-tête Host n'est pas lisible.", "The Host header cannot be read."))
