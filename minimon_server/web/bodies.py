"""The body of a request, whole and within its limit, or a clear error. Does not look into it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from minimon_server.errors import PayloadTooLarge, Text, UnsupportedMediaType
from minimon_server.web.problems import header

MOST_BYTES = 16 * 1024


_JSON: Final = Text(
    "Le corps doit être annoncé par « Content-Type: application/json ».",
    "The body must be announced by 'Content-Type: application/json'.",
)


Took = Callable[[int], None]  # hears the size of each part of a body as it comes in; may raise to end it


async def read_json_body(
    scope: Scope, receive: Receive, most_bytes: int = MOST_BYTES, took: Took = lambda _: None
) -> bytes:
    """Return the body of a request that says it is JSON; see `read_body`."""
    return await read_body(scope, receive, ("application/json",), _JSON, most_bytes, took)


async def read_body(
    scope: Scope,
    receive: Receive,
    kinds: Collection[str],
    wanted: Text,
    most_bytes: int,
    took: Took = lambda _: None,
) -> bytes:
    """Return the body of a request that says it is one of `kinds`; `wanted` tells those that do not what to say.

    That it must say so is no pedantry: a page of another site cannot, without being asked first (CORS preflight), and
    would otherwise reach a server on its visitor's own machine. Raise `UnsupportedMediaType` or `PayloadTooLarge`;
    the edge refuses larger bodies before, where there is an edge.
    """
    if media_type_of(scope) not in kinds:
        raise UnsupportedMediaType(wanted)
    message = await receive()
    if not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        if len(body) > most_bytes:
            raise PayloadTooLarge(limit=most_bytes)
        took(len(body))
        return body
    parts, size = [message["body"]], len(message["body"])
    took(size)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most_bytes:
            raise PayloadTooLarge(limit=most_bytes)
        took(len(parts[-1]))
    return b"".join(parts)


def media_type_of(scope: Scope) -> str:
    """Return the media type that a request says its body has, without parameters, or nothing."""
    return header(scope, b"content-type").partition(b";")[0].strip(b" \t").lower().decode("latin-1")
