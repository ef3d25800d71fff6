"""`decoder` of `POST /generate`: told in the request, refused by its name where it cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from minimon_server.engines.draft_decoder import DraftDecoder
from minimon_server.engines.model_info import ModelInfo
from tests.crayon import MODELS, Crayon, drawing_with
from tests.support import app_under_test
from tests.web.drawing_scene import ENGLISH, easel

TAESD = DraftDecoder("taesd", Path(), Path(), 4, 8)
FITTING = replace(MODELS[2], latents=(4, 8))
OTHER = ModelInfo("other", "Other", 64, 64, 4, 1.0, latents=(16, 8))


def test_a_draft_without_a_decoder_is_refused_by_its_name_whatever_else_is_wrong(tmp_path: Path) -> None:
    with easel(tmp_path) as bench:
        for more in ({}, {"steps": 0}):
            body = {"prompt": "a", "model": "tiny", "decoder": "draft", **more}
            answer = bench.client.post("/generate", json=body, headers=ENGLISH)
            assert answer.status_code == 422
            said = {one["field"]: one["message"] for one in answer.json()["errors"]}
            assert "SDXL_DRAFT_DECODER names one" in said["decoder"]
        wrong = bench.client.post("/generate", json={"prompt": "a", "decoder": "tiny"}, headers=ENGLISH)
        assert [one["field"] for one in wrong.json()["errors"]] == ["decoder"]
        plain = bench.submit()
        assert bench.status(plain)["request"]["decoder"] == "full"


def test_a_draft_goes_to_the_engine_and_not_with_a_model_of_other_latents(tmp_path: Path) -> None:
    drawing = replace(drawing_with(Crayon(), lambda: (FITTING, OTHER)), draft=TAESD)
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=drawing) as bench:
        body = {"prompt": "a", "model": "tiny", "decoder": "draft"}
        answer = bench.client.post("/generate", json=body)
        assert answer.status_code == 202, answer.text
        told = bench.client.get(f"/status/{answer.json()['job_id']}").json()
        assert told["request"]["decoder"] == "draft"
        refused = bench.client.post("/generate", json={**body, "model": "other"}, headers=ENGLISH)
        assert refused.status_code == 422
        (mistake,) = refused.json()["errors"]
        assert mistake["field"] == "decoder"
        assert "this model has 16 channels and 8 pixels" in mistake["message"]
