"""`/generate`, `/status`, `/jobs`, cancel: accepted, told, refused, each in the words of the contract."""

from __future__ import annotations

import re
from pathlib import Path

from minimon_server.web.asked_bodies import words_of
from minimon_server.web.job_schemas import DrawBody
from tests.crayon import MODELS
from tests.support import app_under_test
from tests.web.drawing_scene import ENGLISH, easel

UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_a_job_from_prompt_to_picture(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        answer = at.client.post("/generate", json={"prompt": "un dragon", "model": "tiny", "steps": 3})
        assert answer.status_code == 202
        body = answer.json()
        assert re.fullmatch(UUID4, body["job_id"])
        assert body["state"] in ("PENDING", "PROGRESS", "SUCCESS")
        assert 0 <= body["seed"] < 2**53
        assert answer.headers["location"] == f"/status/{body['job_id']}"
        done = at.until(body["job_id"], state="SUCCESS")
        assert done["meta"] == {"current": 3, "total": 3, "percent": 100}
        name = f"{body['job_id']}.1.png"
        assert done["result"] == {
            "filename": name,
            "filenames": [name],
            "seed": body["seed"],
            "seeds": [body["seed"]],
            "width": 64,
            "height": 64,
            "removed": False,
            "prompt_tokens": None,
            "prompt_chunks": None,
            "ignored": None,
            "loras_rounded_to": None,
            "layers_in_full": None,
        }
        assert done["request"]["prompt"] == "un dragon"
        assert (done["position"], done["phase"], done["error"], done["attempt"]) == (None, None, None, 1)
        for moment in ("created", "started", "ended"):
            assert re.fullmatch(TIME, done[moment])


def test_what_a_request_leaves_out_is_the_models(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.client.post("/generate", json={"prompt": "a", "seed": None}).json()["job_id"]
        asked = at.status(job)["request"]
        assert (asked["model"], asked["steps"], asked["width"], asked["height"]) == ("sdxl-base", 30, 1024, 1024)
        assert (asked["guidance_scale"], asked["scheduler"], asked["loras"]) == (7.5, None, [])
        several = at.submit(count=3, seed=2**53 - 2, guidance_scale=0, negative_prompt="fog", scheduler="ddim")
        asked = at.status(several)["request"]
        assert asked["seeds"] == [2**53 - 2, 2**53 - 1, 0]
        assert (asked["guidance_scale"], asked["negative_prompt"], asked["scheduler"]) == (0.0, "fog", "ddim")
        stacked = at.submit(model="pony-xl-v6", loras=[{"name": "style-anime", "weight": -0.5}])
        assert at.status(stacked)["request"]["loras"] == [{"name": "style-anime", "weight": -0.5}]


def test_a_lora_in_the_prompt_is_one_of_loras(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        prompt = "a (cat:1.2) <lora:style-anime:0.8>"
        asked = at.status(at.submit(prompt, model="pony-xl-v6"))["request"]
        assert (asked["prompt"], asked["loras"]) == (prompt, [{"name": "style-anime", "weight": 0.8}])


def test_schedulers_formats_and_rescaling_are_told_as_they_will_be(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        answer = at.client.post(
            "/generate", json={"prompt": "a", "model": "tiny", "scheduler": "DDIM", "format": "avif"}
        )
        assert answer.json()["scheduler"] == "ddim"
        asked = at.status(answer.json()["job_id"])["request"]
        assert (asked["scheduler"], asked["format"], asked["quality"]) == ("ddim", "avif", 80)
        assert at.client.post("/generate", json={"prompt": "a"}).json()["scheduler"] is None
        rescaled = at.submit(guidance_rescale=0.3)
        assert at.status(rescaled)["request"]["guidance_rescale"] == 0.3


def test_the_longest_prompt_fits_however_it_is_written(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        at.until(at.submit("é" * 32_768, negative_prompt="\U0001f409" * 32_768), state="SUCCESS")


def test_a_key_is_one_job(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        body = {"prompt": "a", "model": "tiny", "guidance_scale": 7}
        first = at.client.post("/generate", json=body, headers={"Idempotency-Key": "k1"})
        again = at.client.post("/generate", json=body | {"guidance_scale": 7.0}, headers={"Idempotency-Key": "k1"})
        assert first.json()["job_id"] == again.json()["job_id"]
        assert first.json()["seed"] == again.json()["seed"]
        other = at.client.post("/generate", json=body | {"steps": 5}, headers={"Idempotency-Key": "k1"})
        assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")
        for keys in (["two words"], [""], ["k" * 256], ["k1", "k2"]):
            headers = [("Idempotency-Key", key) for key in keys]
            wrong = at.client.post("/generate", json=body, headers=headers)
            assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
        assert len(at.client.get("/jobs").json()["jobs"]) == 1


def test_a_request_says_the_same_to_a_version_that_knows_more_fields() -> None:
    class Later(DrawBody):
        colour: str | None = None

    body = b'{"prompt": "a", "steps": 3, "loras": [{"name": "neon"}]}'
    said = words_of(DrawBody.model_validate_json(body), {})
    assert words_of(Later.model_validate_json(body), {}) == said
    assert words_of(DrawBody.model_validate_json(body.replace(b"}]", b', "weight": null}], "seed": null')), {}) == said
    # A LoRA's own weight is not always 1: who writes 1 says something.
    assert words_of(DrawBody.model_validate_json(body.replace(b"}]", b', "weight": 1}]')), {}) != said
    assert words_of(DrawBody.model_validate_json(body.replace(b"3", b"4")), {}) != said


def test_a_key_is_its_job_whatever_has_become_of_models_and_queue(tmp_path: Path) -> None:
    shelf = list(MODELS)
    with easel(tmp_path, models=lambda: shelf, MINIMON_QUEUE_LIMIT="1") as at:
        at.until(at.submit("wait"), state="PROGRESS")
        body = {"prompt": "a", "model": "tiny", "scheduler": "ddim"}
        key = {"Idempotency-Key": "k1", **ENGLISH}
        first = at.client.post("/generate", json=body, headers=key).json()
        full = at.client.post("/generate", json=body, headers=ENGLISH)
        assert (full.status_code, full.json()["code"]) == (429, "QUEUE_FULL")
        for left in (MODELS, MODELS[:1], ()):
            shelf[:] = left
            again = at.client.post("/generate", json=body, headers=key)
            assert (again.status_code, again.json()) == (202, first)
            other = at.client.post("/generate", json=body | {"prompt": "b"}, headers=key)
            assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")
        new = at.client.post("/generate", json=body, headers={"Idempotency-Key": "k2"})
        assert (new.status_code, new.json()["code"]) == (503, "MODEL_NOT_AVAILABLE")


def test_a_key_is_its_job_where_nobody_draws_any_longer(tmp_path: Path) -> None:
    body, key = {"prompt": "a", "model": "tiny"}, {"Idempotency-Key": "k1"}
    with easel(tmp_path) as at:
        job = at.client.post("/generate", json=body, headers=key).json()["job_id"]
    with app_under_test(tmp_path) as bench:
        again = bench.client.post("/generate", json=body, headers=key)
        assert (again.status_code, again.json()["job_id"]) == (202, job)
        new = bench.client.post("/generate", json=body, headers={"Idempotency-Key": "k2"})
        assert (new.status_code, new.json()["code"]) == (503, "ENGINE_UNAVAILABLE")


def test_the_queue_is_bounded_and_says_when_to_come_back(tmp_path: Path) -> None:
    with easel(tmp_path, MINIMON_QUEUE_LIMIT="5", MINIMON_QUEUE_LIMIT_PER_CLIENT="2") as at:
        at.until(at.submit("wait"), state="PROGRESS")
        waiting = [at.submit("wait"), at.submit("wait")]
        assert [at.status(job)["position"] for job in waiting] == [1, 2]
        answer = at.client.post("/generate", json={"prompt": "a"}, headers=ENGLISH)
        assert (answer.status_code, answer.json()["code"]) == (429, "QUEUE_FULL")
        assert int(answer.headers["retry-after"]) >= 1
        assert "2 of your jobs" in answer.json()["detail"]


def test_a_running_job_is_cancelled_within_its_step_and_the_next_runs(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        running = at.submit("wait here")
        following = at.submit("a castle")
        queued = at.submit("a tower")
        at.until(running, state="PROGRESS")
        for job in (queued, running):
            answer = at.client.delete(f"/jobs/{job}")
            assert (answer.status_code, answer.json()) == (200, {"job_id": job, "state": "REVOKED"})
        at.engine.go_on.set()
        at.until(following, state="SUCCESS")
        assert at.status(running)["state"] == "REVOKED"
        again = at.client.delete(f"/jobs/{running}", headers=ENGLISH)
        assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
        assert at.client.get(f"/image/{running}").status_code == 410
        counts = at.client.get("/jobs").json()["counts"]
        assert counts == {"PENDING": 0, "PROGRESS": 0, "SUCCESS": 1, "FAILURE": 0, "REVOKED": 2}


def test_jobs_are_listed_newest_first(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        jobs = [at.submit(f"number {number}") for number in range(4)]
        at.until(jobs[-1], state="SUCCESS")
        listed = at.client.get("/jobs", params={"limit": 3, "state": "SUCCESS"}).json()["jobs"]
        assert [one["job_id"] for one in listed] == jobs[:0:-1]
        assert at.client.get("/jobs?state=DONE").status_code == 422
        assert at.client.get("/jobs?limit=0").status_code == 422


def test_an_id_that_is_none_is_not_found(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        never = "00000000-0000-4000-8000-000000000000"
        for name in ("invalid-job-id", never, "%2e%2e", "a%00b", "x" * 5000):
            for path in (f"/status/{name}", f"/image/{name}", f"/jobs/{name}/events", f"/download/{name}"):
                answer = at.client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND"), path
            assert at.client.delete(f"/jobs/{name}").status_code == 404


def test_without_an_engine_it_is_said_clearly_and_the_rest_works(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        answer = bench.client.post("/generate", json={"prompt": "a"}, headers=ENGLISH)
        assert (answer.status_code, answer.json()["code"]) == (503, "ENGINE_UNAVAILABLE")
        assert bench.client.get("/models").json() == {"models": []}
        assert bench.client.get("/jobs").json()["jobs"] == []
        assert bench.client.get("/ready").json()["checks"]["jobs"]["engine"] == "none"
        assert bench.client.get("/ready").status_code == 200
        assert not (tmp_path / "data").exists()


def test_models_and_loras_are_listed_as_the_contract_has_them(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        models = at.client.get("/models").json()["models"]
        assert models[1]["id"] == "pony-xl-v6"
        assert models[1]["supported_loras"] == ["style-anime", "character-detailed"]
        assert models[0]["defaults"] == {
            "steps": 30,
            "guidance_scale": 7.5,
            "guidance_rescale": 0.0,
            "width": 1024,
            "height": 1024,
            "scheduler": None,
            "clip_skip": None,
            "prompt_prefix": "",
            "negative_prefix": "",
        }
        assert models[0]["schedulers"] == ["euler", "ddim"]
        assert at.client.get("/loras").json() == {"loras": []}


def test_ready_and_metrics_tell_of_jobs(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        at.until(at.submit(), state="SUCCESS")
        jobs = at.client.get("/ready").json()["checks"]["jobs"]
        assert jobs == {"ok": True, "engine": "loaded", "loaded": "tiny", "waiting": 0, "running": 0}
        text = at.client.get("/metrics").text
        assert 'minimon_jobs{state="SUCCESS"} 1.0' in text
        assert "minimon_job_duration_seconds_count 1.0" in text
