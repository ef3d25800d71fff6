"""A file dropped into a running server's folder: listed, drawn with as its twin, gone again with a clear answer."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from minimon_server.engines.picture_reading import told_in
from tests.e2e.test_replay_process import picture_of, server_in
from tests.single_file import narrow_pipeline, save, single_file

ASKED = {"prompt": "a photo of a cat", "seed": 7, "width": 64, "height": 64, "steps": 1}
NAME = "My model (v2)"


def test_a_dropped_file_draws_until_it_is_gone(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    root = tmp_path / "models"
    pipeline = narrow_pipeline().to(torch.float16)
    pipeline.save_pretrained(root / "narrow")
    aside = save(single_file(pipeline), tmp_path / f"{NAME}.safetensors")
    with server_in(tmp_path) as server:
        with server.client() as client:
            assert [one["id"] for one in client.get("/models").json()["models"]] == ["narrow"]
            (root / "checkpoints").mkdir()
            dropped = aside.rename(root / "checkpoints" / aside.name)
            found = {one["id"]: one for one in client.get("/models").json()["models"]}[NAME]
            assert (found["available"], found["kind"]) == (True, "checkpoint")
            files = [
                picture_of(client, client.post("/generate", json={**ASKED, "model": name})).content
                for name in (NAME, "narrow")
            ]
            assert [told_in(data)["model"] for data in files] == [NAME, "narrow"]
            single, twin = (Image.open(BytesIO(data)).tobytes() for data in files)
            assert single == twin
            dropped.unlink()
            gone = client.post("/generate", json={**ASKED, "model": NAME}, headers={"Accept-Language": "en"})
            assert gone.status_code == 422
            assert gone.json()["errors"] == [{"field": "model", "message": "is not here; there are: narrow"}]
        assert server.end() == 0
    assert "Traceback" not in server.log.read_text()
