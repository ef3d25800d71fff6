"""A multipart/form-data body, part by part as it comes in, within its limits. Does not look into the parts.

RFC 7578. A browser sends such a body to any server without asking it first (CORS preflight), as it never does JSON: a
page from elsewhere must carry a header that makes it ask.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from minimon_server.errors import FieldMistake, Forbidden, InvalidRequest, PayloadTooLarge, Text
from minimon_server.json_mistakes import REPEATED
from minimon_server.web.problems import header

MULTIPART: Final = b"multipart/form-data"
# None of these may be sent across origins without a preflight (https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
ASKED_FIRST: Final = (b"authorization", b"idempotency-key", b"x-request-id")

# What the parser warns of is told to the client, and its request has a line of its own.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

_UNREADABLE: Final = Text("n'est pas du multipart/form-data lisible", "is not readable multipart/form-data")
_UNKNOWN: Final = Text("champ inconnu", "unknown field")
_FOREIGN: Final = Text(
    "Une page d'une autre origine doit envoyer un en-tête Idempotency-Key, X-Request-ID ou Authorization avec un "
    "formulaire, ou bien du JSON.",
    "A page of another origin must send an Idempotency-Key, X-Request-ID or Authorization header with a form, or else "
    "JSON.",
)


def is_form(scope: Scope) -> bool:
    """Return whether a request says that its body is multipart/form-data."""
    return header(scope, b"content-type").partition(b";")[0].strip(b" \t").lower() == MULTIPART


class _Parts:
    """What the parser tells of, gathered by the names of the parts."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.found: dict[str, bytearray] = {}
        self.is_whole = False
        self._limits = limits
        self._name = ""
        self._field, self._value, self._disposition = bytearray(), bytearray(), b""

    def begin(self) -> None:
        self._disposition = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not self._name:
            raise InvalidRequest(fields=[FieldMistake("body", _UNREADABLE)])
        if self._name not in self._limits:
            raise InvalidRequest(fields=[FieldMistake(self._name[:64], _UNKNOWN)])
        if self._name in self.found:
            raise InvalidRequest(fields=[FieldMistake(self._name, REPEATED)])
        self.found[self._name] = bytearray()

    def data(self, data: bytes, start: int, end: int) -> None:
        part, most = self.found[self._name], self._limits[self._name]
        if len(part) + end - start > most:
            told = Text(f"au plus {most} octets", f"at most {most} bytes")
            raise InvalidRequest(fields=[FieldMistake(self._name, told)])
        part += memoryview(data)[start:end]

    def end(self) -> None:
        self.is_whole = True

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return a parser that tells all this."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self.begin,
                "on_header_field": self.header_field,
                "on_header_value": self.header_value,
                "on_header_end": self.header_end,
                "on_headers_finished": self.headers_finished,
                "on_part_data": self.data,
                "on_end": self.end,
            },
        )


async def read_form(
    scope: Scope, receive: Receive, limits: Mapping[str, int], most_bytes: int, took: Callable[[int], None]
) -> dict[str, bytearray]:
    """Return the parts of a form by their names, each at most as long as `limits` says; no other part may be there.

    `took` hears the size of each piece of the body as it comes in. Raises `InvalidRequest`, `PayloadTooLarge`, and
    `Forbidden` for a page from elsewhere that has not asked whether it may.
    """
    _refuse_strangers(scope)
    _, options = parse_options_header(header(scope, b"content-type"))
    parts, size, more = _Parts(limits), 0, True
    try:
        parser = parts.parser(options[b"boundary"])
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > most_bytes:
                raise PayloadTooLarge(limit=most_bytes)
            took(len(piece))
            parser.write(piece)
            more = message.get("more_body", False)
    except (FormParserError, KeyError) as error:
        raise InvalidRequest(fields=[FieldMistake("body", _UNREADABLE)]) from error
    if not parts.is_whole:
        raise InvalidRequest(fields=[FieldMistake("body", _UNREADABLE)])
    return parts.found


def _refuse_strangers(scope: Scope) -> None:
    origin = header(scope, b"origin")
    if not origin or any(header(scope, name) for name in ASKED_FIRST):
        return
    if urlsplit(origin.decode("latin-1")).netloc != header(scope, b"host").decode("latin-1"):
        raise Forbidden(_FOREIGN)
