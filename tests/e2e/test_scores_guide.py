"""Every line of docs/scores.md is run, as written but for the port, against a server started for it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.documents import bash_blocks, said_by
from tests.e2e.running import HOME, RunningServer, clean_environment

GUIDES = ("scores.md", "scores.fr.md")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "jq", "openssl"))) and os.environ.get("CI") != "true",
    reason="curl, jq or openssl is not installed here",
)


def test_every_line_to_copy_works(tmp_path: Path) -> None:
    assert len(bash_blocks("scores.md")) >= 15
    said = b""
    environ = clean_environment({"PYTHONPATH": str(HOME)})
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    with RunningServer(tmp_path) as server:
        for block in bash_blocks("scores.md"):
            said += said_by(block, tmp_path, environ, server.https_port)
    assert said.count(b"Verified OK\n") == 1
    assert said.count(b"\ntrue\n") == 2
    assert said.count(b"VALID: ") == 7
    assert said.count(b"player42\t") == 3


def test_both_languages_say_the_same() -> None:
    english, french = ((HOME / "docs" / name).read_text("utf-8") for name in GUIDES)
    assert bash_blocks("scores.md") == bash_blocks("scores.fr.md")
    for pattern in (r"^#+ ", r"^```\w*", r"^\| ", r"^- ", r"`MINIMON_\w+`", r"--[a-z-]+", r"RFC \d+"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, french, re.MULTILINE)), (
            pattern
        )
    for name in GUIDES:
        for target in re.findall(r"\]\(([^)#]+)\)", (HOME / "docs" / name).read_text("utf-8")):
            assert (HOME / "docs" / target).exists(), target
