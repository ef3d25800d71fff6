"""Remote names against a real HTTP server that does what the test wants, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from minimon_server.creatures.hatchery import Creature
from minimon_server.creatures.naming import FallBack
from minimon_server.creatures.rarity import Rarity
from minimon_server.creatures.remote_names import MOST_CALLS, Model, RemoteNames
from minimon_server.engines.files import Picture
from minimon_server.logs import Lines, LogSink
from tests.odd_model import Line, OddModel, Talk, answers, chat, hangs, says, writes

CREATURE = Creature("mnm_1", "Sunnaprowl", Rarity.S_PLUS, Picture(1, 1, b""))
RIGHT = '{"name": "Étoile d\'Or"}'
LONG = 3600.0

Log = list[dict[str, Any]]


class Hand:
    """A clock's hand."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


def with_names(
    folder: Path,
    model: OddModel,
    work: Callable[[RemoteNames, Hand], Awaitable[None]],
    *,
    timeout: float = LONG,
    log_content: bool = False,
    language: Any = "fr",
) -> Log:
    """Run `work` on a source of names that asks `model`; return what was logged."""
    path, hand = folder / "log", Hand()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    sink = LogSink(descriptor)

    async def run() -> None:
        log = Lines(sink, level="DEBUG", as_json=True).logger()
        asked = Model(model.url, "tiny", "s3sam", timeout, language)
        names = RemoteNames(asked, log, log_content=log_content, clock=hand)
        try:
            await work(names, hand)
        finally:
            await names.close()

    try:
        asyncio.run(run())
    finally:
        sink.close()
        os.close(descriptor)
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def one_name(folder: Path, talk: Talk, **options: Any) -> tuple[str | None, Log]:
    """Return the name that a creature gets from a model that does this, and the log."""
    got: list[str | None] = []

    async def work(names: RemoteNames, _: Hand) -> None:
        got.append(await names.name_for(CREATURE))

    with OddModel(talk) as model:
        log = with_names(folder, model, work, **options)
    return got[0], log


@pytest.mark.parametrize(("language", "word"), [("fr", "rareté"), ("en", "rarity")])
def test_what_is_asked(tmp_path: Path, language: str, word: str) -> None:
    names: list[str | None] = []

    async def work(source: RemoteNames, _: Hand) -> None:
        names.extend([await source.name_for(CREATURE), await source.name_for(CREATURE)])

    with OddModel(answers(chat(RIGHT), more="Set-Cookie: track=me; Path=/\r\n")) as model:
        assert with_names(tmp_path, model, work, language=language) == []
    assert names == ["Étoile d'Or"] * 2
    for first, head, body in model.asked:
        assert first == "POST /v1/chat/completions HTTP/1.1"
        assert head["authorization"] == "Bearer s3sam"
        assert head["accept-encoding"] == "identity"
        assert "cookie" not in head
        assert (body["model"], body["stream"], body["max_tokens"]) == ("tiny", False, 64)
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert '{"name": "..."}' in body["messages"][0]["content"]
        assert f"{word} S+" in body["messages"][1]["content"]


def test_a_proxy_and_a_password_of_the_environment_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert one_name(tmp_path, writes(RIGHT)) == ("Étoile d'Or", [])


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (writes('{"name": "name"}'), "no name in the answer"),
        (writes(""), "no name in the answer"),
        (writes(None), "an answer without a text"),
        (writes([{"type": "text"}]), "an answer without a text"),
        (answers(b"[]"), "not an answer of /chat/completions"),
        (answers(b'{"choices": []}'), "not an answer of /chat/completions"),
        (answers(b"\xff\xfe"), "not an answer of /chat/completions"),
        (answers(b"[" * 60_000), "not an answer of /chat/completions"),
        (answers(b"{}", "302 Found", more="Location: /v1/elsewhere\r\n"), "status 302"),
        (answers(b"secret words", "500 Internal Server Error"), "status 500"),
        (answers(b"x" * 70_000), "more than 65536 bytes"),
        (answers(gzip.compress(chat(RIGHT)), more="Content-Encoding: gzip\r\n"), "compressed"),
        (says(b"secret words\r\n\r\n"), "RemoteProtocolError"),
        (says(b""), "the connection failed"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "the connection failed"),
    ],
)
def test_every_refusal_has_its_reason_and_shows_no_content(tmp_path: Path, talk: Talk, reason: str) -> None:
    name, (line,) = one_name(tmp_path, talk)
    assert name is None
    assert (line["level"], line["event"], line["creature"]) == (
        "warning",
        "local name instead of a remote one",
        "mnm_1",
    )
    assert reason in line["reason"]
    assert "content" not in line
    assert "secret" not in json.dumps(line)


def test_content_is_logged_when_asked_for_capped_and_escaped(tmp_path: Path) -> None:
    _, (line,) = one_name(tmp_path, answers(b"secret words \x1b[2J" + b"x" * 5000, "500 No"), log_content=True)
    assert line["content"].startswith("secret words \x1b[2J")
    assert len(line["content"]) == 1024
    assert b"\x1b" not in (tmp_path / "log").read_bytes()
    (tmp_path / "log").unlink()
    name, (line,) = one_name(tmp_path, writes(RIGHT), log_content=True)
    assert (name, line["content"]) == ("Étoile d'Or", RIGHT)


def test_a_time_out_ends_the_wait(tmp_path: Path) -> None:
    name, (line,) = one_name(tmp_path, hangs, timeout=0.1)
    assert (name, line["reason"]) == (None, "no whole answer within 0.1 s")


def test_calls_do_not_pile_up_and_stopping_lets_everyone_go(tmp_path: Path) -> None:
    everyone = threading.Barrier(MOST_CALLS + 1)

    def hang(model: OddModel, line: Line) -> bool:
        everyone.wait()
        return hangs(model, line)

    async def work(names: RemoteNames, _: Hand) -> None:
        waiting = [asyncio.create_task(names.name_for(CREATURE)) for _ in range(MOST_CALLS)]
        await asyncio.to_thread(everyone.wait)
        assert [await names.name_for(CREATURE) for _ in range(5)] == [None] * 5
        names.stop()
        assert await asyncio.gather(*waiting) == [None] * MOST_CALLS
        assert await names.name_for(CREATURE) is None
        assert {reason: count for reason, count in names.fall_backs.items() if count} == {
            FallBack.BUSY: 5,
            FallBack.ENDING: MOST_CALLS + 1,
        }

    with OddModel(hang) as model:
        log = with_names(tmp_path, model, work)
    assert len(model.asked) == MOST_CALLS
    reasons = [line["reason"] for line in log]
    assert reasons == ["16 calls are under way"] * 5 + ["the server is ending"] * (MOST_CALLS + 1)


def test_after_three_failures_it_pauses_and_one_trial_brings_it_back(tmp_path: Path) -> None:
    async def work(names: RemoteNames, hand: Hand) -> None:
        assert [await names.name_for(CREATURE) for _ in range(9)] == [None] * 9
        assert len(model.asked) == 3
        hand.at += 30
        assert [await names.name_for(CREATURE) for _ in range(9)] == [None] * 9
        assert len(model.asked) == 4
        model.behaviour = writes(RIGHT)
        hand.at += 30
        assert await names.name_for(CREATURE) is None
        hand.at += 30
        assert [await names.name_for(CREATURE) for _ in range(3)] == ["Étoile d'Or"] * 3

    with OddModel(answers(b"", "503 Busy")) as model:
        log = with_names(tmp_path, model, work)
    assert [line["event"] for line in log] == [
        *["local name instead of a remote one"] * 3,
        "remote names pause",
        "local name instead of a remote one",
        "remote names are back",
    ]
    assert log[3]["seconds"] == 30


def test_a_refused_name_is_no_failure_of_the_server(tmp_path: Path) -> None:
    async def work(names: RemoteNames, _: Hand) -> None:
        assert [await names.name_for(CREATURE) for _ in range(5)] == [None] * 5

    with OddModel(writes("<html>")) as model:
        with_names(tmp_path, model, work)
    assert len(model.asked) == 5


def test_a_caller_that_gives_up_leaves_room_for_the_next_trial(tmp_path: Path) -> None:
    asked = threading.Event()

    def hang(model: OddModel, line: Line) -> bool:
        asked.set()
        return hangs(model, line)

    async def work(names: RemoteNames, hand: Hand) -> None:
        for _ in range(3):
            await names.name_for(CREATURE)
        hand.at += 30
        model.behaviour = hang
        trial = asyncio.create_task(names.name_for(CREATURE))
        await asyncio.to_thread(asked.wait)
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial
        model.behaviour = writes(RIGHT)
        assert await names.name_for(CREATURE) == "Étoile d'Or"

    with OddModel(answers(b"", "503 Busy")) as model:
        with_names(tmp_path, model, work)
