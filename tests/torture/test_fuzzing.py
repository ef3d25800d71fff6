"""Hundreds of thousands of bodies that a fuzzer thinks up, watching the lines they reach. By `make torture` alone."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.scores.test_claim import VALID
from tests.scores.test_payload import BYTES
from tests.scores.test_signed import JWS, SIGNED
from tests.support import HOME

pytestmark = pytest.mark.torture

BODIES = 300_000
WORDS = ["score", "subject", "nonce", "payload", "canonicalB64", "signed", "jws", "NaN", "1e400", "-0", "\\\\ud800"]


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no package for this system or this Python")
def test_whatever_is_sent_is_a_score_or_a_refusal_that_names_fields(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    answer = b'{"signed":%s,"generatedAt":"2026-11-21T12:00:00Z"}' % SIGNED.render()
    for number, body in enumerate([VALID, BYTES, SIGNED.render(), JWS.render(), answer]):
        (corpus / str(number)).write_bytes(body)
    words = tmp_path / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS))
    options = [
        f"-atheris_runs={BODIES}",
        "-max_len=20000",
        f"-dict={words}",
        f"-artifact_prefix={tmp_path}/",
        "-seed=1",
    ]
    fuzzer = [sys.executable, "-m", "tests.torture.fuzz_scores", *options, str(corpus)]
    ended = subprocess.run(fuzzer, cwd=HOME, capture_output=True, text=True, check=False)
    print(ended.stderr[-400:])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"Done {BODIES}" in ended.stdout + ended.stderr
