"""What `/ready` says: 200, or 503 with every reason, in the client's language."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.requests import Request

from minimon_server.errors import Text
from minimon_server.web.readiness import Check, Choice, Readiness


def asked(readiness: Readiness, language: bytes = b"en") -> tuple[int, dict[str, Any]]:
    scope = {"type": "http", "headers": [(b"accept-language", language)]}
    answer = asyncio.run(readiness.answer(Request(scope)))
    body: dict[str, Any] = orjson.loads(bytes(answer.body))
    assert readiness.is_ready is body["ready"] is (answer.status_code == 200)
    return answer.status_code, body


def test_every_part_tells_its_facts() -> None:
    moments = iter([10.0, 72.9])
    readiness = Readiness({"pictures": lambda: Check({"count": 6})}, clock=lambda: next(moments))
    readiness.end()
    scope = Request({"type": "http", "headers": []})
    body = orjson.loads(bytes(asyncio.run(readiness.answer(scope)).body))
    assert body["checks"]["pictures"] == {"ok": True, "count": 6}
    assert body["checks"]["process"]["uptimeSeconds"] == 62


def test_a_part_in_trouble_says_why() -> None:
    troubles = [Text("disque plein", "disk full")]
    readiness = Readiness(
        {"pictures": Check, "ledger": lambda: Check({"free": 0}, troubles[0] if troubles else None)},
    )
    status, body = asked(readiness)
    assert (status, body["reasons"]) == (503, ["disk full"])
    assert body["checks"]["ledger"] == {"ok": False, "free": 0}
    assert body["checks"]["pictures"] == {"ok": True}
    assert asked(readiness, b"fr")[1]["reasons"] == ["disque plein"]
    troubles.clear()
    assert asked(readiness)[0] == 200


def test_a_choice_is_told_with_its_reason_in_the_language_of_the_client() -> None:
    readiness = Readiness({})
    choice = Choice("asyncio", Text("uvloop manque", "uvloop is missing"))
    readiness.add("tuning", lambda: Check({"eventLoop": choice, "count": 1}))
    for language, reason in ((b"fr", "uvloop manque"), (b"en", "uvloop is missing")):
        told = asked(readiness, language)[1]["checks"]["tuning"]
        assert told == {"ok": True, "eventLoop": {"chosen": "asyncio", "reason": reason}, "count": 1}


def test_an_end_is_for_good() -> None:
    readiness = Readiness({})
    assert asked(readiness)[0] == 200
    readiness.end()
    assert asked(readiness) == (503, asked(readiness)[1])
    assert asked(readiness)[1]["reasons"] == ["The server is shutting down."]
