"""What the catalogue says and what lies on the disk, put together; both change while the server runs."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from minimon_server.catalog import words
from minimon_server.catalog.stock import CATALOGUE
from minimon_server.engines.model_info import LoraInfo, ModelInfo
from tests.catalog.files import SD15, SDXL, stock_of, write
from tests.catalog.test_kinds import CROSS, lora
from tests.support import HOME

SMALL = """schema = 1
[[model]]
id = "small"
name = "Small one"
kind = "diffusers"
base = "small"
licence = "MIT"
[model.defaults]
steps = 7
clip_skip = 2
scheduler = "euler_a"
prompt_prefix = "score_9, score_8"
"""


def put(root: Path, text: str) -> None:
    (root / CATALOGUE).write_text(text)


def put_vae(root: Path, name: str = "vae/sdxl-vae-fp16-fix") -> None:
    write(root / name / "diffusion_pytorch_model.safetensors", {"x": (1,)})
    (root / name / "config.json").write_text("{}")


def names(found: Sequence[ModelInfo | LoraInfo]) -> list[str]:
    return [one.id for one in found]


def test_the_shipped_catalogue_over_an_empty_disk(tmp_path: Path) -> None:
    shutil.copy(HOME / "models" / CATALOGUE, tmp_path)
    stock = stock_of(tmp_path)
    models = {model.id: model for model in stock.models()}
    assert list(models) == ["sdxl-base", "pony-xl-v6", "sdxl-turbo", "minimon-tiny"]
    assert all(model.unavailable for model in models.values())
    base, pony, tiny = models["sdxl-base"], models["pony-xl-v6"], models["minimon-tiny"]
    assert base.how
    assert base.how.en == "python download_models.py --model sdxl-base"
    assert pony.prompt_prefix.startswith("score_9, ")
    assert pony.supported_loras == ("style-anime", "character-detailed")
    assert tiny.how
    assert tiny.how.en.startswith("nothing fetches it, it ships with the server or is your own: ")
    assert tiny.how.en.endswith("put the folder at models/minimon-tiny")
    assert names(stock.loras()) == ["style-anime", "character-detailed", "ink", "synthwave", "watercolour"]
    how = stock.loras()[0].how
    assert how
    assert how.en.endswith("put the file at models/loras/style-anime.safetensors")
    assert stock.facts() == {"known": 4, "available": 0, "catalog": "ok"}


def test_a_folder_gets_what_the_catalogue_says_and_keeps_the_rest(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    (bare,) = [model for model in stock_of(tmp_path).models() if model.id == "small"]
    few = (("lcm", 50), ("tcd", 50))
    assert bare == ModelInfo(
        "small",
        "small",
        width=64,
        height=64,
        steps=30,
        guidance_scale=5.0,
        clip_layers=2,
        most_steps=few,
        latents=(4, 4),
    )
    put(tmp_path, SMALL)
    first = stock_of(tmp_path).models()[0]
    assert (first.id, first.name, first.unavailable, first.licence) == ("small", "Small one", None, "MIT")
    assert (first.steps, first.guidance_scale, first.width, first.height) == (7, 5.0, 64, 64)
    assert (first.scheduler, first.clip_skip, first.prompt_prefix) == ("euler_a", 2, "score_9, score_8")
    put(tmp_path, SMALL.replace("clip_skip = 2", "clip_skip = 12"))
    (deep,) = stock_of(tmp_path).models()
    assert deep.unavailable
    assert "clip_skip is 12; this model takes" in deep.unavailable.en
    put(tmp_path, SMALL)
    (tmp_path / "small" / "unet" / "config.json").unlink()
    broken = stock_of(tmp_path).models()[0]
    assert broken.unavailable == words.unusable("unet/config.json cannot be read (no such file or directory)")


def test_dropped_files_appear_change_and_go_without_a_restart(tmp_path: Path) -> None:
    stock = stock_of(tmp_path)
    assert stock.models() == []
    assert stock.loras() == []
    checkpoints, loras = tmp_path / "checkpoints", tmp_path / "loras"
    write(checkpoints / "My model (v2).safetensors", SDXL)
    write(loras / "neon.safetensors", lora(CROSS, 2048))
    write(loras / "old.safetensors", lora(CROSS, 768))
    (model,) = stock.models()
    assert (model.id, model.kind, model.base) == ("My model (v2)", "checkpoint", "sdxl")
    assert (model.unavailable, model.prediction, model.clip_layers) == (None, "", 12)
    assert (model.width, model.height, model.steps, model.guidance_scale) == (1024, 1024, 30, 5.0)
    assert model.supported_loras == ("neon",)  # of its base alone
    assert [(one.id, one.network, one.base) for one in stock.loras()] == [
        ("neon", "lora", "sdxl"),
        ("old", "lora", "sd15"),
    ]
    write(checkpoints / "My model (v2).safetensors", {**SD15})
    (model,) = stock.models()
    assert (model.base, model.width, model.supported_loras) == ("sd15", 512, ("old",))
    assert model.unavailable == words.other_base("sd15")
    shutil.rmtree(checkpoints)
    assert stock.models() == []


class Bomb:
    """Says whether anybody unpickled it."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.flag),)


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".bin", ".pth", ".CKPT", ".safetensors"])
def test_a_pickle_is_refused_with_the_reason_and_never_read(tmp_path: Path, ending: str) -> None:
    flag = tmp_path / "it ran"
    for folder in ("checkpoints", "loras"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"bad{ending}").write_bytes(pickle.dumps(Bomb(flag)))
    stock = stock_of(tmp_path)
    everything: list[ModelInfo | LoraInfo] = [*stock.models(), *stock.loras()]
    for found in everything:
        assert found.id == "bad"
        assert found.unavailable
        assert "is a pickle, which could run anything when it is read: safetensors only" in found.unavailable.en
    assert len(stock.models()) == len(stock.loras()) == 1
    assert not flag.exists()
    write(tmp_path / "checkpoints" / "bad.safetensors", SDXL)
    assert [model.unavailable for model in stock.models()] == [None]  # the one that can be read


def test_odd_things_in_the_folders_are_told_and_harm_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "folder.safetensors").mkdir()
    (folder / "gone.safetensors").symlink_to("nowhere")
    (folder / "loop.safetensors").symlink_to("loop.safetensors")
    (folder / ".hidden.safetensors").write_bytes(b"")
    (folder / "half.safetensors.part").write_bytes(b"")
    (folder / "note.json").write_bytes(b"{}")
    (folder / "a\nb.safetensors").write_bytes(b"")
    (folder / os.fsdecode(b"\xff.safetensors")).write_bytes(b"")
    (folder / "empty.safetensors").write_bytes(b"")
    found = stock_of(tmp_path).models()
    assert names(found) == ["empty", "folder", "gone", "loop", "pipe"]
    assert all(model.unavailable and "cannot be used" in model.unavailable.en for model in found)


def test_a_file_that_is_not_what_the_catalogue_says_is_not_used(tmp_path: Path) -> None:
    shutil.copy(HOME / "models" / CATALOGUE, tmp_path)
    stock = stock_of(tmp_path)
    write(tmp_path / "checkpoints" / "pony-xl-v6.safetensors", SD15)
    write(tmp_path / "loras" / "style-anime.safetensors", lora(CROSS, 768))
    assert stock.models()[1].unavailable == words.bases_differ("sdxl", "sd15")
    assert stock.loras()[0].unavailable == words.bases_differ("sdxl", "sd15")
    write(tmp_path / "checkpoints" / "pony-xl-v6.safetensors", {**SDXL, "v_pred": (0,)})
    put_vae(tmp_path)
    write(tmp_path / "loras" / "style-anime.safetensors", lora(CROSS, 2048))
    pony = stock.models()[1]
    assert (pony.unavailable, pony.prediction, pony.how) == (None, "v", None)
    anime = stock.loras()[0]
    assert (anime.unavailable, anime.network, anime.default_weight) == (None, "lora", 0.75)
    assert names(stock.loras()) == ["style-anime", "character-detailed", "ink", "synthwave", "watercolour"]
    assert stock.lora_file("style-anime") == tmp_path / "loras" / "style-anime.safetensors"
    assert stock.lora_file("character-detailed") is None


def test_a_lora_goes_with_models_unless_it_is_known_to_be_for_others(tmp_path: Path) -> None:
    shutil.copy(HOME / "models" / CATALOGUE, tmp_path)
    write(tmp_path / "loras" / "style-anime.safetensors", lora(CROSS, 768))
    write(tmp_path / "loras" / "tiny one.safetensors", lora(CROSS, 96))
    write(tmp_path / "loras" / "old.safetensors", lora(CROSS, 768))
    (tmp_path / "loras" / "bad.pt").write_bytes(b"")
    stock = stock_of(tmp_path)
    supported = {model.id: model.supported_loras for model in stock.models()}
    assert supported["pony-xl-v6"] == ("character-detailed", "tiny one")
    assert supported["minimon-tiny"] == ("ink", "synthwave", "watercolour", "tiny one")
    assert stock.lora_file("tiny one") == tmp_path / "loras" / "tiny one.safetensors"
    assert (stock.lora_file("bad"), stock.lora_file("nobody")) == (None, None)


def test_of_two_with_one_id_the_catalogue_then_the_folder_counts(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "small", tmp_path / "small")
    write(tmp_path / "checkpoints" / "small.safetensors", SDXL)
    assert [(model.id, model.kind) for model in stock_of(tmp_path).models()] == [("small", "diffusers")]
    put(tmp_path, 'schema = 1\n[[model]]\nid = "small"\nname = "S"\nkind = "checkpoint"\n')
    assert [(model.id, model.kind) for model in stock_of(tmp_path).models()] == [("small", "checkpoint")]


@pytest.mark.parametrize(
    "bad",
    [b"schema = 1\n[[model]]\nid='../a'\nname='a'\n", b"\xff", b"#" * 300_000, b"schema = " + b"[" * 99_999],
    ids=["escape", "no text", "huge", "deep"],
)  # fmt: skip
def test_after_a_mistake_the_last_good_catalogue_stays_and_the_next_good_one_counts(tmp_path: Path, bad: bytes) -> None:
    put(tmp_path, SMALL)
    stock = stock_of(tmp_path)
    assert names(stock.models()) == ["small"]
    (tmp_path / CATALOGUE).write_bytes(bad)
    assert names(stock.models()) == ["small"]
    problems = stock.facts()["catalog"]
    assert isinstance(problems, list)
    assert [problem.startswith("catalog.toml: ") for problem in problems] == [True] * len(problems)
    assert problems
    put(tmp_path, SMALL.replace('"small"', '"other"'))
    assert names(stock.models()) == ["other"]
    assert stock.facts()["catalog"] == "ok"


def test_a_catalogue_that_is_no_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CATALOGUE)
    stock = stock_of(tmp_path)
    assert stock.models() == []
    assert stock.facts()["catalog"] == ["catalog.toml: not a file"]
    (tmp_path / CATALOGUE).unlink()
    assert stock.models() == []
    assert stock.facts()["catalog"] == "ok"
