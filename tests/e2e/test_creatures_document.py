"""Every bash line of docs/creatures.md is run, as written but for the port, against a server started for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from minimon_server.engines.files import png_size
from minimon_server.engines.sprite_files import has_alpha
from tests.e2e.running import HOME, PATIENCE, RunningServer, clean_environment

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "jq", "openssl"))) and os.environ.get("CI") != "true",
    reason="curl, jq or openssl is not installed here",
)


def test_every_line_to_copy_works(tmp_path: Path) -> None:
    text = (HOME / "docs" / "creatures.md").read_text("utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    said = b""
    with RunningServer(tmp_path) as server:
        for block in blocks:
            script = block.replace("localhost:22222", f"localhost:{server.https_port}")
            script = script.replace("curl ", "curl -sS --fail-with-body ")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=tmp_path,
                env=clean_environment({}),
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, (block, done.stdout, done.stderr)
            said += done.stdout
    assert said.count(b"Verified OK\n") == 1
    assert said.count(b'"valid":true') == 1
    assert said.count(b"true\n") == 2
    sprite = (tmp_path / "sprite.png").read_bytes()
    assert png_size(sprite) == (512, 512)
    assert has_alpha(sprite)
