"""The examples about jobs, run as they are written: those of docs/jobs.md, and those of the first server's document."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from minimon_server.engines.files import png_size
from tests.e2e.asking import ask
from tests.e2e.drawing_server import DrawingServer
from tests.e2e.running import HOME, PATIENCE, RunningServer, clean_environment
from tests.support import small_png

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")) and os.environ.get("CI") != "true",
    reason="curl or jq is not installed here",
)
# Time that passes faster for whoever asks to wait, and a `file` where there is none.
SHORTER_SLEEP = "import time as _t; _s = _t.sleep; _t.sleep = lambda n: _s(n / 100)\n"
PRELUDE = """
sleep() { command sleep "$(jq -n "$1 / 100")"; }
file() { python3 -c 'import struct, sys; d = open(sys.argv[1], "rb").read(24)
assert d[:8] == b"\\x89PNG\\r\\n\\x1a\\n", d
print(sys.argv[1] + ": PNG image data, %d x %d" % struct.unpack(">II", d[16:24]))' "$1"; }
"""


def blocks(name: str, language: str) -> list[str]:
    text = (HOME / "docs" / name).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(command: list[str], server: RunningServer, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=server.cwd,
        env=clean_environment({"NO_PROXY": "*", **environ}),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done


def bash(block: str, server: RunningServer) -> subprocess.CompletedProcess[str]:
    script = PRELUDE + block.replace("localhost:8009", f"localhost:{server.http_port}")
    return run(["bash", "-euo", "pipefail", "-c", script], server, {})


def test_every_block_of_jobs_md_works(tmp_path: Path) -> None:
    found = blocks("jobs.md", "bash")
    assert len(found) == 8
    with DrawingServer(tmp_path, CRAYON_STEP_SECONDS="0.01") as server:
        (tmp_path / "mask.png").write_bytes(small_png(255, side=1024))
        for block in found:
            said = bash(block, server).stdout
            assert (
                re.search(r"(image|winter|door|castle|alike).png: PNG image data, 1024 x 1024", said) or said == "1\n"
            )


def test_the_shell_examples_of_the_first_server_work_as_they_are(tmp_path: Path) -> None:
    create, download, invalid = blocks("imagen.md", "bash")
    with DrawingServer(tmp_path, CRAYON_STEP_SECONDS="0.02") as server:
        assert re.fullmatch(r"[0-9a-f-]{36}\n", bash(create, server).stdout)
        done = bash(download, server)
        assert "HTTP/1.1 202 Accepted" in done.stderr
        assert '"message":"Image en cours de génération"' in done.stdout
        assert "test.png: PNG image data, 1024 x 1024" in done.stdout
        assert "HTTP/1.1 404 Not Found" in bash(invalid, server).stderr


def test_the_python_script_of_the_first_server_works_as_it_is(tmp_path: Path) -> None:
    script = "\n".join(blocks("imagen.md", "python"))
    (tmp_path / "sitecustomize.py").write_text(SHORTER_SLEEP)
    with DrawingServer(tmp_path, CRAYON_STEP_SECONDS="0.002") as server:
        (tmp_path / "script.py").write_text(script.replace("localhost:8009", f"localhost:{server.http_port}"))
        environ = {"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
        said = run([sys.executable, "script.py"], server, environ).stdout
        assert said.count("✅ Image téléchargée") == 7
        assert "⏳ Image en cours de génération (PROGRESS)" in said
        assert '📊 Metadata: {"model": "pony-xl-v6", "steps": 35, "guidance_scale": 8.0, "seed": 42' in said
        names = ["dragon", "anime_girl", *(f"city_variation_{number}" for number in range(5))]
        pictures = [(tmp_path / f"{name}.png").read_bytes() for name in names]
        assert {png_size(picture) for picture in pictures} == {(1024, 1024)}
        assert len(set(pictures)) == 7
        jobs = ask("GET", f"{server.http}/jobs").json()
        assert jobs["counts"]["SUCCESS"] == 7
