"""A folder of models with a catalogue, a hub that has what it names, and the command between them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from minimon_server.catalog.asking import Patience
from minimon_server.catalog.command import main
from tests.catalog.files import ATTENTION, LABELS, header
from tests.catalog.hub_server import COMMIT, Served
from tests.support import HOME

REPOSITORY, VAE = "someone/small-pipeline", "someone/vae-fix"

CATALOGUE = f'''schema = 1
[[model]]
id = "small"
name = "Small"
kind = "diffusers"
base = "small"
licence = "MIT"
vae = "fix"
[model.source]
hub = "{REPOSITORY}"
revision = "main"
variant = "fp16"
[[model]]
id = "single"
name = "Single"
kind = "checkpoint"
base = "sdxl"
[model.source]
hub = "someone/single"
revision = "{COMMIT}"
file = "v6.safetensors"
sha256 = "@HASH@"
size_bytes = @SIZE@
[[lora]]
id = "neon"
name = "Neon"
[lora.source]
url = "@URL@/neon"
[[lora]]
id = "nowhere"
name = "Nowhere"
[[part]]
id = "fix"
name = "Fix"
kind = "vae"
[part.source]
hub = "{VAE}"
revision = "{COMMIT}"
files = ["config.json", "diffusion_pytorch_model.safetensors"]
'''

HEAD, SIZE = header({ATTENTION: (640, 2048), LABELS: (1280, 2816)})  # some megabytes
SINGLE = HEAD + b"\0" * SIZE


@dataclass
class Place:
    """A folder of models with a catalogue, and a hub."""

    server: Served
    root: Path
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str, **environ: str) -> int:
        return main(arguments, {"HF_ENDPOINT": self.server.url, **environ}, self.root, Patience(pause=lambda _: None))

    def said(self) -> str:
        read = self.capture.readouterr()
        return read.out + read.err

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        ours = {"HF_ENDPOINT": self.server.url, "MINIMON_MODELS_DIR": str(self.root), "NO_PROXY": "*"}
        command = [sys.executable, str(HOME / "download_models.py"), *arguments]
        return subprocess.Popen(
            command, env=os.environ | ours, stderr=subprocess.PIPE, text=True, preexec_fn=_hears_interrupts
        )

    def files(self) -> list[str]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        names = sorted(str(path.relative_to(self.root)) for path in found)
        return [name for name in names if not name.endswith(".lock") and name != "catalog.toml"]


def _hears_interrupts() -> None:
    # A shell lets what it starts in the background ignore them, tests that it starts so among it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pipeline(models: Path) -> dict[str, bytes]:
    """Return a real small pipeline as a hub holds it: two variants, and much that nobody here wants."""
    files = {
        str(path.relative_to(models / "small")): path.read_bytes()
        for path in (models / "small").rglob("*")
        if path.is_file()
    }
    for name, data in list(files.items()):
        if name.endswith(".safetensors"):
            files[name.replace(".safetensors", ".fp16.safetensors")] = data
            files[name.replace(".safetensors", ".bin")] = b"a pickle"
    return files | {"README.md": b"#", "sd_xl_base.safetensors": b"", "unet/model.onnx": b"", "../evil.json": b"{}"}
