"""Every bash line of docs/creatures.md is run, as written but for the port, against a server started for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from minimon_server.engines.files import png_size
from minimon_server.engines.sprite_files import has_alpha
from tests.e2e.documents import bash_blocks, said_by
from tests.e2e.running import RunningServer, clean_environment

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "jq", "openssl"))) and os.environ.get("CI") != "true",
    reason="curl, jq or openssl is not installed here",
)


def test_every_line_to_copy_works(tmp_path: Path) -> None:
    blocks = bash_blocks("creatures.md")
    assert len(blocks) >= 4
    said = b""
    with RunningServer(tmp_path) as server:
        for block in blocks:
            said += said_by(block, tmp_path, clean_environment({}), server.https_port)
    assert said.count(b"Verified OK\n") == 1
    assert said.count(b'"valid":true') == 1
    assert said.count(b"true\n") == 2
    sprite = (tmp_path / "sprite.png").read_bytes()
    assert png_size(sprite) == (512, 512)
    assert has_alpha(sprite)
