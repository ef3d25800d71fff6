"""HTTP for downloads: redirects, tokens, proxies, what an answer means and when to ask again. Writes no file."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2
import orjson

from minimon_server import __version__

MOST_REDIRECTS: Final = 10
LARGEST_JSON: Final = 16 * 1024 * 1024
LONGEST_WAIT: Final = 300.0  # seconds, whatever a server asks for
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({408, 425, 429})

T = TypeVar("T")


class Refused(Exception):
    """It cannot be had, and asking again would not help; the text is for people, and holds no token."""

    status = 1


class NeedsToken(Refused):
    """Whoever has it wants to know who asks."""

    status = 4


class Failed(Exception):
    """It did not work this time; `wait` is for how many seconds the server wants to be left alone, if it said so."""

    def __init__(self, text: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Token:
    """What opens one origin; `variable` is the environment variable that it came from, or would come from."""

    variable: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may be silent, in seconds, and how often it is asked again.

    Fewer than `least` bytes of a body within `silence` seconds count as silence too. `tries` are those without `enough`
    bytes of progress between them; `most` are all.
    """

    connect: float = 20.0
    silence: float = 60.0
    least: int = 16 << 10
    tries: int = 8
    most: int = 200
    enough: int = 1 << 20
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class Asker:
    """Sends GETs. A token goes to its own origin alone, wherever redirects lead; from https never to http."""

    def __init__(self, tokens: Mapping[str, Token], patience: Patience, tell: Callable[[str], None]) -> None:
        """`tokens` are by origin, as `origin_of` has them; `tell` gets a line for people before each new try."""
        self.patience = patience
        self._tokens = tokens
        self._tell = tell
        # Proxies and certificates as the environment has them; no cookies, no compression that could swell.
        self._client = httpx2.Client(
            headers={"Accept-Encoding": "identity", "User-Agent": f"minimon-server/{__version__}"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx2.Timeout(patience.silence, connect=patience.connect),
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Response]:
        """Give the answer to a GET, its body unread; raise `Refused` or `Failed` for one that is none of the body.

        The statuses that come through are 200, 206 and 416.
        """
        here = url
        try:
            for _ in range(MOST_REDIRECTS + 1):
                request = self._client.build_request("GET", here, headers={**(headers or {}), **self._opening(here)})
                answer = self._client.send(request, stream=True)
                try:
                    if answer.status_code not in _MOVED:
                        self._check(answer, url, here)
                        yield answer
                        return
                    here = _next(here, answer.headers.get("location", ""))
                finally:
                    answer.close()
        except httpx2.TimeoutException:
            raise Failed(f"{origin_of(here)} is silent") from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
            raise Refused(f"{origin_of(url)} redirects to what is no address") from None
        except httpx2.TransportError as error:
            raise Failed(f"the connection to {origin_of(here)} failed ({type(error).__name__})") from None
        raise Refused(f"{origin_of(url)} redirects more than {MOST_REDIRECTS} times")

    def body(self, answer: httpx2.Response) -> Iterator[bytes]:
        """Yield the pieces of a body as they come; raise `Failed` when they come too slowly.

        What counts is the time for which the server was waited for, not what is done with the pieces.
        """
        pieces, patience = answer.iter_raw(), self.patience
        waited, came = 0.0, 0
        while True:
            before = patience.clock()
            piece = next(pieces, None)
            waited += patience.clock() - before
            if piece is None:
                return
            yield piece
            came += len(piece)
            if waited >= patience.silence:
                if came < patience.least:
                    sent = f"{came} bytes in {waited:.3g} s"
                    raise Failed(f"{origin_of(str(answer.request.url))} sends next to nothing ({sent})")
                waited, came = 0.0, 0

    def get_json(self, url: str) -> tuple[Any, str | None]:
        """Return what JSON stands at `url`, and the address of the next page if there is one; asks again."""

        def attempt() -> tuple[Any, str | None]:
            with self.get(url) as answer:
                body = bytearray()
                for piece in self.body(answer):
                    body += piece
                    if len(body) > LARGEST_JSON:
                        raise Refused(f"{origin_of(url)} sends more than {LARGEST_JSON} bytes where a list is due")
                try:
                    found = orjson.loads(body)
                except orjson.JSONDecodeError:
                    raise Refused(f"{origin_of(url)} sends no JSON where a list is due") from None
                further = answer.links.get("next", {}).get("url")
            if further is not None and origin_of(further := _joined(url, further)) != origin_of(url):
                raise Refused(f"{origin_of(url)} continues its list at another origin")
            return found, further

        return self.again(attempt, lambda: 0)

    def again(self, attempt: Callable[[], T], done: Callable[[], int]) -> T:
        """Return what `attempt` does, made again after each `Failed`; raise `Refused` when that does not help.

        `done` tells how many bytes are there: who gets on may fail more often.
        """
        failures, before = 0, done()
        for _ in range(self.patience.most):
            try:
                return attempt()
            except Failed as error:
                failures = 0 if done() >= before + self.patience.enough else failures + 1
                before, problem = done(), str(error)
                if failures >= self.patience.tries:
                    break
                wait = min(2.0**failures, 30.0) if error.wait is None else min(error.wait, LONGEST_WAIT)
                self._tell(f"{problem}; trying again in {wait:g} s")
                self.patience.pause(wait)
        raise Refused(f"{problem}; given up, what is there is kept for the next time")

    def _opening(self, url: str) -> dict[str, str]:
        token = self._tokens.get(origin_of(url))
        return {"Authorization": f"Bearer {token.value}"} if token and token.value else {}

    def _check(self, answer: httpx2.Response, url: str, here: str) -> None:
        status = answer.status_code
        if status in (200, 206, 416):
            return
        origin = origin_of(here)
        if status in _LATER or status >= 500:
            raise Failed(f"{origin} answers {status}", _retry_after(answer))
        if status in (401, 403):
            if origin != origin_of(url):  # an address that was signed for a while, and is too old now
                raise Failed(f"{origin} answers {status}")
            token = self._tokens.get(origin)
            if token is None:
                raise NeedsToken(f"{origin} answers {status}: it lets nobody in without a password")
            does = "does not open it" if token.value else "is not set"
            raise NeedsToken(
                f"{origin} answers {status}, and {token.variable} {does}: accept the licence on its page, "
                f"make a token there and set {token.variable}"
            )
        raise Refused(f"{origin} answers {status}" + (": it is not there" if status in (404, 410) else ""))


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address, as texts that can be compared."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return "an address that is none"
    usual = (parts.scheme, port) in (("https", 443), ("http", 80))
    return f"{parts.scheme}://{parts.hostname}" + ("" if usual else f":{port}")


def _joined(here: str, further: str) -> str:
    try:
        return urljoin(here, further)
    except ValueError:
        return ""


def _next(here: str, location: str) -> str:
    further = _joined(here, location)
    if not location or urlsplit(further).scheme not in ("http", "https") or "@" in urlsplit(further).netloc:
        raise Refused(f"{origin_of(here)} redirects to what is no address")
    if here.startswith("https:") and not further.startswith("https:"):
        raise Refused(f"{origin_of(here)} redirects from https to http")
    return further


def _retry_after(answer: httpx2.Response) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, section 10.2.3): a number or a date."""
    told = answer.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return float(told[:6])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
