"""LoRAs over a quantised model through HTTP: the answer says how exact they were, a file of the other way is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from minimon_server.engines.picture_reading import told_in
from tests.web.drawn_scene import PATIENCE, drawn, models_folder

pytest.importorskip("torchao")
LABEL = "int8 weight-only"
WISH: dict[str, Any] = {"prompt": "a cat", "model": "small", "seed": 7, "width": 64, "height": 64, "steps": 1}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a model and its adapters."""
    from tests.engines.adapter_scene import write_six
    from tests.small_pipeline import plainly_loaded

    root = models_folder(tmp_path_factory.mktemp("models"))
    write_six(plainly_loaded(root / "small"), root / "loras")
    return root


def made(client: TestClient, answer: Any) -> tuple[dict[str, Any], bytes]:
    """Return what a job that was accepted has come to, and its picture."""
    assert answer.status_code == 202, answer.text
    job = answer.json()["job_id"]
    picture = client.get(f"/image/{job}", params={"wait": PATIENCE})
    assert picture.status_code == 200, picture.text
    return client.get(f"/status/{job}").json()["result"], picture.content


def again(client: TestClient, file: bytes) -> Any:
    return client.post("/replay", content=file, headers={"Content-Type": "image/png"})


def test_the_answer_says_how_loras_were_held_and_a_replay_where_that_differs(tmp_path: Path, models: Path) -> None:
    stacked = WISH | {"loras": [{"name": "lora", "weight": 0.8}]}
    for name in ("full", "few"):
        (tmp_path / name).mkdir()
    with drawn(tmp_path / "full", models, SDXL_QUANTIZATION="int8") as at:
        bare, _ = made(at.client, at.client.post("/generate", json=WISH))
        full, file = made(at.client, at.client.post("/generate", json=stacked))
        replayed = again(at.client, file)
        assert replayed.json()["differences"] == []
        assert made(at.client, replayed)[1] == file
        ready = at.client.get("/ready", headers={"Accept-Language": "en"})
        told = ready.json()["checks"]["acceleration"]["quantized_loras"]
        assert (told["chosen"], "whole" in told["reason"]) == (False, True)
    assert (bare["layers_in_full"], bare["loras_rounded_to"]) == (None, None)
    assert (full["layers_in_full"], full["loras_rounded_to"]) == (56, None)
    assert told_in(file)["layers_in_full"] == 56
    with drawn(tmp_path / "few", models, SDXL_QUANTIZATION="int8", SDXL_QUANTIZE_LORAS="1") as at:
        replayed = again(at.client, file)
        assert replayed.json()["differences"] == [{"what": "loras_rounded_to", "then": None, "now": LABEL}]
        few, other = made(at.client, replayed)
        assert (few["layers_in_full"], few["loras_rounded_to"]) == (None, LABEL)
        assert again(at.client, other).json()["differences"] == []
        assert other != file
