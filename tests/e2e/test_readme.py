"""Every curl line of both READMEs is run, as written but for the ports, against a server started as they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from minimon_server.engines.files import png_size
from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import HOME, PATIENCE, clean_environment

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")) and os.environ.get("CI") != "true",
    reason="curl or jq is not installed here",
)


@pytest.mark.parametrize("name", ["README.md", "README.fr.md"])
def test_every_line_to_copy_works(tmp_path: Path, name: str) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", (HOME / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    with_token = [block for block in blocks if "MINIMON_BEARER_TOKEN" in block]
    assert with_token
    for blocks_of_one, environ in (
        ([block for block in blocks if block not in with_token], {}),
        (with_token, {"MINIMON_BEARER_TOKEN": "mytoken"}),
    ):
        folder = tmp_path / str(len(environ))
        folder.mkdir()
        with DrawingServer(folder, **environ) as server:
            for block in blocks_of_one:
                script = block.replace("localhost:22222", f"localhost:{server.https_port}")
                script = script.replace("localhost:8009", f"localhost:{server.http_port}").replace("curl ", "curl -sS ")
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", script],
                    cwd=folder,
                    env=clean_environment({}),
                    capture_output=True,
                    timeout=PATIENCE,
                    check=False,
                )
                assert done.returncode == 0, (block, done.stderr)
                expects_problem = "rarity=Z" in block
                assert (b'"code":"INVALID_REQUEST","requestId"' in done.stdout) is expects_problem, block
                assert b'"code":"UNAUTHORIZED","requestId"' not in done.stdout, block
                assert b'"code":"ENGINE_UNAVAILABLE"' not in done.stdout, block
    for picture in ("sunset.png", "same.png"):
        assert png_size((tmp_path / "0" / picture).read_bytes()) == (1024, 1024)
    for picture in ("creature.png", "splendid.png"):
        assert png_size((tmp_path / "0" / picture).read_bytes()) == (512, 512)
    assert "x-minimon-rarity: S+" in (tmp_path / "0" / "headers.txt").read_text()
