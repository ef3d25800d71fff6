"""A whole server with a name server that misbehaves in every way: each answer is 200, with a name that may be shown."""

from __future__ import annotations

import base64
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

from prometheus_client.parser import text_string_to_metric_families

from minimon_server.creatures.name_parser import allowed
from minimon_server.creatures.names import NAME_COUNT, local_name
from minimon_server.engines.files import png_size
from tests.e2e.asking import ask
from tests.e2e.running import PATIENCE, RunningServer, free_ports
from tests.odd_model import OddModel, answers, chat, drips, hangs, never_ends, says, writes

LOCAL = {local_name(number) for number in range(NAME_COUNT)}
RIGHT = writes('{"name": "Étoile d\'Or"}')
ESSAY = "Il était une fois une créature qui vivait dans la forêt. " * 50

# What the server does, and whether a remote name comes out of it.
ODD = {
    "right": (RIGHT, True),
    "wrong content type": (answers(chat('{"name": "Étoile d\'Or"}'), kind="text/html"), True),
    "no content type": (says(b"HTTP/1.1 200 OK\r\n\r\n" + chat('{"name": "Étoile d\'Or"}')), True),
    "cut": (writes('{"name": "Étoile d\'Or'), True),
    "fenced": (writes('```json\n{"name": "Étoile d\'Or"}\n```'), True),
    "prose": (writes("Elle s'appelle Étoile d'Or."), True),
    "prose in quotes": (writes("Je propose « Étoile d'Or » !"), True),
    "name": (writes('{"name": "name"}'), False),
    "empty": (writes(""), False),
    "nothing": (answers(b""), False),
    "essay": (writes(ESSAY), False),
    "html": (writes("<html><body>Étoile</body></html>"), False),
    "html page": (answers(b"<html><body>Bad gateway</body></html>", kind="text/html"), False),
    "control": (writes('{"name": "\\u0007Étoile\\u001b[31m"}'), False),
    "bidirectional": (writes('{"name": "\\u202eÉtoile"}'), False),
    "redirect": (answers(b"", "302 Found", more="Location: http://127.0.0.1:1/v1/chat/completions\r\n"), False),
    "500": (answers(b"oops", "500 Internal Server Error"), False),
    "401": (answers(b'{"error": {"message": "Incorrect API key"}}', "401 Unauthorized"), False),
    "drips": (drips, False),
    "hangs": (hangs, False),
    "never ends": (never_ends, False),
    "huge": (answers(chat("x" * 1_000_000)), False),
    "closes": (says(b""), False),
    "closes in the head": (says(b"HTTP/1.1 200 O"), False),
    "closes in the body": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"), False),
    "no HTTP": (says(b"\x16\x03\x01\x02\x00\x01\r\n\r\n"), False),
    "huge head": (says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n"), False),
}


def asks(url: str, **environ: str) -> dict[str, str]:
    return {
        "MINIMON_NAME_BACKEND": "remote",
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "s3sam-ouvre-toi",
        "MINIMON_RATE_LIMIT_PER_MIN": "0",
    } | environ


def test_every_answer_has_a_name_whatever_the_name_server_does(tmp_path: Path) -> None:
    with OddModel(RIGHT) as model, RunningServer(tmp_path, **asks(model.url, OPENAI_TIMEOUT="2")) as server:
        with server.client() as client:
            for what, (behaviour, remote) in ODD.items():
                model.behaviour = behaviour
                answer = client.get("/v1/generate")
                assert answer.status_code == 200, what
                body = answer.json()
                assert png_size(base64.b64decode(body["imageBase64"])) == (512, 512)
                name = body["metadata"]["name"]
                assert allowed(name) == name, what
                if remote:
                    assert name == "Étoile d'Or", what
                else:
                    assert name in LOCAL, what
                # Back to normal at once, and so the failures are never three in a row.
                model.behaviour = RIGHT
                assert client.get("/v1/generate").json()["metadata"]["name"] == "Étoile d'Or", what
            told_by_metrics = counts(client.get("/metrics").text)
            asked = len(model.asked)
            picture = client.get("/v1/generate", headers={"Accept": "image/png"})
            assert picture.headers["x-minimon-name"] == "%C3%89toile%20d%27Or"
            assert unquote(picture.headers["x-minimon-name"]) == "Étoile d'Or"
            assert len(model.asked) == asked + 1
            # A seed is a creature for ever: the model is not asked.
            seeded = [client.get("/v1/generate?seed=42").json()["metadata"] for _ in range(2)]
            assert seeded[0]["name"] == seeded[1]["name"] == "Sunnaprowl"
            assert len(model.asked) == asked + 1
        assert server.end() == 0
        log = server.log.read_text() + server.errors.read_text()
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert "s3sam" not in log
    assert "Traceback" not in log
    assert "Il était" not in log
    told = [line for line in lines if line["event"] == "local name instead of a remote one"]
    requests = {line.get("creature"): line for line in lines if line["event"] == "request"}
    assert {requests[line["creature"]]["name_from"] for line in told} == {"local"}
    assert sum(line.get("name_from") == "local" for line in requests.values()) == len(told)
    assert sum(not remote for _, remote in ODD.values()) == len(told)
    fallen = {reason: count for reason, count in told_by_metrics["minimon_name_fall_backs_total"].items() if count}
    assert fallen == {"no_name": 6, "connection": 5, "unreadable": 2, "status": 3, "timeout": 2, "too_large": 2}
    given = len(ODD) + sum(remote for _, remote in ODD.values())
    assert told_by_metrics["minimon_names_total"] == {"local": len(told), "remote": given}
    assert told_by_metrics["minimon_name_breaker"] == {"closed": 1, "open": 0, "trying": 0}


def counts(text: str) -> dict[str, dict[str, float]]:
    """Return samples by name and by the value of their only label."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if len(sample.labels) == 1:
                found.setdefault(sample.name, {})[next(iter(sample.labels.values()))] = sample.value
    return found


def test_nobody_listens_where_names_should_come_from(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with RunningServer(tmp_path, **asks(f"http://127.0.0.1:{port}/v1")) as server:
        with server.client() as client:
            names = [client.get("/v1/generate").json()["metadata"]["name"] for _ in range(10)]
            told, ready = counts(client.get("/metrics").text), client.get("/ready")
        assert set(names) <= LOCAL
        assert told["minimon_names_total"] == {"local": 10, "remote": 0}
        fallen = told["minimon_name_fall_backs_total"]
        assert (fallen["connection"], fallen["paused"], sum(fallen.values())) == (3, 7, 10)
        assert told["minimon_name_breaker"] == {"closed": 0, "open": 1, "trying": 0}
        # Creatures have their local names: the server is ready, and says what it does without.
        assert (ready.status_code, ready.json()["checks"]["names"]) == (
            200,
            {"ok": True, "backend": "remote", "breaker": "open", "fallBacks": {"connection": 3, "paused": 7}},
        )
        text = server.wait_for_log('"event":"remote names pause"')
    assert text.count('"event":"remote names pause"') == 1
    assert text.count("ConnectError") == 4  # three creatures, and the line that the pause begins with


def test_a_signal_does_not_wait_for_a_name_server_that_hangs(tmp_path: Path) -> None:
    # Far longer than this test may take: only the signal can end the wait.
    slow = {"OPENAI_TIMEOUT": "120", "MINIMON_SHUTDOWN_GRACE": "3600"}
    with OddModel(hangs) as model, RunningServer(tmp_path, **asks(model.url, **slow)) as server:
        with ThreadPoolExecutor(17) as clients:
            running = [clients.submit(ask, "GET", f"{server.http}/v1/generate", timeout=PATIENCE) for _ in range(17)]
            server.wait_for_log("16 calls are under way")
            assert sum(one.done() for one in running) <= 1
            server.process.send_signal(signal.SIGTERM)
            answers_of_all = [one.result(PATIENCE) for one in running]
        assert {answer.status_code for answer in answers_of_all} == {200}
        assert {answer.json()["metadata"]["name"] for answer in answers_of_all} <= LOCAL
        assert server.process.wait(PATIENCE) == 0
        text = server.log.read_text()
    assert text.count("the server is ending") == 16


def test_content_is_logged_when_asked_for(tmp_path: Path) -> None:
    with OddModel(writes(ESSAY)) as model, RunningServer(tmp_path, **asks(model.url, LOG_REMOTE_CONTENT="1")) as server:
        assert ask("GET", f"{server.http}/v1/generate").status_code == 200
        assert "Il \\u00e9tait une fois" in server.wait_for_log("no name in the answer")
        # Some servers say which key they did not like; the log does not.
        model.behaviour = answers(b"no such key: s3sam-ouvre-toi", "401 Unauthorized")
        assert ask("GET", f"{server.http}/v1/generate").status_code == 200
        text = server.wait_for_log("status 401")
    assert "no such key: ***" in text
    assert "s3sam" not in text


def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    for name in ("names", "game"):
        (tmp_path / name).mkdir()
    with RunningServer(tmp_path / "names") as other:
        environ = asks(f"{other.https}/v1")
        with RunningServer(tmp_path / "game", **environ) as server:
            name = ask("GET", f"{server.http}/v1/generate").json()["metadata"]["name"]
            server.wait_for_log("the connection failed: ConnectError")
    assert name in LOCAL
