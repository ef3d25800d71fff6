"""Doors over real HTTP: who is busy is asked again, a token stays at home, redirects lead to addresses or nowhere."""

from __future__ import annotations

import pytest

from minimon_server.catalog.asking import NeedsToken, Refused, Token
from tests.catalog.fetch_scene import DATA, FILE, Place, whole
from tests.catalog.hub_server import Fault, serving


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (Fault(status=429, headers={"Retry-After": "7"}), 7.0),
        (Fault(status=503, headers={"Retry-After": "99999"}), 300.0),
        (Fault(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0.0),
        (Fault(status=500, headers={"Retry-After": "soon"}), 2.0),
        (Fault(status=502), 2.0),
    ],
)
def test_who_is_busy_is_asked_again_when_it_says(at: Place, answer: Fault, wait: float) -> None:
    at.server.faults[FILE] = [answer]
    at.fetch()
    whole(at)
    assert at.waits == [wait]


def test_who_stays_busy_is_given_up(at: Place) -> None:
    at.server.faults[FILE] = [Fault(status=503)] * 20
    with pytest.raises(Refused, match="answers 503; given up"):
        at.fetch()
    assert len(at.server.asked) == at.tries


def test_a_server_that_is_not_there_is_told(at: Place) -> None:
    at.server.shutdown()
    at.server.server_close()
    with pytest.raises(Refused, match=r"the connection to http://127\.0\.0\.1:\d+ failed \(ConnectError\)"):
        at.fetch()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("value", "said"), [("", "HF_TOKEN is not set"), ("t0psecret", "HF_TOKEN does not open it")])
def test_a_closed_door_says_which_token_opens_it(at: Place, status: int, value: str, said: str) -> None:
    at.tokens = {at.server.url: Token("HF_TOKEN", value)}
    at.server.faults[FILE] = [Fault(status=status)]
    with pytest.raises(NeedsToken, match=said) as told:
        at.fetch()
    assert "t0psecret" not in str(told.value) + at.said.getvalue() + repr(at.tokens)
    assert len(at.server.asked) == 1


def test_a_redirect_is_followed_and_the_token_stays_at_home(at: Place) -> None:
    at.tokens = {at.server.url: Token("HF_TOKEN", "t0psecret")}
    with serving() as other:
        other.files["/store"] = DATA
        at.server.redirects[FILE] = "/moved"
        at.server.redirects["/moved"] = f"{other.url}/store?signature=abc"
        other.faults["/store"] = [Fault(after=100_000)]
        at.fetch()
        whole(at)
        assert [headers.get("authorization") for _, headers in at.server.asked] == ["Bearer t0psecret"] * 4
        assert all("authorization" not in headers for _, headers in other.asked)
        assert other.ranges("/store") == ["", "bytes=100000-"]


def test_a_signed_address_that_is_too_old_is_asked_for_anew(at: Place) -> None:
    with serving() as other:
        other.files["/store"] = DATA
        at.server.redirects[FILE] = f"{other.url}/store"
        other.faults["/store"] = [Fault(status=403)]
        at.fetch()
        whole(at)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (FILE, "redirects more than 10 times"),
        ("file:///etc/passwd", "redirects to what is no address"),
        ("http://user:word@127.0.0.1/", "redirects to what is no address"),
        ("http://[::1", "redirects to what is no address"),
        ("", "redirects to what is no address"),
    ],
)
def test_redirects_to_nowhere_are_told(at: Place, target: str, problem: str) -> None:
    at.server.redirects[FILE] = target
    with pytest.raises(Refused, match=problem):
        at.fetch()
