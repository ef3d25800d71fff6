"""What may count as an answer of a contender, and what is said when a peer is not installed."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from bench import certificate, client, contenders
from bench.client import Answer, check_generated
from bench.cores import Cores
from bench.errors import BenchError, ToolMissingError
from bench.plan import QUICK, Stage
from bench.ports import free_port

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode("ascii")
GOOD = {"imageBase64": PNG, "metadata": {"id": "1", "name": "a", "rarity": "rare"}, "generatedAt": "now"}


def answer(content: object, status: int = 200, tls: str = "TLSv1.3") -> Answer:
    return Answer(status, json.dumps(content).encode("utf-8"), tls, "TLS_AES_256_GCM_SHA384")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    pair = certificate.make(tmp_path)
    return Stage(tmp_path, tmp_path, pair, client.trust(pair.certificate), Cores(0, 1), QUICK)


def test_a_good_answer() -> None:
    check_generated("ours", answer(GOOD))


@pytest.mark.parametrize(
    "bad",
    [
        answer(GOOD, status=503),
        answer(GOOD, tls="TLSv1.2"),
        answer([]),
        answer({**GOOD, "imageBase64": "not base64"}),
        answer({**GOOD, "imageBase64": base64.b64encode(b"GIF").decode("ascii")}),
        answer({**GOOD, "metadata": {"id": "1"}}),
        answer({**GOOD, "generatedAt": ""}),
        Answer(200, b"", "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
    ],
)
def test_anything_else_is_refused(bad: Answer) -> None:
    with pytest.raises(BenchError, match="ours answered"):
        check_generated("ours", bad)


def test_nobody_listens(stage: Stage) -> None:
    assert client.ready("/health", stage.context)(free_port()) is False


def test_the_key_is_for_its_owner_alone(stage: Stage) -> None:
    assert stat.S_IMODE(stage.certificate.key.stat().st_mode) == 0o600


def test_a_missing_nginx_is_said_with_the_command_that_installs_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_names: None)
    with pytest.raises(ToolMissingError, match="apt-get install nginx-light"):
        contenders.nginx(stage, contenders.Prepared.of([b"{}"]))


def test_a_missing_server_is_a_failure(stage: Stage) -> None:
    with pytest.raises(BenchError, match="gen-server"):
        contenders.ours(stage)


def test_prepared_answers_come_as_often_as_their_pictures() -> None:
    bodies = [b'{"imageBase64":"%b","metadata":%d}' % (b"A" * 10 if n % 4 else b"B" * 30, n) for n in range(40)]
    prepared = contenders.Prepared.of(bodies)
    assert [(share, body[16:17]) for share, body in prepared.answers] == [(0.75, b"A"), (0.25, b"B")]
    assert [body[16:17] for body in prepared.spread(8)] == [b"A"] * 6 + [b"B"] * 2
    assert [(share, body[16:17]) for share, body in prepared.nearest_to_the_mean().answers] == [(1.0, b"A")]
