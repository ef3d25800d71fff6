"""Folders as PEFT saves them stand among the LoRAs by their names, told by what they hold, or why they are no use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from minimon_server.catalog.stock import Stock
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.peft_folders import CONFIG, WEIGHTS
from minimon_server.logs import Lines, LogSink
from tests.catalog.files import Shapes, stock_of, write
from tests.catalog.test_kinds import CROSS, lora

LAYER = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
PLAIN: Shapes = {f"{LAYER}.lora_A.weight": (4, 2048), f"{LAYER}.lora_B.weight": (640, 4)}
SAID = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def put(folder: Path, shapes: Shapes | None = PLAIN, **said: Any) -> None:
    """Write a folder; without shapes it has no tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    if shapes is not None:
        write(folder / WEIGHTS, shapes)
    (folder / CONFIG).write_text(json.dumps({**SAID, **said}))


def test_a_folder_of_peft_is_a_lora_by_its_name(tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    put(loras / "ink v1.5")
    put(loras / "rows", {**PLAIN, f"{LAYER}.lora_magnitude_vector": (640,)}, use_dora=True)
    put(loras / "words", PLAIN, auto_mapping={"base_model_class": "CLIPTextModelWithProjection"})
    write(loras / "file.safetensors", lora(CROSS, 2048))
    write(loras / "notes" / "other.safetensors", lora(CROSS, 2048))
    (loras / "empty").mkdir()
    stock = stock_of(tmp_path)
    found = {one.id: (one.network, one.base, one.unavailable) for one in stock.loras()}
    assert found == {
        "file": ("lora", "sdxl", None),
        "ink v1.5": ("lora", "sdxl", None),
        "rows": ("dora", "sdxl", None),
        "words": ("lora", "sdxl", None),
    }
    assert stock.lora_file("ink v1.5") == loras / "ink v1.5"


def test_a_folder_that_cannot_be_used_is_listed_with_the_reason_until_it_changes(tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    put(loras / "bare", None)
    put(loras / "wrong", PLAIN, r=8)
    put(loras / "other", PLAIN, peft_type="IA3")
    stock = stock_of(tmp_path)
    said = {one.id: one.unavailable.en for one in stock.loras() if one.unavailable}
    assert said == {
        "bare": "cannot be used: adapter_model.safetensors is missing",
        "wrong": f"cannot be used: r in its adapter_config.json is 8 for {LAYER.removeprefix('base_model.model.')}, "
        "whose factors have rank 4",
        "other": "cannot be used: peft_type in its adapter_config.json is 'IA3', and not \"LORA\"",
    }
    assert stock.lora_file("wrong") is None
    put(loras / "wrong", None, r=4, lora_alpha=16)
    write(loras / "bare" / WEIGHTS, PLAIN)
    assert {one.id for one in stock.loras() if one.unavailable} == {"other"}
    assert stock.lora_file("wrong") == loras / "wrong"


def test_a_file_goes_before_a_folder_of_its_name_and_an_entry_describes_either(tmp_path: Path) -> None:
    loras = tmp_path / "loras"
    put(loras / "ink")
    put(loras / CONFIG.removesuffix(".json"))
    (loras / CONFIG).write_text(json.dumps(SAID))
    (tmp_path / "catalog.toml").write_text(
        'schema = 1\n[[lora]]\nid = "ink"\nname = "Ink"\nbase = "sdxl"\ntrigger_words = ["ink"]\n'
        "[lora.source]\nlocal = true\n"
    )
    stock = stock_of(tmp_path)
    assert [(one.id, one.name, one.unavailable) for one in stock.loras()] == [
        ("ink", "Ink", None),
        ("adapter_config", "adapter_config", None),
    ]
    assert stock.lora_file("ink") == loras / "ink"
    write(loras / "ink.safetensors", lora(CROSS, 2048))
    assert stock.lora_file("ink") == loras / "ink.safetensors"
    assert [one.id for one in stock.loras()] == ["ink", "adapter_config"]
    sink = LogSink(os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY))
    log = Lines(sink, level="INFO", as_json=True).logger()
    for _ in range(2):
        Stock(tmp_path, ModelFolders(tmp_path, log), log).loras()
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [line["problem"] for line in lines if line["event"] == "files of models are left out"]
    assert told == ["'ink' is left out: a file has its id"] * 2
