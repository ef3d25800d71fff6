"""Models in one file draw what the same models in folders draw, bit for bit; what is wrong with a file is said.

The files hold halves, as most do: they are cast, so all weights lie alike in memory. Floats are used where they lie in
their file, and a CPU's kernels round otherwise where that is at another multiple of 4 bytes, in folders as in files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from minimon_server.engines.checkpoint_files import Catalogued, Checkpoint, Models, fingerprint_of_model
from minimon_server.engines.checkpoint_loading import load_model
from minimon_server.engines.messages import Drawn, DrawRequest, EngineFault, Progress
from minimon_server.engines.model_folders import BrokenModel, ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_memory import loading_floor
from minimon_server.logs import Logger
from tests import small_pipeline
from tests.single_file import Tensors, narrow_pipeline, save, single_file

CPU = Place(torch.device("cpu"), torch.float32, "a test")
Ask = Callable[..., DrawRequest]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder with a folder `narrow` and the same model as a single file `single`."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("twins")
    pipeline = narrow_pipeline().to(torch.float16)
    pipeline.save_pretrained(root / "narrow", safe_serialization=True)
    save(single_file(pipeline), root / "checkpoints" / "single.safetensors")
    return root


@pytest.fixture(scope="module")
def weights() -> Tensors:
    """Return what the file holds."""
    return single_file(narrow_pipeline().to(torch.float16))


@pytest.fixture
def here(twins: Path, tmp_path: Path) -> Path:
    """Return a models/ folder with the folder `narrow`, and room for files."""
    root = tmp_path / "models"
    shutil.copytree(twins / "narrow", root / "narrow")
    return root


def models_of(root: Path, log: Logger, **vaes: str) -> Models:
    return Models(
        ModelFolders(root, log), lambda name: Catalogued("checkpoint", vaes[name]) if name in vaes else None, log
    )


def drawn(root: Path, log: Logger, request: DrawRequest, **vaes: str) -> Drawn:
    return SdxlEngine(models_of(root, log, **vaes), "cpu", log).draw(request, lambda _: True)


def pixels(root: Path, log: Logger, request: DrawRequest, **vaes: str) -> bytes:
    return drawn(root, log, request, **vaes).pictures[0].pixels


def test_a_single_file_draws_the_picture_of_its_twin(twins: Path, log: Logger, request_for: Ask) -> None:
    ask = request_for(prompt="a (photo:1.3) of a cat, BREAK tail", steps=2, clip_skip=2, seeds=(7, 8))
    folder, single = (
        drawn(twins, log, DrawRequest(**{**_members(ask), "model": name})) for name in ("narrow", "single")
    )
    assert [one.pixels for one in single.pictures] == [one.pixels for one in folder.pictures]
    assert single.pictures[0].pixels != single.pictures[1].pixels
    told, twin = single.pictures[0].metadata, folder.pictures[0].metadata
    assert told["model_fingerprint"] != twin["model_fingerprint"]
    assert {name for name in told if told[name] != twin[name]} <= {"model", "model_fingerprint", "hashes", "timings"}


def _members(ask: DrawRequest) -> dict[str, Any]:
    return {name: getattr(ask, name) for name in ask.__slots__}


def test_what_shapes_cannot_tell_stands_in_a_folder_beside_the_file(
    models: Path, tmp_path: Path, log: Logger, request_for: Ask
) -> None:
    pipeline = small_pipeline.plainly_loaded(models / "small").to(torch.float16)
    pipeline.save_pretrained(tmp_path / "small")
    save(single_file(pipeline), tmp_path / "checkpoints" / "one.safetensors")
    with pytest.raises(EngineFault, match="one cannot be loaded"):  # other groups, other tokens
        drawn(tmp_path, log, request_for(steps=1, model="one"))
    beside = tmp_path / "checkpoints" / "one"
    for part in ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler", "tokenizer", "tokenizer_2"):
        shutil.copytree(tmp_path / "small" / part, beside / part, ignore=shutil.ignore_patterns("*.safetensors"))
    assert pixels(tmp_path, log, request_for(steps=1, model="one")) == pixels(
        tmp_path, log, request_for(steps=1, model="small")
    )


def test_numbers_of_every_kind_become_those_of_the_place(
    here: Path, weights: Tensors, log: Logger, request_for: Ask
) -> None:
    kinds = {
        "model.diffusion_model.": torch.float8_e4m3fn,
        "first_stage_model.": torch.float64,
        "conditioner.embedders.0.": torch.float16,
        "conditioner.embedders.1.": torch.bfloat16,
    }
    mixed = {
        name: tensor.to(next(kinds[start] for start in kinds if name.startswith(start)))
        for name, tensor in weights.items()
    }
    save(mixed, here / "checkpoints" / "mixed.safetensors")
    save({name: tensor.double() for name, tensor in mixed.items()}, here / "checkpoints" / "plain.safetensors")
    found = [pixels(here, log, request_for(steps=1, model=name)) for name in ("mixed", "plain")]
    assert found[0] == found[1] != pixels(here, log, request_for(steps=1, model="narrow"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_part_has_the_numbers_of_the_place_and_a_half_autoencoder_is_whole(
    twins: Path, log: Logger, dtype: torch.dtype
) -> None:
    told: list[tuple[int, int]] = []
    place = Place(torch.device("cpu"), dtype, "a test")
    pipeline = load_model(models_of(twins, log).find("single"), place, lambda *one: told.append(one))
    for part in (pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2):
        assert {value.dtype for value in part.parameters()} == {dtype}
        assert not part.training
    assert pipeline.vae.dtype == (torch.float32 if dtype == torch.float16 else dtype)
    assert told[0] == (0, told[-1][0])
    assert told == sorted(told)


def test_what_comes_with_files_and_draws_nothing_changes_nothing_and_strangers_are_named(
    here: Path, weights: Tensors, log: Logger, request_for: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    first = "conditioner.embedders.0.transformer."
    crowded = {name.replace("transformer.text_model.", "transformer."): one for name, one in weights.items()}
    projection = crowded.pop("conditioner.embedders.1.model.text_projection")
    crowded |= {
        "conditioner.embedders.1.model.text_projection.weight": projection.T.contiguous(),
        "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6),
        f"{first}embeddings.position_ids": torch.arange(77)[None],
        "model_ema.diffusion_modelinput_blocks00weight": torch.ones(3),
        "model_ema.num_updates": torch.tensor(7),
        "denoiser.sigmas": torch.ones(1000),
        "alphas_cumprod": torch.ones(1000),
        "stranger.weight": torch.ones(3),
        "model.diffusion_model.stranger": torch.ones(4),
    }
    save(
        crowded,
        here / "checkpoints" / "crowded.safetensors",
        {"modelspec.title": "A", "odd": "\u0000{", "": "x" * 9999},
    )
    assert pixels(here, log, request_for(steps=1, model="crowded")) == pixels(
        here, log, request_for(steps=1, model="narrow")
    )
    assert "crowded: 1 tensors are not used: stranger.weight" in caplog.text
    assert "unet: 1 tensors are not used: model.diffusion_model.stranger" in caplog.text
    assert "sigmas" not in caplog.text


@pytest.mark.parametrize("marks", [("v_pred",), ("v_pred", "ztsnr")], ids="-".join)
def test_a_model_that_predicts_v_draws_as_its_twin_with_such_a_scheduler(
    here: Path, weights: Tensors, log: Logger, request_for: Ask, marks: tuple[str, ...]
) -> None:
    save({**weights, **{mark: torch.zeros(0) for mark in marks}}, here / "checkpoints" / "v.safetensors")
    settings = here / "narrow" / "scheduler" / "scheduler_config.json"
    said = json.loads(settings.read_bytes()) | {"prediction_type": "v_prediction"}
    if "ztsnr" in marks:
        said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    plain = pixels(here, log, request_for(steps=1, model="narrow"))
    settings.write_text(json.dumps(said))
    found = pixels(here, log, request_for(steps=1, model="v"))
    assert found == pixels(here, log, request_for(steps=1, model="narrow")) != plain


def test_the_vae_is_the_one_that_was_named_then_the_one_beside_then_its_own(
    here: Path, weights: Tensors, log: Logger, request_for: Ask
) -> None:
    other, third = (narrow_pipeline(seed).vae for seed in (1, 2))
    other.save_pretrained(here / "vae" / "fix")
    save(weights, here / "checkpoints" / "one.safetensors")
    save(
        {name: one for name, one in weights.items() if "first_stage" not in name},
        here / "checkpoints" / "none.safetensors",
    )
    own = pixels(here, log, request_for(steps=1, model="one"))
    named = pixels(here, log, request_for(steps=1, model="one"), one="fix")
    assert named == pixels(here, log, request_for(steps=1, model="none"), none="fix") != own
    shutil.rmtree(here / "narrow" / "vae")
    other.save_pretrained(here / "narrow" / "vae")
    assert named == pixels(here, log, request_for(steps=1, model="narrow"))
    with pytest.raises(EngineFault, match="none cannot be loaded: it holds no VAE, and none was named for it"):
        drawn(here, log, request_for(steps=1, model="none"))
    third.save_pretrained(here / "checkpoints" / "one" / "vae")
    assert pixels(here, log, request_for(steps=1, model="one")) not in (own, named)
    assert pixels(here, log, request_for(steps=1, model="one"), one="fix") == named
    with pytest.raises(EngineFault, match="its VAE gone is not in models/vae/gone/"):
        drawn(here, log, request_for(steps=1, model="one"), one="gone")


def broken(weights: Tensors) -> Iterator[tuple[str, Tensors, str]]:
    """Yield what is wrong, such a file, and what is said of it."""
    late = "model.diffusion_model.output_blocks.5.0.in_layers.0.bias"
    yield "missing", {name: one for name, one in weights.items() if name != late}, "the server's log says why"
    yield "shape", {**weights, late: torch.ones(3)}, "the server's log says why"
    yield "whole numbers", {**weights, late: torch.ones(96, dtype=torch.int8)}, "the server's log says why"
    yield "nan", {**weights, "first_stage_model.decoder.conv_in.bias": torch.full((32,), torch.nan)}, "not a number"
    yield "no encoder", {n: one for n, one in weights.items() if "embedders.1" not in n}, "no text encoder OpenCLIP"


def test_a_file_that_lacks_something_is_refused_with_the_reason(here: Path, weights: Tensors, log: Logger) -> None:
    for name, tensors, said in broken(weights):
        save(tensors, here / "checkpoints" / f"{name}.safetensors")
        with pytest.raises(BrokenModel, match=f"The model {name} cannot be loaded.*{said}"):
            load_model(models_of(here, log).find(name), CPU, lambda *_: None)
    (here / "checkpoints" / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(BrokenModel, match="no whole safetensors file"):
        load_model(models_of(here, log).find("cut"), CPU, lambda *_: None)


def test_a_file_stays_in_memory_until_it_changes_and_one_that_is_gone_is_said(
    here: Path, weights: Tensors, log: Logger, request_for: Ask
) -> None:
    path = save(weights, here / "checkpoints" / "one.safetensors")
    engine = SdxlEngine(models_of(here, log), "cpu", log)
    phases: list[str] = []

    def report(progress: Progress) -> bool:
        phases.append(progress.phase)
        return True

    first = engine.draw(request_for(steps=1, model="one"), report).pictures[0]
    assert "loading" in phases
    phases.clear()
    assert engine.draw(request_for(steps=1, model="one"), report).pictures[0].pixels == first.pixels
    assert "loading" not in phases
    save(single_file(narrow_pipeline(5)), path.with_suffix(".new")).replace(path)
    second = engine.draw(request_for(steps=1, model="one"), report).pictures[0]
    assert "loading" in phases
    assert second.pixels != first.pixels
    assert second.metadata["model_fingerprint"] != first.metadata["model_fingerprint"]
    path.unlink()
    with pytest.raises(EngineFault, match="There is no model one here"):
        engine.draw(request_for(steps=1, model="one"), report)


def test_the_floor_of_memory_counts_what_is_loaded_and_no_more(here: Path, weights: Tensors, log: Logger) -> None:
    numbers = sum(one.numel() for one in weights.values())
    save({**weights, "model_ema.x": torch.ones(10**6)}, here / "checkpoints" / "half.safetensors")
    save({name: one.float() for name, one in weights.items()}, here / "checkpoints" / "full.safetensors")
    models = models_of(here, log, named="fix")
    assert loading_floor(models.find("half"), CPU) == 4 * numbers
    assert loading_floor(models.find("full"), CPU) == 0  # mapped as it lies there
    assert loading_floor(models.find("full"), Place(torch.device("cuda"), torch.bfloat16, "")) == 2 * numbers
    narrow_pipeline(1).vae.half().save_pretrained(here / "vae" / "fix")
    save(weights, here / "checkpoints" / "named.safetensors")
    assert loading_floor(models.find("named"), CPU) == 4 * numbers


def test_a_fingerprint_tells_the_file_what_lies_beside_it_and_its_vae(
    here: Path, weights: Tensors, log: Logger
) -> None:
    path = save(weights, here / "checkpoints" / "one.safetensors")
    narrow_pipeline(1).vae.save_pretrained(here / "vae" / "fix")
    models = models_of(here, log)
    found = {models.fingerprint("one"), models_of(here, log, one="fix").fingerprint("one")}
    (path.with_suffix("") / "scheduler").mkdir(parents=True)
    (path.with_suffix("") / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    found.add(models.fingerprint("one"))
    model = models.find("one")
    assert isinstance(model, Checkpoint)
    assert models.fingerprint("one") == fingerprint_of_model(model)
    assert len(found) == 3
    assert None not in found
    path.unlink()
    assert models.fingerprint("one") is None
    assert models.fingerprint("narrow") == ModelFolders(here, log).fingerprint("narrow")


def test_of_a_folder_and_a_file_of_one_name_the_catalogue_then_the_folder_counts(
    here: Path, weights: Tensors, log: Logger
) -> None:
    path = save(weights, here / "checkpoints" / "narrow.safetensors")
    assert not isinstance(models_of(here, log).find("narrow"), Checkpoint)
    assert isinstance(models_of(here, log, narrow="").find("narrow"), Checkpoint)
    path.unlink()
    with pytest.raises(BrokenModel, match=r"models/checkpoints/narrow.safetensors is missing"):
        models_of(here, log, narrow="").find("narrow")
