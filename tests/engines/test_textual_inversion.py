"""Trained words: the library's own result, from the files that people have, and a reason for each that is not used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_prompts import Spoken, encode
from minimon_server.engines.textual_inversion import TrainedWords
from minimon_server.engines.trained_files import digests_here
from minimon_server.logs import Logger
from tests.small_pipeline import WIDTHS, plainly_loaded

Said = Callable[[], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return plainly_loaded(models / "small")


def vectors(count: int = 3, seed: int = 1) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {
        "clip_l": torch.randn(count, WIDTHS[0], generator=made),
        "clip_g": torch.randn(count, WIDTHS[1], generator=made),
    }


def save(folder: Path, name: str, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / name)
    return folder / name


@torch.no_grad()
def by_the_library(models: Path, prompt: str, tensors: dict[str, torch.Tensor], token: str) -> tuple[Any, ...]:
    """Return what diffusers makes of a prompt after it loaded the vectors as `token`."""
    pipeline = plainly_loaded(models / "small")
    pipeline.load_textual_inversion(tensors["clip_l"], token, pipeline.tokenizer, pipeline.text_encoder)
    # The small model's two tokenizers are one on the disk and two here.
    pipeline.load_textual_inversion(tensors["clip_g"], token, pipeline.tokenizer_2, pipeline.text_encoder_2)
    found: tuple[Any, ...] = pipeline.encode_prompt(prompt, negative_prompt=prompt)
    return found


def plainly(pipeline: Any, prompt: str) -> Spoken:
    return encode(pipeline, prompt, None, None)


@pytest.mark.parametrize("prompt", ["qstar", "a qstar, in a hat", "qstar qstar", "a Qstar, in a hat"])
def test_a_trained_word_is_the_librarys(models: Path, pipeline: Any, tmp_path: Path, log: Logger, prompt: str) -> None:
    tensors = vectors()
    save(tmp_path, "qstar.safetensors", tensors)
    ours = encode(pipeline, prompt, prompt, None, trained=TrainedWords(tmp_path, log))
    theirs = by_the_library(models, prompt.lower(), tensors, "qstar")
    for one, other in zip((ours.prompt, ours.negative, ours.pooled, ours.negative_pooled), theirs, strict=True):
        assert one is not None
        assert torch.equal(one, other)
    assert ours.ignored == ()
    assert not torch.equal(ours.prompt, plainly(pipeline, prompt).prompt)


def test_a_trained_word_leaves_nothing_behind(pipeline: Any, tmp_path: Path, log: Logger) -> None:
    save(tmp_path, "qstar.safetensors", vectors())
    before = plainly(pipeline, "a qstar").prompt
    encode(pipeline, "a qstar", None, None, trained=TrainedWords(tmp_path, log))
    assert torch.equal(plainly(pipeline, "a qstar").prompt, before)


def test_the_longest_name_that_fits_counts(pipeline: Any, tmp_path: Path, log: Logger) -> None:
    save(tmp_path, "qstar.safetensors", vectors(2))
    save(tmp_path, "qstar-xl.safetensors", vectors(4))
    trained = TrainedWords(tmp_path, log)
    tokens = [
        encode(pipeline, text, None, None, trained=trained).amounts["prompt_tokens"]
        for text in ("qstar", "qstar-xl", "qstar-xm", "qstars")
    ]
    # Not "qstars", whose letter r is another token than one that ends a word.
    assert tokens == [2, 4, 2 + len("-xm"), 6]


def test_every_form_of_a_file_is_read(pipeline: Any, tmp_path: Path, log: Logger) -> None:
    two = vectors()
    save(tmp_path, "one.safetensors", two)
    save(tmp_path, "two.safetensors", {"text_encoders_0": two["clip_l"], "text_encoders_1": two["clip_g"]})
    whole = torch.cat([two["clip_l"], two["clip_g"]], dim=1)
    save(tmp_path, "three.safetensors", {"emb_params": whole})
    save(tmp_path, "four.safetensors", {"string_to_param.*": whole})
    save(tmp_path, "halves.safetensors", {name: tensor.half() for name, tensor in two.items()})
    save(tmp_path, "flat.safetensors", {name: tensor[0] for name, tensor in two.items()})
    trained = TrainedWords(tmp_path, log)
    said = {
        name: encode(pipeline, f"a {name}", None, None, trained=trained)
        for name in ("one", "two", "three", "four", "halves", "flat")
    }
    assert all(one.ignored == () for one in said.values())
    for name in ("two", "three", "four"):
        assert torch.equal(said[name].prompt, said["one"].prompt)
    assert torch.allclose(said["halves"].prompt, said["one"].prompt, atol=1e-2)
    assert said["flat"].amounts["prompt_tokens"] == 2


BAD: dict[str, tuple[dict[str, torch.Tensor] | bytes, str]] = {
    "narrow": (
        {"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, WIDTHS[1])},
        "made for another model: clip_l is [2, 8], this model's width is 32",
    ),
    "single": (
        {"emb_params": torch.ones(2, 768)},
        "made for another model: emb_params is [2, 768], this model's width is 64",
    ),
    "uneven": (
        {"clip_l": torch.ones(2, WIDTHS[0]), "clip_g": torch.ones(3, WIDTHS[1])},
        "it holds [2, 3] vectors: each encoder takes the same, 1 to 75",
    ),
    "none": ({"clip_l": torch.ones(0, WIDTHS[0]), "clip_g": torch.ones(0, WIDTHS[1])}, "it holds [0] vectors"),
    "many": ({"clip_l": torch.ones(76, WIDTHS[0]), "clip_g": torch.ones(76, WIDTHS[1])}, "it holds [76] vectors"),
    "deep": ({"emb_params": torch.ones(1, 1, 64)}, "made for another model"),
    "several": (
        {"a": torch.ones(1, 64), "b": torch.ones(1, 64)},
        "it holds 2 tensors, not clip_l and clip_g, nor a single one",
    ),
    "nan": ({"emb_params": torch.full((1, 64), float("nan"))}, "it holds something that is not a number"),
    "whole": ({"emb_params": torch.ones(1, 64, dtype=torch.int32)}, "it holds something that is not a number"),
    "noise": (b"\xff" * 100, "it is not a safetensors file"),
    "empty": (b"", "it is not a safetensors file"),
    "large": (b"\0" * (16 * 1024 * 1024 + 1), "it is larger than 16 MiB"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_word_that_cannot_be_used_stays_a_word_and_is_told(
    pipeline: Any, tmp_path: Path, log: Logger, logged: Said, name: str
) -> None:
    held, reason = BAD[name]
    folder = tmp_path / "embeddings"
    if isinstance(held, bytes):
        folder.mkdir()
        (folder / f"{name}.safetensors").write_bytes(held)
    else:
        save(folder, f"{name}.safetensors", held)
    trained = TrainedWords(folder, log)
    for _ in range(2):
        ours = encode(pipeline, f"a {name}", None, None, trained=trained)
        assert torch.equal(ours.prompt, plainly(pipeline, f"a {name}").prompt)
        (said,) = ours.ignored
        assert said.startswith(f"embedding {name}: {reason}")
    (line,) = logged()
    assert (line["embedding"], line["reason"]) == (name, said.partition(": ")[2])


def test_a_pickle_is_never_opened(pipeline: Any, tmp_path: Path, log: Logger, logged: Said) -> None:
    class Program:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "it ran"),)

    folder = tmp_path / "embeddings"
    folder.mkdir()
    for name in ("qstar.pt", "other.BIN", "both.pt"):
        torch.save(Program(), folder / name)
    save(folder, "both.safetensors", vectors())
    (folder / "both.preview.png").write_bytes(b"")
    trained = TrainedWords(folder, log)
    for _ in range(2):
        ours = encode(pipeline, "a qstar and both", None, None, trained=trained)
        assert ours.ignored == ("embedding qstar: qstar.pt is a pickle, which could run anything: safetensors only",)
    assert ours.amounts["prompt_tokens"] == len("aqstarand") + 3
    assert not (tmp_path / "it ran").exists()
    assert sorted(line["embedding"] for line in logged()) == ["both", "other", "qstar"]


def test_a_file_that_comes_changes_or_goes_is_seen(pipeline: Any, tmp_path: Path, log: Logger) -> None:
    trained = TrainedWords(tmp_path / "embeddings", log)

    def said() -> torch.Tensor:
        return encode(pipeline, "a qstar", None, None, trained=trained).prompt

    plain = said()
    path = save(tmp_path / "embeddings", "qstar.safetensors", vectors())
    first = said()
    save(tmp_path / "embeddings", "qstar.safetensors", vectors(4))
    second = said()
    path.unlink()
    assert torch.equal(said(), plain)
    assert len({float(one.sum()) for one in (plain, first, second)}) == 3


def test_an_embedding_of_the_models_folder_is_drawn_with(
    models: Path, tmp_path: Path, request_for: Any, quiet: Logger
) -> None:
    shutil.copytree(models / "small", tmp_path / "small")
    folders = ModelFolders(tmp_path, quiet)
    engine = SdxlEngine(folders, "cpu", quiet)
    (plain,) = engine.draw(request_for(prompt="a qstar"), lambda _: True).pictures
    save(tmp_path / "embeddings", "qstar.safetensors", vectors())
    save(tmp_path / "embeddings", "sd15.safetensors", {"emb_params": torch.ones(2, 768)})
    (drawn,) = engine.draw(request_for(prompt="a qstar", negative_prompt="sd15"), lambda _: True).pictures
    assert drawn.pixels != plain.pixels
    assert (drawn.metadata["prompt_tokens"], drawn.metadata["negative_tokens"]) == (4, 4)
    assert drawn.metadata["ignored"] == [
        "embedding sd15: made for another model: emb_params is [2, 768], this model's width is 64"
    ]
    assert [info.id for info in folders.infos()] == ["small"]
    # What stood for a word is told, and found again, or not, by whoever makes the picture again.
    file = tmp_path / "embeddings" / "qstar.safetensors"
    digest = sha256(file.read_bytes()).hexdigest()
    assert drawn.metadata["trained_words"] == {"qstar": digest}
    texts, told = ["a QSTAR", ""], drawn.metadata["trained_words"]
    assert digests_here(tmp_path / "embeddings", texts, ()) == told == digests_here(tmp_path / "embeddings", [], told)
    assert digests_here(tmp_path / "embeddings", ["a star"], ()) == {}
    assert digests_here(tmp_path / "nowhere", texts, told) == {}
    assert plain.metadata["trained_words"] == {}
