"""`GET /v1/generate`: a creature as JSON or as a bare picture. Decides the form, not the creature."""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import quote

import orjson
from starlette.types import Receive, Scope, Send

from minimon_server.creatures.dice import Dice
from minimon_server.creatures.hatchery import Creature, Hatchery, dice_of_seed
from minimon_server.creatures.naming import NameSource
from minimon_server.creatures.recent import Given, Recent
from minimon_server.creatures.sprites import sprite_of
from minimon_server.errors import GenerationFailed, QueueFull, SigningUnavailable, Text
from minimon_server.jobs.errors import EngineUnavailable
from minimon_server.settings import Settings
from minimon_server.times import Clock
from minimon_server.web.creature_schemas import CreatureOrSigned
from minimon_server.web.guide import Answer, Guide
from minimon_server.web.observe import note
from minimon_server.web.problems import header, weighted
from minimon_server.web.schemas import GenerateQuery
from minimon_server.web.signed_creatures import Signatory, as_header
from minimon_server.web.tally import Tally
from minimon_server.web.validation import read_query

Headers = list[tuple[bytes, bytes]]

_OPENING: Final = b'{"imageBase64":"'
_CLOSING: Final = b'","metadata":{"id":"'
# Nothing may be kept by a cache, so nothing has to say by what it varies.
_JSON_HEADERS: Final[Headers] = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_PNG_HEADERS: Final[Headers] = [(b"content-type", b"image/png"), (b"cache-control", b"no-store")]
BARE: Final = GenerateQuery()

ANSWERS: Final = (
    Answer(
        Text("La créature.", "The creature."),
        {"application/json": CreatureOrSigned, "image/png": "bytes"},
        headers={
            "X-Minimon-Id": Text(
                "Son id ; si la réponse est coupée, /v1/creatures/{id} la redonne.",
                "Its id; where the answer is cut off, /v1/creatures/{id} gives it again.",
            ),
            "X-Minimon-Name": Text("Avec l'image seule : son nom.", "With the bare picture: its name."),
            "X-Minimon-Rarity": Text("Avec l'image seule : sa rareté.", "With the bare picture: its rarity."),
            "X-Minimon-Generated-At": Text("Avec l'image seule : l'heure.", "With the bare picture: the time."),
            "X-Minimon-Signed": Text(
                "Avec l'image seule et `sign=1` : l'objet `signed` en base64.",
                "With the bare picture and `sign=1`: the object `signed` in base64.",
            ),
        },
    ),
)

GUIDE: Final = Guide(
    summary=Text("Un Minimon entier, nouveau à chaque fois.", "A whole Minimon, a new one each time."),
    detail=Text(
        "Image, nom et rareté. JSON, ou l'image seule pour qui la préfère par `Accept: image/png`.",
        "Picture, name and rarity. JSON, or the bare picture for whoever prefers it by `Accept: image/png`.",
    ),
    query=GenerateQuery,
    answers=ANSWERS,
    errors=(GenerationFailed, QueueFull, EngineUnavailable, SigningUnavailable),
    samples=(
        "-k {token}{base}/v1/generate",
        "-k {token}-H 'Accept: image/png' {base}/v1/generate -o creature.png",
        "-k {token}'{base}/v1/generate?rarity=S%2B&seed=42'",
        "-k {token}'{base}/v1/generate?background=transparent&sign=1'",
    ),
)


class Answers:
    """How a creature is told: as JSON or as a bare picture, counted and noted in the log."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        tally: Tally,
        recent: Recent | None = None,
        signatory: Signatory | None = None,
    ) -> None:
        self.recent = recent or Recent()
        self.signatory = signatory or Signatory(None)
        self._clock = clock
        self._born = tally.creatures
        self._log_base64 = settings.log_image_b64
        self._log_bytes = settings.log_sample_image_bytes

    async def give(
        self,
        scope: Scope,
        send: Send,
        creature: Creature,
        head: bytes,
        *,
        local_name: bool,
        own_bytes: int = 0,
        sign: bool = False,
    ) -> None:
        """Send a new creature; `head` is its answer up to its id, `local_name` says that its name is plain ASCII.

        `own_bytes` is the memory that is this creature's alone, see `Recent.keep`.
        """
        self._born[creature.rarity] += 1
        given = Given(creature, head, self._clock.now(), local_name)
        self.recent.keep(given, own_bytes=own_bytes)
        await self.tell(scope, send, given, sign=sign)

    async def tell(self, scope: Scope, send: Send, given: Given, *, sign: bool = False) -> None:
        """Send a creature, also one that was sent before, with a signature if one is asked for."""
        self._note(scope, given.creature)
        signed = await self.signatory.signed(given) if sign else b""
        if wants_png(header(scope, b"accept")):
            await self._send_png(given, send, signed)
        else:
            await self._send_json(given, send, signed)

    async def _send_json(self, given: Given, send: Send, signed: bytes) -> None:
        creature, head, at, local_name = given
        # The head goes out as it lies there, without a copy: `wire` lets both pieces leave together.
        # Nothing here needs escaping: ids, local names and rarities are ASCII letters, digits, "_" and "+".
        name = f'"{creature.name}"' if local_name else orjson.dumps(creature.name).decode()
        tail = (f'{creature.id}","name":{name},"rarity":"{creature.rarity}"}},"generatedAt":"{at}"').encode()
        tail += b',"signed":%b}' % signed if signed else b"}"
        length = (b"content-length", b"%d" % (len(head) + len(tail)))
        # First of all: of an answer that is cut off, /v1/creatures/{id} has the whole.
        own_id = (b"x-minimon-id", creature.id.encode("ascii"))
        await send({"type": "http.response.start", "status": 200, "headers": [*_JSON_HEADERS, length, own_id]})
        await send({"type": "http.response.body", "body": head, "more_body": True})
        await send({"type": "http.response.body", "body": tail})

    async def _send_png(self, given: Given, send: Send, signed: bytes) -> None:
        creature, _, at, local_name = given
        png = creature.picture.png
        headers = [
            *_PNG_HEADERS,
            (b"x-minimon-id", creature.id.encode("ascii")),
            (b"x-minimon-name", (creature.name if local_name else quote(creature.name, safe="")).encode("ascii")),
            (b"x-minimon-rarity", creature.rarity.encode("ascii")),
            (b"x-minimon-generated-at", at.encode("ascii")),
            (b"content-length", b"%d" % len(png)),
            *([(b"x-minimon-signed", as_header(signed))] if signed else []),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": png})

    def _note(self, scope: Scope, creature: Creature) -> None:
        note(scope, creature=creature.id, rarity=creature.rarity)
        if self._log_base64:
            note(scope, image_b64=base64.b64encode(creature.picture.png).decode("ascii"))
        if self._log_bytes:
            note(scope, image_bytes=creature.picture.png[: self._log_bytes].hex())


class Generate:
    """The endpoint, as a plain ASGI application: it is the one route whose every microsecond counts."""

    def __init__(self, hatchery: Hatchery, names: NameSource, answers: Answers, dice: Dice, tally: Tally) -> None:
        self._hatchery = hatchery
        self._names = names
        self._at_once = names.at_once
        # The pictures never change: each one is encoded here, once, up to where the creature itself begins.
        told = {*hatchery.pictures, *hatchery.sprites.values()}
        self._heads = {picture: head_of(base64.b64encode(picture.png)) for picture in told}
        self._answers = answers
        self._dice = dice
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        query = read_query(scope, GenerateQuery) if scope["query_string"] else BARE
        if sign := query.sign == "1":
            await self._answers.signatory.check()
        creature = self._hatch(query)
        if query.background is not None:
            creature = sprite_of(self._hatchery, creature)
        # A seed is a creature for ever, and no language model promises to repeat itself.
        if not self._at_once and query.seed is None:
            creature = await self._renamed(scope, creature)
        head = self._heads[creature.picture]
        await self._answers.give(scope, send, creature, head, local_name=self._at_once, sign=sign)

    def _hatch(self, query: GenerateQuery) -> Creature:
        try:
            thrown = self._dice.throw() if query.seed is None else dice_of_seed(query.seed, query.rarity)
            return self._hatchery.hatch(thrown, query.rarity)
        except Exception as error:
            raise GenerationFailed from error

    async def _renamed(self, scope: Scope, creature: Creature) -> Creature:
        name = await self._names.name_for(creature)
        note(scope, name_from="local" if name is None else "remote")
        if name is None:
            return creature
        self._tally.remote_names += 1
        return creature._replace(name=name)


def head_of(picture_base64: bytes) -> bytes:
    """Return the JSON answer up to the creature's id."""
    return _OPENING + picture_base64 + _CLOSING


def wants_png(accept: bytes) -> bool:
    """Return whether a client that sends this `Accept` would rather have the picture than JSON.

    JSON is what it gets when it does not say, likes both the same, or wants neither (RFC 9110, section 12.5.1).
    """
    if not accept or accept == b"*/*":
        return False
    png, json = (0, 0.0), (0, 0.0)
    for media_range, quality in weighted(accept):
        png = max(png, (_precision(media_range, "image/png"), quality))
        json = max(json, (_precision(media_range, "application/json"), quality))
    return (png[1] if png[0] else 0.0) > (json[1] if json[0] else 0.0)


def _precision(media_range: str, media_type: str) -> int:
    """Return how precisely a range names a type: 3 itself, 2 its kind, 1 anything, 0 not at all."""
    if media_range == media_type:
        return 3
    if media_range == media_type.partition("/")[0] + "/*":
        return 2
    return 1 if media_range == "*/*" else 0
