"""The bash blocks of a document, run as written but for the ports and curl's options. Judges no answer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.e2e.running import HOME, PATIENCE


def bash_blocks(name: str) -> list[str]:
    """Return the bash blocks of a file in docs/."""
    text = (HOME / "docs" / name).read_text("utf-8")
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def said_by(block: str, folder: Path, environ: dict[str, str], https_port: int) -> bytes:
    """Run a block in a folder against the server on this port, and return its output; every command must succeed."""
    script = block.replace("localhost:22222", f"localhost:{https_port}")
    script = script.replace("curl ", "curl -sS --fail-with-body ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, (block, done.stdout, done.stderr)
    return done.stdout
