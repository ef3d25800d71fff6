"""Names from a language model behind any OpenAI-compatible `/chat/completions`. Importing this imports httpx2.

A name is a gift, never a condition: whatever the server does, the creature keeps its local name and the log says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, Literal, NamedTuple

import httpx2
import orjson

from minimon_server import __version__
from minimon_server.creatures.breaker import Breaker, State
from minimon_server.creatures.hatchery import Being
from minimon_server.creatures.name_parser import name_in
from minimon_server.creatures.naming import FallBack
from minimon_server.logs import Logger

MOST_CALLS: Final = 16
MOST_ANSWER_BYTES: Final = 64 * 1024
LOGGED_CHARACTERS: Final = 1024
# A name and the JSON around it take about twenty tokens; a model that thinks aloud is cut off.
MOST_TOKENS: Final = 64
TEMPERATURE: Final = 0.9
_JSON: Final = {"Content-Type": "application/json"}

Language = Literal["fr", "en"]

_DEMANDS: Final[dict[Language, tuple[str, str]]] = {
    "fr": (
        "Tu inventes des noms de créatures pour un jeu d'enfants. Réponds uniquement par un objet JSON strict, "
        '{"name": "..."}, sans rien avant ni après. Le nom : un mot inventé, doux à prononcer, en lettres seulement, '
        "de 4 à 16 lettres.",
        "Invente le nom français d'une créature de rareté {rarity} (de F, la plus commune, à S+, la plus rare), "
        "qui commence par « {opening} ».",
    ),
    "en": (
        "You invent names of creatures for a children's game. Answer with a strict JSON object and nothing else, "
        '{"name": "..."}, with no word before or after it. The name: one invented word, pleasant to say, letters '
        "only, 4 to 16 of them.",
        "Invent the English name of a creature of rarity {rarity} (from F, the commonest, to S+, the rarest) "
        'that begins with "{opening}".',
    ),
}


class Model(NamedTuple):
    """Whom to ask, and in which words."""

    base_url: str
    name: str
    api_key: str
    timeout: float
    language: Language


class _Unusable(Exception):
    """The server has answered, and not as a name server does; `content` is what it said."""

    def __init__(self, kind: FallBack, reason: str, content: bytes | str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.content = content


class RemoteNames:
    """Asks one server for names; at most sixteen at a time, each within the timeout, and not while it is down."""

    at_once: Final = False

    def __init__(
        self,
        model: Model,
        log: Logger,
        *,
        log_content: bool,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds that never run backwards; whoever makes this must `close` it."""
        self._model = model
        self._log = log
        self._log_content = log_content
        self._breaker = Breaker(clock)
        self._waiting: set[asyncio.Timeout] = set()
        self._stopped = False
        self.fall_backs: dict[FallBack, int] = dict.fromkeys(FallBack, 0)
        self._url = model.base_url + "/chat/completions"
        # No redirects, no retries, no proxies or passwords from the environment, no cookies, no compressed answers
        # that could swell. The timeout of each call is ours, around all of it.
        self._client = httpx2.AsyncClient(
            headers={
                "Authorization": f"Bearer {model.api_key}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"minimon-server/{__version__}",
            },
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=httpx2.Limits(
                max_connections=MOST_CALLS, max_keepalive_connections=MOST_CALLS, keepalive_expiry=30.0
            ),
            timeout=None,
            trust_env=False,
            follow_redirects=False,
        )

    @property
    def breaker(self) -> State:
        """Whether the server is asked now."""
        return self._breaker.state

    async def name_for(self, creature: Being) -> str | None:
        """Return the name that the model gave, or None for one of the reasons that the log tells."""
        if self._stopped:
            self._keep_local(creature, FallBack.ENDING, "the server is ending")
            return None
        if len(self._waiting) >= MOST_CALLS:
            self._keep_local(creature, FallBack.BUSY, f"{MOST_CALLS} calls are under way")
            return None
        ticket = self._breaker.admit()
        if ticket is None:  # told when the breaker opened; the request's own line says that the name is local
            self.fall_backs[FallBack.PAUSED] += 1
            return None
        try:
            async with asyncio.timeout(self._model.timeout) as limit:
                self._waiting.add(limit)
                try:
                    content = await self._ask(creature)
                finally:
                    self._waiting.discard(limit)
        except Exception as error:
            self._after_failure(ticket, creature, error)
            return None
        finally:
            self._breaker.abandoned(ticket)
        if self._breaker.succeeded(ticket):
            self._log.warning("remote names are back")
        return self._read(creature, content)

    def stop(self) -> None:
        """Let whoever waits for a name go on with the local one, now and from now on."""
        self._stopped = True
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Stop, and close the connections."""
        self.stop()
        await self._client.aclose()

    async def _ask(self, creature: Being) -> str:
        """Ask once; return what the model wrote."""
        async with self._client.stream("POST", self._url, content=self._demand(creature), headers=_JSON) as answer:
            answered = bytearray()
            async for piece in answer.aiter_raw():
                answered += piece
                if len(answered) > MOST_ANSWER_BYTES:
                    reason = f"an answer of more than {MOST_ANSWER_BYTES} bytes"
                    raise _Unusable(FallBack.TOO_LARGE, reason, bytes(answered))
        if answer.status_code != 200:
            raise _Unusable(FallBack.STATUS, f"status {answer.status_code}", bytes(answered))
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise _Unusable(FallBack.UNREADABLE, "a compressed answer, which was not asked for")
        return _message(bytes(answered))

    def _demand(self, creature: Being) -> bytes:
        # No `response_format`: servers differ in which kinds they take, and some refuse what they do not know.
        # The opening of the local name makes a model that always has the same idea have others.
        system, user = _DEMANDS[self._model.language]
        demand = {
            "model": self._model.name,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": user.format(rarity=creature.rarity, opening=creature.name[:2])},
            ],
            "max_tokens": MOST_TOKENS,
            "temperature": TEMPERATURE,
            "stream": False,
        }
        return orjson.dumps(demand)

    def _read(self, creature: Being, content: str) -> str | None:
        name = name_in(content)
        if name is None:
            self._keep_local(creature, FallBack.NO_NAME, "no name in the answer that may be shown", content)
        elif self._log_content:
            self._log.info("remote name", creature=creature.id, content=_capped(content))
        return name

    def _after_failure(self, ticket: int, creature: Being, error: Exception) -> None:
        if self._stopped:
            self._keep_local(creature, FallBack.ENDING, "the server is ending")
            return
        content: bytes | str = str(error)
        unexpected: dict[str, Any] = {}
        if isinstance(error, _Unusable):
            kind, reason, content = error.kind, str(error), error.content
        elif isinstance(error, TimeoutError):
            kind, reason = FallBack.TIMEOUT, f"no whole answer within {self._model.timeout:g} s"
        elif isinstance(error, httpx2.HTTPError | OSError):
            # The text of these may quote what the server sent: only their kind is always told.
            kind, reason = FallBack.CONNECTION, f"the connection failed: {type(error).__name__}"
        else:
            kind, reason, unexpected = FallBack.UNEXPECTED, "unexpected", {"exception": error}
        self._keep_local(creature, kind, reason, content, **unexpected)
        if self._breaker.failed(ticket):
            self._log.warning("remote names pause", seconds=self._breaker.pause, reason=reason)

    def _keep_local(
        self, creature: Being, kind: FallBack, reason: str, content: bytes | str = "", **more: object
    ) -> None:
        self.fall_backs[kind] += 1
        if content and self._log_content:
            more["content"] = _capped(content)
        self._log.warning("local name instead of a remote one", creature=creature.id, reason=reason, **more)


def _message(answered: bytes) -> str:
    """Return the text in an answer of `/chat/completions`, whatever the answer calls its own type."""
    try:
        content = orjson.loads(answered)["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise _Unusable(FallBack.UNREADABLE, "not an answer of /chat/completions", answered) from None
    if not isinstance(content, str):
        raise _Unusable(FallBack.UNREADABLE, "an answer without a text", answered)
    return content


def _capped(content: bytes | str) -> str:
    text = content[: 4 * LOGGED_CHARACTERS]
    return (text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text)[:LOGGED_CHARACTERS]
