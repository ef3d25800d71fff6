"""What a client sends to be drawn: the body within its bounds, and the pictures in it. Accepts no job.

Bodies with pictures are bounded together, not only one by one: what all requests hold at once has an upper end.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from string import ascii_letters, digits
from types import MappingProxyType
from typing import Final

from starlette.types import Receive, Scope

from minimon_server.errors import FieldMistake, InvalidRequest, Text
from minimon_server.jobs.errors import NoRoom
from minimon_server.jobs.inputs import InputFile, Inputs
from minimon_server.json_mistakes import REPEATED
from minimon_server.web.bodies import read_json_body
from minimon_server.web.forms import is_form, read_form
from minimon_server.web.input_schemas import LARGEST_BODY, LARGEST_TEXT
from minimon_server.web.job_schemas import DrawBody
from minimon_server.web.validation import Examined, examine_json

PICTURES: Final = ("init_image", "mask", "ip_adapter_image")
NO_FILES: Final[Mapping[str, bytes]] = MappingProxyType({})
# The parts of a form, and how long each may be.
PARTS: Final = {"request": LARGEST_TEXT, **dict.fromkeys(PICTURES, LARGEST_BODY)}
# Of all bodies beyond LARGEST_TEXT together. A body is held as text, as base64 and as files: half a gigabyte at most.
MOST_AT_ONCE: Final = 128 * 1024 * 1024
_DATA_URL: Final = re.compile(r"data:[\w.+/;=-]{0,128};base64,", re.ASCII)

_BASE64: Final = (ascii_letters + digits + "+/=").encode("ascii")

_TEXTS: Final = Text(f"hors base64, au plus {LARGEST_TEXT} octets", f"besides base64, at most {LARGEST_TEXT} bytes")
_NOT_BASE64: Final = Text("n'est pas du base64 (RFC 4648, section 4)", "is not base64 (RFC 4648, section 4)")
_MISSING: Final = Text("manque : le JSON de la demande", "is missing: the JSON of the request")
_RECEIVING: Final = Text(
    "Trop d'images arrivent en même temps ; réessayez.", "Too many pictures are coming in at once; try again."
)


@dataclass(frozen=True, slots=True)
class Sent:
    """An examined body, and the file of each picture that came with it, or its base64."""

    examined: Examined[DrawBody]
    files: Mapping[str, bytes | str]


class Room:
    """How many bytes of large bodies all requests may hold together. For the event loop."""

    def __init__(self, most_bytes: int = MOST_AT_ONCE) -> None:
        self._most_bytes = most_bytes
        self._held = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield what a request calls with the size of each part as it comes in; raises `NoRoom`."""
        size = held = 0

        def took(count: int) -> None:
            nonlocal size, held
            size += count
            more = max(0, size - LARGEST_TEXT) - held
            if self._held + more > self._most_bytes:
                raise NoRoom(_RECEIVING)
            held += more
            self._held += more

        try:
            yield took
        finally:
            self._held -= held


class Intake:
    """Reads what `POST /generate` is sent."""

    def __init__(self, inputs: Inputs, room: Room | None = None) -> None:
        self._inputs = inputs
        self._room = room or Room()

    @asynccontextmanager
    async def body(self, scope: Scope, receive: Receive) -> AsyncIterator[Sent]:
        """Yield what was sent, and hold its room for as long."""
        with self._room.share() as took:
            if is_form(scope):
                yield _from_form(await read_form(scope, receive, PARTS, LARGEST_BODY, took))
            else:
                whole = await read_json_body(scope, receive, LARGEST_BODY, took)
                _check_texts(whole)
                examined = examine_json(whole, DrawBody)
                yield Sent(examined, _encoded(examined.read))

    async def unpacked(self, sent: Sent) -> dict[str, bytes]:
        """Return the files of the pictures; raise `InvalidRequest` naming those that are not base64."""
        found: dict[str, bytes] = {}
        mistakes: list[FieldMistake] = []
        for field, file in sent.files.items():
            try:
                found[field] = file if isinstance(file, bytes) else await asyncio.to_thread(decoded, field, file)
            except InvalidRequest as error:
                mistakes += error.fields
        if mistakes:
            raise InvalidRequest(fields=mistakes)
        return found

    async def digests(self, files: Mapping[str, bytes]) -> dict[str, str]:
        """Return the SHA-256 of each file, in hex."""
        if not files:
            return {}
        return await asyncio.to_thread(lambda: {field: sha256(file).hexdigest() for field, file in files.items()})

    async def pictures(self, files: Mapping[str, bytes]) -> dict[str, InputFile]:
        """Return the pictures by their fields, each read to its last pixel; raise `InvalidRequest` naming the others.

        A job that is accepted with them never fails for a picture that cannot be read.
        """
        found: dict[str, InputFile] = {}
        mistakes: list[FieldMistake] = []
        for field, file in files.items():
            try:
                found[field] = await self._inputs.read(field, file)
            except InvalidRequest as error:
                mistakes += error.fields
        if mistakes:
            raise InvalidRequest(fields=mistakes)
        return found


def decoded(field: str, text: str) -> bytes:
    """Return what base64 holds, with or without a data: URL before it; line ends count for nothing."""
    head = _DATA_URL.match(text)
    bare = text[head.end() if head else 0 :].replace("\n", "").replace("\r", "")
    if len(bare) % 4:
        raise InvalidRequest(fields=[FieldMistake(field, _NOT_BASE64)])
    try:
        return binascii.a2b_base64(bare, strict_mode=True)
    except ValueError as error:
        raise InvalidRequest(fields=[FieldMistake(field, _NOT_BASE64)]) from error


def _check_texts(body: bytes) -> None:
    """Refuse a large body that is not large by its pictures: millions of short texts hold up whoever reads JSON."""
    if len(body) > LARGEST_TEXT and len(body.translate(None, _BASE64)) > LARGEST_TEXT:
        raise InvalidRequest(fields=[FieldMistake("body", _TEXTS)])


def _encoded(body: DrawBody | None) -> dict[str, bytes | str]:
    if body is None:
        return {}
    texts = {field: getattr(body, field) for field in PICTURES}
    return {field: text for field, text in texts.items() if text is not None}


def _from_form(parts: Mapping[str, bytearray]) -> Sent:
    if "request" not in parts:
        raise InvalidRequest(fields=[FieldMistake("request", _MISSING)])
    examined = examine_json(bytes(parts["request"]), DrawBody)
    encoded = _encoded(examined.read)
    sent: dict[str, bytes | str] = {field: bytes(parts[field]) for field in PICTURES if field in parts}
    if twice := sorted(encoded.keys() & sent.keys()):
        raise InvalidRequest(fields=[FieldMistake(field, REPEATED) for field in twice])
    return Sent(examined, encoded | sent)
