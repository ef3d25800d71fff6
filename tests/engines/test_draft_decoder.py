"""Drafts: the library's own pixels by a small decoder, for whoever asks; nothing of it where nobody does."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch

from minimon_server.engines.draft_decoder import DraftDecoder, find_draft_decoder
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.messages import DrawnPicture, DrawRequest, EngineFault, Hires, Progress
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.picture_files import pack
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.errors import StartupError
from minimon_server.logs import Logger
from tests.small_pipeline import draft_decoder, plainly_loaded

Asking = Callable[..., DrawRequest]


def written(folder: Path, seed: int = 1, **shape: int) -> DraftDecoder:
    """Write a small decoder, and return it as the setting finds it."""
    torch.manual_seed(seed)
    draft_decoder(**shape).save_pretrained(folder)
    found = find_draft_decoder(str(folder))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> DraftDecoder:
    return written(tmp_path_factory.mktemp("taesd"))


@pytest.fixture(scope="module")
def engine(models: Path, quiet: Logger, decoder: DraftDecoder) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, draft=decoder)
    yield engine
    engine.close()


def go_on(_: Progress) -> bool:
    return True


def one(engine: SdxlEngine, request: DrawRequest) -> DrawnPicture:
    (picture,) = engine.draw(request, go_on).pictures
    return picture


def pixels(picture: DrawnPicture) -> Any:
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


def test_a_draft_is_what_the_library_decodes_with_that_decoder(
    engine: SdxlEngine, models: Path, request_for: Asking, decoder: DraftDecoder
) -> None:
    full = one(engine, request_for())
    draft = one(engine, request_for(decoder="draft"))
    pipeline = plainly_loaded(models / "small")
    torch.manual_seed(1)
    pipeline.vae = draft_decoder().eval()
    theirs = pipeline(
        "a red cat",
        negative_prompt="blurry",
        width=64,
        height=64,
        num_inference_steps=3,
        guidance_scale=5.0,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    assert np.array_equal(pixels(draft), np.asarray(theirs))
    assert pixels(draft).std() > 1
    assert draft.pixels != full.pixels
    assert pack(one(engine, request_for())) == pack(full)  # nothing of a draft is left


def test_a_picture_tells_that_it_is_a_draft_and_of_which_decoder(engine: SdxlEngine, request_for: Asking) -> None:
    full, draft = one(engine, request_for()).metadata, one(engine, request_for(decoder="draft"))
    assert "decoder" not in full
    assert "draft_decoder" not in full["hashes"]
    assert draft.metadata["decoder"] == "draft"
    assert len(draft.metadata["hashes"]["draft_decoder"]) == 64
    assert {**draft.metadata, "hashes": full["hashes"]} == {**full, "decoder": "draft"}
    assert b"Decoder: draft" in pack(draft)


def test_drafts_are_drawn_as_a_batch_and_with_a_second_pass(engine: SdxlEngine, request_for: Asking) -> None:
    batch = engine.draw(request_for(decoder="draft", seeds=(7, 8), exact=False), go_on).pictures
    assert batch[0].metadata["batch"] == 2
    alone = pixels(one(engine, request_for(decoder="draft"))).astype(int)
    assert np.abs(pixels(batch[0]) - alone).max() <= 1
    larger = one(engine, request_for(decoder="draft", hires=Hires(96, 96, 2, 0.6)))
    assert (larger.width, larger.height) == (96, 96)
    exact, draft = request_for(seeds=(7,)), request_for(decoder="draft")
    assert exact.company != draft.company  # they are decoded by different networks


def test_a_decoder_that_is_not_there_or_of_another_model_is_no_picture(
    engine: SdxlEngine, models: Path, request_for: Asking, quiet: Logger, tmp_path: Path
) -> None:
    for draft, said in (
        (None, "there is no draft decoder here; SDXL_DRAFT_DECODER"),
        (written(tmp_path / "deeper", blocks=4), "makes 8 pixels a side; this model has 4 channels and 4 pixels"),
        (written(tmp_path / "wider", channels=16), "takes 16 channels"),
    ):
        bare = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, draft=draft)
        with pytest.raises(EngineFault, match=said):
            bare.draw(request_for(decoder="draft"), go_on)
        one(bare, request_for())
        bare.close()


def test_a_decoder_written_anew_decodes_the_next_draft_and_a_broken_one_none(
    models: Path, request_for: Asking, quiet: Logger, tmp_path: Path
) -> None:
    found = written(tmp_path / "taesd")
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, draft=found)
    first = one(engine, request_for(decoder="draft"))
    written(tmp_path / "other", seed=2)
    shutil.copyfile(tmp_path / "other" / found.weights.name, found.weights)
    second = one(engine, request_for(decoder="draft"))
    assert first.pixels != second.pixels
    assert first.metadata["hashes"] != second.metadata["hashes"]
    found.weights.write_bytes(b"nothing")
    with pytest.raises(EngineFault, match="cannot be loaded; the server's log says why") as fault:
        engine.draw(request_for(decoder="draft"), go_on)
    assert not fault.value.retry
    one(engine, request_for())
    engine.close()


def test_the_setting_names_a_folder_or_a_hub_id_of_the_cache(
    decoder: DraftDecoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_draft_decoder("") is None
    assert (decoder.channels, decoder.scale) == (4, 4)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(StartupError, match=r"SDXL_DRAFT_DECODER holds 'some/taesd'.*hf download"):
        find_draft_decoder("some/taesd")
    kept = tmp_path / "models--some--taesd"
    shutil.copytree(decoder.folder, kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    found = find_draft_decoder("some/taesd")
    assert found is not None
    assert replace(found, name="", folder=Path(), weights=Path()) == DraftDecoder("", Path(), Path(), 4, 4)


@pytest.mark.parametrize("asked", ["nowhere", "a/b/c/d", "/no/such/folder", "~nosuchuser/x", "x" * 5000])
def test_a_name_that_leads_to_nothing_stops_the_start(asked: str) -> None:
    with pytest.raises(StartupError, match="the folder of an AutoencoderTiny"):
        find_draft_decoder(asked)


def test_another_kind_of_network_is_no_draft_decoder(models: Path, decoder: DraftDecoder, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="tells no AutoencoderTiny"):
        find_draft_decoder(str(models / "small" / "vae"))
    shutil.copyfile(decoder.folder / "config.json", tmp_path / "config.json")
    with pytest.raises(StartupError, match=r"diffusion_pytorch_model\.safetensors is missing"):
        find_draft_decoder(str(tmp_path))


def test_a_hub_id_without_the_package_that_knows_the_cache_stops_the_start(
    decoder: DraftDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as in the light installation
    with pytest.raises(StartupError, match=r"SDXL_DRAFT_DECODER holds 'some/taesd'.*install requirements\.txt"):
        find_draft_decoder("some/taesd")
    assert find_draft_decoder(str(decoder.folder)) is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [("upsampling_scaling_factor", 0), ("latent_channels", -3), ("latent_channels", True), ("num_decoder_blocks", 3)],
)
def test_sizes_that_no_decoder_has_stop_the_start(
    decoder: DraftDecoder, tmp_path: Path, field: str, value: object
) -> None:
    shutil.copytree(decoder.folder, tmp_path / "odd")
    settings = json.loads((decoder.folder / "config.json").read_text())
    (tmp_path / "odd" / "config.json").write_text(json.dumps({**settings, field: value}))
    with pytest.raises(StartupError, match=f"SDXL_DRAFT_DECODER holds .*: {field} of config.json"):
        find_draft_decoder(str(tmp_path / "odd"))


def test_the_hash_of_a_draft_is_of_what_decoded_it_though_the_file_changes_meanwhile(
    models: Path, request_for: Asking, quiet: Logger, tmp_path: Path
) -> None:
    found, other = written(tmp_path / "taesd"), written(tmp_path / "other", seed=2)

    class Meanwhile(FileHashes):
        def of_all(self, paths: Iterable[Path]) -> str | None:
            if list(paths) == [found.weights] and not self.is_done:
                self.is_done = True
                shutil.copyfile(other.weights, found.weights)
            return super().of_all(paths)

        is_done = False

    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, draft=found, hashes=Meanwhile(quiet))
    with pytest.raises(EngineFault, match="changed while it was read") as fault:
        engine.draw(request_for(decoder="draft"), go_on)
    assert fault.value.retry
    after = one(engine, request_for(decoder="draft"))
    assert after.metadata["hashes"]["draft_decoder"] == sha256(other.weights.read_bytes()).hexdigest()
    engine.close()


def test_a_draft_in_memory_does_not_change_with_its_file(
    models: Path, request_for: Asking, quiet: Logger, tmp_path: Path
) -> None:
    found, other = written(tmp_path / "taesd"), written(tmp_path / "other", seed=2)
    engine = SdxlEngine(ModelFolders(models, quiet), "cpu", quiet, draft=found)
    before, times = one(engine, request_for(decoder="draft")), found.weights.stat()
    shutil.copyfile(other.weights, found.weights)
    os.utime(found.weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # nothing tells that it is another one
    assert one(engine, request_for(decoder="draft")).pixels == before.pixels
    engine.close()
