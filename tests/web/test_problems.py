"""Errors as they are told: the form of RFC 9457, and the language of the client."""

from __future__ import annotations

import json

import pytest

from minimon_server import errors
from minimon_server.errors import FieldMistake, InvalidRequest, MinimonError, RateLimited, Text
from minimon_server.web.problems import problem, spoken_language


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [
        ("", "fr"),
        ("*", "fr"),
        ("fr", "fr"),
        ("fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("FR", "fr"),
        ("en", "en"),
        ("en-GB,en;q=0.9,fr;q=0.8", "en"),
        ("de", "en"),
        ("de,fr;q=0.5", "fr"),
        ("de,en;q=0.3,fr;q=0.5", "fr"),
        ("fr;q=0", "en"),
        ("en;q=0.5,*;q=0.1", "en"),
        ("de, *;q=0.5", "fr"),
        ("en;q=nonsense", "en"),
        (";;;,,,q=1", "en"),
        ("x" * 100_000, "en"),
    ],
)
def test_the_language_follows_the_client(asked: str, spoken: str) -> None:
    assert spoken_language(asked.encode()) == spoken


def test_the_members_are_those_of_the_standard_and_ours() -> None:
    scope = {"headers": [(b"accept-language", b"en")], "minimon.request_id": "abc"}
    error = InvalidRequest(fields=[FieldMistake("seed", Text("mauvais", "wrong"))])
    response = problem(error, scope)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["content-language"] == "en"
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Invalid request",
        "status": 422,
        "detail": "The request holds invalid fields; 'errors' names each one.",
        "code": "INVALID_REQUEST",
        "requestId": "abc",
        "errors": [{"field": "seed", "message": "wrong"}],
    }


def test_codes_and_fields_do_not_change_with_the_language() -> None:
    error = RateLimited(limit=60, retry_after=7)
    french, english = (
        json.loads(bytes(problem(error, {"headers": [(b"accept-language", language)]}).body))
        for language in (b"fr", b"en")
    )
    assert french["code"] == english["code"] == "RATE_LIMITED"
    assert french["detail"] != english["detail"]
    assert "7 s" in french["detail"]


def test_every_error_has_a_code_of_its_own_and_speaks_both_languages() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, MinimonError)]
    assert len({one.code for one in classes}) == len(classes) >= 8
    for one in classes:
        assert one.code.isupper()
        assert 400 <= one.status <= 599
        assert one.title.fr
        assert one.title.en
        assert one.title.fr != one.title.en
