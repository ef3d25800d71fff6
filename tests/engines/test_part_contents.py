"""What two files hold the same of, told without loading: to the last byte, by samples first, known to later starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines import part_contents
from minimon_server.engines.checkpoint_loading import renamed
from minimon_server.engines.checkpoint_shapes import architecture_of
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.kept_hashes import KeptHashes
from minimon_server.engines.part_contents import Content, contents_of, stamps_of
from minimon_server.engines.part_tensors import OddFile, head_of, spans_inside, spans_of_folder, whole
from minimon_server.engines.sdxl_loading import Place
from minimon_server.logs import Logger
from tests.engines.checkpoint_scene import FIRST, VAE, models_of, two_models, with_parts_of
from tests.engines.test_kept_hashes import later, true_hash
from tests.single_file import Tensors, narrow_pipeline, save
from tests.small_pipeline import tokenizer

CPU = Place(torch.device("cpu"), torch.float32, "a test")


@pytest.fixture(scope="module")
def two() -> tuple[Tensors, Tensors]:
    return two_models()


@pytest.fixture(scope="module")
def pair(two: tuple[Tensors, Tensors], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder: `base`, and `tuned` with its VAE and first text encoder."""
    root, (first, second) = tmp_path_factory.mktemp("pair"), two
    save(first, root / "checkpoints" / "base.safetensors")
    save(with_parts_of(second, first, VAE, FIRST), root / "checkpoints" / "tuned.safetensors", {"title": "tuned"})
    return root


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the files of which a network is read whole to be compared."""
    found: list[str] = []

    def counted(spans: Any) -> str:
        found.append(spans[0].file.stem)
        return whole(spans)

    monkeypatch.setattr(part_contents, "whole", counted)
    return found


def contents(root: Path, log: Logger, place: Place = CPU, **vaes: str) -> dict[str, dict[str, Content]]:
    """Return the content of each network of all models in a folder."""
    models = models_of(root, log, **vaes)
    names = [path.stem for path in (root / "checkpoints").glob("*.safetensors")]
    return {name: contents_of(models.find(name), place) for name in names}


def same_parts(one: dict[str, Content], two: dict[str, Content], hashes: FileHashes) -> list[str]:
    """Return the networks that two models share."""
    return sorted(part for part in one if one[part].is_that_of(two[part], stamps_of(two[part].files), hashes))


def test_networks_of_other_bytes_or_numbers_or_settings_are_not_the_same(
    two: tuple[Tensors, Tensors], tmp_path: Path, quiet: Logger, hashed: list[str]
) -> None:
    first, second = two
    late = f"{VAE}decoder.mid.block_1.conv1.weight"
    bent = {late: first[late].clone()}
    bent[late].view(-1)[5000] += 1
    narrow = {name: one.float() for name, one in first.items() if name.startswith(VAE)}
    for name, more in {"base": {}, "bent": bent, "floats": narrow, "again": {}, "scaled": {}}.items():
        save({**first, **more}, tmp_path / "checkpoints" / f"{name}.safetensors")
    save(second, tmp_path / "checkpoints" / "alien.safetensors")
    (tmp_path / "checkpoints" / "scaled" / "vae").mkdir(parents=True)
    (tmp_path / "checkpoints" / "scaled" / "vae" / "config.json").write_text('{"scaling_factor": 0.2}')
    found, hashes = contents(tmp_path, quiet), FileHashes(quiet)
    base, rest = found["base"], ["text_encoder", "text_encoder_2", "unet"]
    assert same_parts(found["again"], base, hashes) == [*rest, "vae"]
    hashed.clear()
    assert same_parts(found["alien"], base, hashes) == []
    assert not hashed  # samples tell them apart: nothing is read whole
    for other in ("scaled", "floats", "bent"):
        assert same_parts(found[other], base, hashes) == rest
    hashed.clear()
    halves = contents(tmp_path, quiet, Place(torch.device("cpu"), torch.float16, "a test"))["base"]
    assert same_parts(halves, base, hashes) == []  # other numbers in memory
    (tmp_path / "checkpoints" / "base.safetensors").unlink()
    assert same_parts(found["again"], base, FileHashes(quiet)) == []


def test_a_later_start_knows_the_networks_of_a_file_without_reading_them(
    pair: Path, tmp_path: Path, quiet: Logger, hashed: list[str]
) -> None:
    for reads in (["base", "base", "tuned", "tuned"], []):
        hashed.clear()
        hashes = FileHashes(quiet, KeptHashes(tmp_path / "hashes.json", quiet, later))
        found = contents(pair, quiet)
        for _ in range(2):
            assert same_parts(found["tuned"], found["base"], hashes) == ["text_encoder", "vae"]
        assert sorted(hashed) == reads
    assert hashes.of(pair / "checkpoints" / "base.safetensors") == true_hash(pair / "checkpoints" / "base.safetensors")


@pytest.fixture
def sharded(pair: Path, tmp_path: Path) -> Path:
    """Return a models/ folder: `base`, and `parts`, the same as a folder whose UNet lies in several files."""
    root = Path(shutil.copytree(pair, tmp_path / "models"))
    half = narrow_pipeline(0).to(torch.float16)
    half.tokenizer = half.tokenizer_2 = tokenizer(tmp_path / ".words")
    half.save_pretrained(root / "parts")
    half.unet.save_pretrained(root / "several", max_shard_size="1500KB")
    shutil.rmtree(root / "parts" / "unet")
    (root / "several").rename(root / "parts" / "unet")
    assert len(list((root / "parts" / "unet").glob("*.safetensors"))) > 1
    return root


def test_a_network_in_several_files_is_read_once_as_long_as_none_of_them_changes(
    sharded: Path, tmp_path: Path, quiet: Logger, hashed: list[str]
) -> None:
    models = models_of(sharded, quiet)

    def reads() -> int:
        """Return how often the UNet is read whole by a process that compares it twice."""
        hashed.clear()
        hashes = FileHashes(quiet, KeptHashes(tmp_path / "hashes.json", quiet, later))
        base, parts = (contents_of(models.find(name), CPU) for name in ("base", "parts"))
        for _ in range(2):
            assert "unet" in same_parts(parts, base, hashes)
        return sum("-of-" in name for name in hashed)

    assert (reads(), reads()) == (1, 0)
    for shard in (sharded / "parts" / "unet").glob("*.safetensors"):
        shard.touch()  # any of them may be another one now
        assert (reads(), reads()) == (1, 0)


def test_a_network_whose_files_change_while_they_are_compared_is_shared_with_none(
    sharded: Path, quiet: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of(sharded, quiet)
    base, parts = (contents_of(models.find(name), CPU)["unet"] for name in ("base", "parts"))
    stamps = {one: stamps_of(one.files) for one in (base, parts)}
    for shard in parts.files:

        def meanwhile(spans: Any, shard: Path = shard) -> str:
            found = whole(spans)
            shard.touch()
            return found

        monkeypatch.setattr(part_contents, "whole", meanwhile)
        assert not parts.is_that_of(base, stamps[base], FileHashes(quiet))
        assert not base.is_that_of(parts, stamps[parts], FileHashes(quiet))


def test_a_network_that_the_library_stumbles_over_has_no_content(
    pair: Path, quiet: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it stumbles over: the model is loaded by itself, or loading says what is wrong."""

    def stumbles(part: str, *asked: Any) -> Any:
        return renamed(part, *asked) if part != "vae" else asked[0].no_such_member

    monkeypatch.setattr("minimon_server.engines.part_tensors.renamed", stumbles)
    found = contents_of(models_of(pair, quiet).find("base"), CPU)
    assert sorted(found) == ["text_encoder", "text_encoder_2", "unet"]


def test_floats_that_a_cpu_uses_where_they_lie_are_the_same_where_they_lie_alike(
    two: tuple[Tensors, Tensors], tmp_path: Path, quiet: Logger
) -> None:
    """It rounds otherwise where weights lie otherwise: a picture shall not depend on what is in memory."""
    floats = {name: one.float() for name, one in two[0].items()}
    for name, title in (("one", ""), ("alike", ""), ("moved", "x" * 8)):
        save(floats, tmp_path / "checkpoints" / f"{name}.safetensors", {"title": title})
    hashes = FileHashes(quiet)
    every = ["text_encoder", "text_encoder_2", "unet", "vae"]
    for place, moved in ((CPU, []), (Place(torch.device("cuda"), torch.float32, "a test"), every)):
        found = contents(tmp_path, quiet, place)
        assert same_parts(found["alike"], found["one"], hashes) == every
        assert same_parts(found["moved"], found["one"], hashes) == moved


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_a_single_file_names_its_tensors_as_the_network_does(
    pair: Path, tmp_path: Path, two: tuple[Tensors, Tensors], part: str
) -> None:
    """But the second text encoder's, which lie three in one."""
    head = head_of(pair / "checkpoints" / "base.safetensors")
    spans = spans_inside(head, part, getattr(architecture_of(head.shapes), part))
    if part == "text_encoder_2":
        assert {one.name for one in spans} == {name for name in two[0] if name.startswith("conditioner.embedders.1.")}
        return
    getattr(narrow_pipeline().to(torch.float16), part).save_pretrained(tmp_path)
    of_folder = spans_of_folder(list(tmp_path.glob("*.safetensors")))
    told = [[(one.name, one.dtype, one.shape) for one in found] for found in (spans, of_folder)]
    assert told[0] == told[1]
    assert whole(spans) == whole(of_folder)


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b"{",
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1]}}',
    ],
)
def test_a_head_that_does_not_tell_the_truth_is_an_odd_file(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"four")
    with pytest.raises(OddFile):
        head_of(path)
    path.write_bytes((2**60).to_bytes(8, "little") + head)
    with pytest.raises(OddFile):
        head_of(path)
