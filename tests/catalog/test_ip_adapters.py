"""IP-Adapters of the catalogue and of folders: what they are by their headers, and why one cannot be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from minimon_server.catalog.ip_adapters import IpAdapters
from minimon_server.catalog.kept import KeptCatalogue
from minimon_server.catalog.stock import CATALOGUE
from minimon_server.engines.ip_adapter_files import ENCODER_FOLDERS, ROOT
from tests.catalog.files import Shapes, write
from tests.jobs.scene import quiet
from tests.support import HOME

LAYERS: Shapes = {
    f"ip_adapter.{number}.{part}.weight": (640, 2048) for number in (1, 3) for part in ("to_k_ip", "to_v_ip")
}
PLUS: Shapes = {"image_proj.latents": (1, 16, 1280), "image_proj.proj_in.weight": (1280, 1280), **LAYERS}
PLAIN: Shapes = {"image_proj.proj.weight": (4 * 2048, 1280), "image_proj.norm.weight": (2048,), **LAYERS}
FACE: Shapes = {"image_proj.proj.0.weight": (8, 8), "image_proj.norm.weight": (2048,), **LAYERS}
VIT_H = {"model_type": "clip_vision_model", "hidden_size": 1280, "projection_dim": 1024}
SHIPPED = "ip-adapter-sdxl"


def put(root: Path, name: str, shapes: Shapes, settings: object = VIT_H, at: str = ENCODER_FOLDERS[0]) -> Path:
    folder = root / ROOT / name
    path = write(folder / "sdxl_models" / f"{name}.safetensors", shapes)
    encoder = folder / at
    write(encoder / "model.safetensors", {"x": (1,)})
    (encoder / "config.json").write_text(json.dumps(settings))
    return path


def adapters(root: Path) -> IpAdapters:
    return IpAdapters(root, KeptCatalogue(root / CATALOGUE, quiet()), quiet())


def why(root: Path, name: str = "mine") -> str:
    """Return why one cannot be used."""
    (found,) = [one for one in adapters(root).infos() if one.id == name]
    assert found.unavailable is not None
    assert found.unavailable.fr != found.unavailable.en
    return found.unavailable.en


def test_the_shipped_one_is_told_with_what_brings_it_and_found_where_that_puts_it(tmp_path: Path) -> None:
    shutil.copy(HOME / "models" / CATALOGUE, tmp_path)
    known = adapters(tmp_path)
    (missing,) = known.infos()
    assert missing.unavailable is not None
    assert missing.how is not None
    assert (missing.id, missing.unavailable.en) == (SHIPPED, "is not on the disk")
    assert missing.how.en == f"python download_models.py --part {SHIPPED}"
    (entry,) = [part for part in KeptCatalogue(tmp_path / CATALOGUE, quiet()).now().part if part.kind == ROOT]
    for name in entry.source.files:
        path = tmp_path / entry.place / name
        if name.endswith(".json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(VIT_H))
        else:
            write(path, {"x": (1,)} if "image_encoder" in name else PLUS)
    (found,) = known.infos()
    assert (found.unavailable, found.base, found.variant, found.pinned) == (None, "sdxl", "plus", True)
    files = known.files(SHIPPED)
    assert files is not None
    assert {files.weights, files.encoder_weights} < {tmp_path / entry.place / name for name in entry.source.files}


@pytest.mark.parametrize("at", ENCODER_FOLDERS)
def test_folders_appear_by_themselves_and_go(tmp_path: Path, at: str) -> None:
    known = adapters(tmp_path)
    assert known.infos() == []
    put(tmp_path, "mine", PLAIN, VIT_H | {"projection_dim": 1280}, at)
    (found,) = known.infos()
    assert (found.id, found.base, found.variant, found.unavailable) == ("mine", "sdxl", "plain", None)
    shutil.rmtree(tmp_path / ROOT / "mine")
    assert known.infos() == []
    assert known.files("mine") is None
    assert known.files("../mine") is None


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    put(tmp_path, "mine", PLUS)
    known = adapters(tmp_path)
    assert known.infos()[0].variant == "plus"
    put(tmp_path, "mine", {"x": (2,)})
    assert known.infos()[0].unavailable is not None
    put(tmp_path, "mine", PLUS)
    assert known.infos()[0].unavailable is None


@pytest.mark.parametrize(
    ("shapes", "settings", "reason"),
    [
        (FACE, VIT_H, "it is a FaceID adapter, which reads the measures of a face and not a picture"),
        ({"x": (1,)}, VIT_H, "it is no IP-Adapter: it lacks tensors named image_proj.* or ip_adapter.*.to_k_ip.weight"),
        (PLAIN, VIT_H, "its image encoder gives 1024 numbers (projection_dim), and it reads 1280"),
        (PLUS, VIT_H | {"hidden_size": 1664}, "its image encoder gives 1664 numbers (hidden_size), and it reads 1280"),
        (PLUS, VIT_H | {"model_type": "siglip"}, "its image encoder is no CLIP vision model"),
        (PLUS, [], "its image encoder's config.json is no object"),
        (
            {**PLUS, "ip_adapter.5.to_k_ip.weight": (640, 768)},
            VIT_H,
            "its layers read words of different widths",
        ),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, shapes: Shapes, settings: object, reason: str) -> None:
    put(tmp_path, "mine", shapes, settings)
    assert why(tmp_path) == f"cannot be used: {reason}"


def test_a_pickle_is_refused_by_its_name_and_by_what_it_is(tmp_path: Path) -> None:
    path = put(tmp_path, "mine", PLUS)
    path.rename(path.with_suffix(".bin"))
    assert why(tmp_path).startswith("cannot be used: a .bin file is a pickle, which could run anything")
    path.write_bytes(b"\x80\x04" + b"x" * 100)
    assert why(tmp_path).startswith("cannot be used: it is a pickle")
    encoder = tmp_path / ROOT / "mine" / "image_encoder" / "model.safetensors"
    put(tmp_path, "mine", PLUS)
    encoder.write_bytes(b"\x80\x04" + b"x" * 100)
    assert why(tmp_path).startswith("cannot be used: it is a pickle")
    encoder.unlink()
    assert "its image encoder is missing" in why(tmp_path)


def test_another_base_than_the_catalogue_says_is_told(tmp_path: Path) -> None:
    shutil.copy(HOME / "models" / CATALOGUE, tmp_path)
    old = {name: (*shape[:-1], 768) if name.startswith("ip_adapter.") else shape for name, shape in PLUS.items()}
    put(tmp_path, SHIPPED, old)
    assert why(tmp_path, SHIPPED) == "is for sd15 by its tensors, for sdxl by the catalogue"
