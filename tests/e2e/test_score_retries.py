"""Idempotency keys over real sockets: one record however often and however fast a client asks, also after a restart."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.score_server import Answered, Asker, ScoreServer, acknowledged, check_nothing_lost

RACERS = 200
BODY = b'{"score":12.5,"subject":"racer"}'
SAME = b'{ "subject": "racer", "score": 1.25e1 }'  # says the same in other words


def ask(asker: Asker, key: str, body: bytes = BODY, query: str = "") -> Answered:
    return asker.ask("POST", f"/v1/certify-score{query}", body, Idempotency_Key=key, Accept_Language="en")


def race(port: int, key: str) -> list[Answered]:
    """Let many clients ask at once, each on a connection that is open already."""
    answers: list[Answered] = []
    line = threading.Barrier(RACERS)

    def racer() -> None:
        asker = Asker(port)
        asker.ask("GET", "/health")
        line.wait(60)
        answers.append(ask(asker, key))
        asker.close()

    threads = [threading.Thread(target=racer) for _ in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def check_mismatch(answer: Answered) -> None:
    assert (answer.status, answer.json["code"]) == (422, "IDEMPOTENCY_MISMATCH"), answer


def test_one_key_is_one_record_whatever_happens(tmp_path: Path) -> None:
    with ScoreServer(tmp_path) as server:
        answers = race(server.http_port, "the-key")
        told = Counter(answer.status for answer in answers)
        assert set(told) <= {200, 409}, told
        assert told.total() == RACERS
        (certified,) = {answer.body for answer in answers if answer.status == 200}
        for answer in answers:
            if answer.status == 409:
                assert answer.json["code"] == "CONFLICT"
                assert answer.headers["retry-after"] == "1"
        assert server.ledger.read_bytes().count(b"\n") == 1
        _check_repeats(server, certified)
        server.kill()
    with ScoreServer(tmp_path) as anew:
        _check_repeats(anew, certified)
        check_nothing_lost(anew, [certified, acknowledged(ask(anew.asker, "another key!".replace(" ", "-")))])
        assert anew.ledger.read_bytes().count(b"\n") == 2


def _check_repeats(server: ScoreServer, certified: bytes) -> None:
    assert acknowledged(ask(server.asker, "the-key")) == certified
    assert acknowledged(ask(server.asker, "the-key", SAME)) == certified
    assert acknowledged(ask(server.asker, "the-key", query="?signature=native")) == certified
    check_mismatch(ask(server.asker, "the-key", b'{"score":12.6,"subject":"racer"}'))
    check_mismatch(ask(server.asker, "the-key", b'{"score":12.5,"subject":"racer","nonce":"mine"}'))
    check_mismatch(ask(server.asker, "the-key", query="?signature=raw"))
    check_mismatch(ask(server.asker, "the-key", query="?signature=jws"))
    refused = ask(server.asker, "the-key", b'{"score":12.5}')
    assert (refused.status, refused.json["code"]) == (422, "INVALID_REQUEST")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with ScoreServer(tmp_path_factory.mktemp("keys")) as running:
        yield running


@pytest.mark.parametrize("key", ["", "a b", "é", "a" * 256, "tab\tin it"], ids=["empty", "space", "é", "256", "tab"])
def test_a_malformed_key_is_named(server: ScoreServer, key: str) -> None:
    refused = ask(server.asker, key)
    assert refused.status == 422, refused
    (mistake,) = refused.json["errors"]
    assert mistake == {"field": "Idempotency-Key", "message": "once, 1 to 255 visible ASCII characters"}


def test_a_long_key_and_all_visible_characters_are_taken(server: ScoreServer) -> None:
    for key in ("a" * 255, "".join(chr(code) for code in range(33, 127))):
        assert acknowledged(ask(server.asker, key)) == acknowledged(ask(server.asker, key))
