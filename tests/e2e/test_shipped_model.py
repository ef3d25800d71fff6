"""The model in this repository: small, plain, MIT; with the network cut it draws the same pictures again, of any words.

Nothing here runs before the folder is there; from then on everything does, wherever the tests run.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimon_server.catalog.stock import CATALOGUE
from minimon_server.engines.model_folders import NETWORKS, read_model
from tests.e2e.running import HOME, clean_environment
from tests.e2e.shipped_sheet import ASKED_FOR, NAME, ODD, PROMPTS, SEEDS, wishes

SHIPPED = HOME / "models" / NAME
LARGEST = 25_000_000
AGAIN = ("sheet-0-1", "sheet-2-0", "odd-1", "sized")  # what the second process draws
PATIENCE = 600.0

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "model_index.json").exists(), reason=f"models/{NAME} is not in this repository yet (docs/tiny.md)"
)


def types_in(file: Path) -> set[str]:
    """Return the types of the tensors of a safetensors file, by its header."""
    data = file.read_bytes()
    members = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {one["dtype"] for name, one in members.items() if name != "__metadata__"}


def can_cut_the_network() -> bool:
    """Return whether this user may have a network of his own, with nothing in it."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def drawn_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the files of two processes, each new, without a network, and with an empty home; the second draws some."""
    folder = tmp_path_factory.mktemp("shipped")
    models = folder / "models"
    models.mkdir()
    shutil.copy(HOME / "models" / CATALOGUE, models)
    (models / NAME).symlink_to(SHIPPED)
    cut = ["unshare", "-rn"] if can_cut_the_network() else []
    found = []
    for number in (1, 2):
        out = folder / str(number)
        out.mkdir()
        done = subprocess.run(
            [
                *cut,
                sys.executable,
                "-m",
                "tests.e2e.shipped_sheet",
                str(models),
                str(out),
                *(AGAIN if number == 2 else ()),
            ],
            cwd=HOME,
            # One thread: as fast as two where the other core is busy, and not in the way of other tests.
            env=clean_environment({"HOME": str(out), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        if cut:
            assert done.stdout.split() == ["lo"]
        found.append({path.stem: path.read_bytes() for path in out.glob("*.png")})
    return found[0], found[1]


def test_the_contact_sheet_is_the_same_to_the_last_byte(drawn_twice: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
    first, second = drawn_twice
    assert set(first) == {name for name, _ in wishes()}
    assert set(second) == set(AGAIN)
    assert [name for name in second if first[name] != second[name]] == []
    pixels = {name: Image.open(io.BytesIO(data)).tobytes() for name, data in first.items()}
    assert len(set(pixels.values())) == len(PROMPTS) * len(SEEDS) + len(ODD) + 1


def test_every_picture_shows_something_and_says_what_made_it(
    drawn_twice: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    info = read_model(SHIPPED).info
    for name, data in drawn_twice[0].items():
        picture = Image.open(io.BytesIO(data))
        assert np.asarray(picture).std() > 10, name
        told = json.loads(picture.info["minimon"])
        assert (told["model"], told["steps"], told["guidance_scale"]) == (NAME, info.steps, info.guidance_scale)
        assert told["scheduler"] is None
        assert told["ignored"] == []
        if name == "sized":
            assert picture.size == ASKED_FOR
            assert told["drawn_at"] == f"{info.native_size}x{info.native_size}"
        else:
            assert picture.size == (info.native_size, info.native_size)
            assert "drawn_at" not in told


def test_the_folder_is_what_it_promises_to_be() -> None:
    info = read_model(SHIPPED).info
    assert (info.licence, info.steps, info.native_size) == ("MIT", 8, info.width)
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    weights = {str(path.relative_to(SHIPPED)) for path in files if path.suffix == ".safetensors"}
    names = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
    assert weights == {f"{part}/{names.get(part, 'model')}.safetensors" for part in NETWORKS}
    for name in weights:
        assert types_in(SHIPPED / name) == {"F16"}, name
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}
    assert "mit" in (SHIPPED / "README.md").read_text("utf-8").lower()

    assert not [path for path in (SHIPPED, *SHIPPED.rglob("*")) if path.is_symlink()]
