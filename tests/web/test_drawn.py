"""`GET /v1/generate` with `MINIMON_GENERATION_BACKEND=sdxl`: real pictures of a real small pipeline."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

import gen_server
from minimon_server.creatures.naming import LocalNames
from minimon_server.creatures.prompts import Wording
from minimon_server.engines.files import png_size
from minimon_server.engines.picture_reading import told_in
from minimon_server.errors import StartupError
from minimon_server.jobs.creature_drawing import open_creatures, queue_of
from minimon_server.jobs.equipment import find_drawing
from minimon_server.jobs.interactive import ENDING
from minimon_server.web.drawn import while_connected
from tests.crayon import Crayon, drawing_with
from tests.jobs.scene import quiet
from tests.support import HOME, settings_for
from tests.web.drawn_scene import Drawn, drawn, environment, models_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder that holds `small`."""
    return models_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def scene(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    with drawn(tmp_path_factory.mktemp("server"), models) as made:
        made.wait_until_ready()
        yield made


def test_the_answer_is_that_of_the_static_backend(scene: Drawn) -> None:
    answer = scene.client.get("/v1/generate")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert list(body) == ["imageBase64", "metadata", "generatedAt"]
    assert list(body["metadata"]) == ["id", "name", "rarity"]
    assert png_size(base64.b64decode(body["imageBase64"], validate=True)) == (64, 64)
    bare = scene.client.get("/v1/generate", headers={"Accept": "image/png"})
    assert bare.headers["content-type"] == "image/png"
    assert bare.headers["x-minimon-id"].startswith("mnm_")
    assert scene.client.get("/health").json()["backend"] == "sdxl"


def test_a_seed_gives_the_same_creature_and_another_seed_another(scene: Drawn) -> None:
    one, again, other = (
        scene.client.get("/v1/generate", params={"seed": seed, "rarity": "B"}).json() for seed in (42, 42, 43)
    )
    assert (one["metadata"], one["imageBase64"]) == (again["metadata"], again["imageBase64"])
    assert one["imageBase64"] != other["imageBase64"]
    assert one["metadata"]["rarity"] == "B"


def test_rarity_drives_words_and_steps_and_the_picture_tells_them(scene: Drawn) -> None:
    told = {}
    for rarity in ("F", "S+"):
        answer = scene.client.get("/v1/generate", params={"seed": 7, "rarity": rarity}, headers={"Accept": "image/png"})
        told[rarity] = told_in(answer.content)
    assert told["F"]["steps"] == 1
    assert told["S+"]["steps"] == 4
    assert "rank F" in told["F"]["prompt"]
    assert "rank S+, mythic" in told["S+"]["prompt"]
    assert told["F"]["model"] == "small"


def test_ready_tells_the_model_and_that_it_is_warm(scene: Drawn) -> None:
    check = scene.client.get("/ready").json()["checks"]["creatures"]
    assert check == {"ok": True, "model": "small", "steps": 1, "warm": True, "waiting": 0, "limit": 64, "stock": 0}


def test_jobs_are_drawn_by_the_same_engine(scene: Drawn) -> None:
    answer = scene.client.post(
        "/generate", json={"prompt": "a cat", "model": "small", "steps": 1, "width": 64, "height": 64}
    )
    assert answer.status_code == 202, answer.text
    job = answer.json()["job_id"]
    assert scene.client.get(f"/image/{job}", params={"wait": 60}).status_code == 200
    assert scene.server.jobs.worker.given_back == 0


def test_a_creature_that_cannot_be_drawn_is_told_in_its_form(models: Path, tmp_path: Path) -> None:
    words = (HOME / "minimon" / "prompts.toml").read_text("utf-8").replace("rank S+, mythic", "fault")
    (tmp_path / "words.toml").write_text(words, "utf-8")
    where = {"MINIMON_PROMPTS_PATH": str(tmp_path / "words.toml"), "SDXL_TURBO_MODEL": "tiny"}
    weights = {"MINIMON_RARITY_WEIGHTS": "1 0 0 0 0 0 0 0"}
    with drawn(tmp_path, models, drawing_with(Crayon()), **where, **weights) as made:
        made.wait_until_ready()
        answer = made.client.get("/v1/generate?rarity=S%2B", headers={"Accept-Language": "en"})
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "GENERATION_FAILED"
        assert "CUDA" not in answer.text
        assert made.client.get("/v1/generate?rarity=F").status_code == 200


def test_who_asks_before_the_model_is_warm_waits_and_ready_says_no(models: Path, tmp_path: Path) -> None:
    words = (HOME / "minimon" / "prompts.toml").read_text("utf-8").replace("cute creature", "wait")
    (tmp_path / "words.toml").write_text(words, "utf-8")
    crayon = Crayon()
    where = {"MINIMON_PROMPTS_PATH": str(tmp_path / "words.toml"), "SDXL_TURBO_MODEL": "tiny"}
    with drawn(tmp_path, models, drawing_with(crayon), **where) as made:
        answer = made.client.get("/ready", headers={"Accept-Language": "en"})
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["The creatures' model is loading."])
        crayon.go_on.set()
        assert made.client.get("/v1/generate").status_code == 200
        made.wait_until_ready()


def test_what_the_operator_asks_for_and_is_not_there_stops_the_start(models: Path, tmp_path: Path) -> None:
    def told(**environ: str) -> str:
        with pytest.raises(StartupError) as caught:
            gen_server.check(settings_for(tmp_path, **environment(models) | environ), {})
        return "\n".join(caught.value.lines)

    assert told(SDXL_TURBO_MODEL="stabilityai/sdxl-turbo") == (
        "SDXL_TURBO_MODEL holds 'stabilityai/sdxl-turbo': the model sdxl-turbo is not on the disk. "
        "python download_models.py --model sdxl-turbo"
    )
    assert "minimon-tiny is not on the disk" in told(SDXL_TURBO_MODEL="minimon-tiny")
    assert "there are: sdxl-base, pony-xl-v6" in told(SDXL_TURBO_MODEL="somebody/else")
    assert "holds a model_index.json" in told(SDXL_TURBO_MODEL=str(tmp_path))
    (tmp_path / "odd.safetensors").write_bytes(b"")
    assert "a single file lies in checkpoints/" in told(SDXL_TURBO_MODEL=str(tmp_path / "odd.safetensors"))
    assert "prompts.toml: no such file" in told(MINIMON_PROMPTS_PATH=str(tmp_path / "prompts.toml"))
    (models / "small" / "unet").rename(models / "away")
    try:
        assert "the model small cannot be used: unet/" in told()
    finally:
        (models / "away").rename(models / "small" / "unet")


def test_a_folder_elsewhere_is_a_model_under_its_own_name(models: Path, tmp_path: Path) -> None:
    empty = tmp_path / "no models"
    settings = settings_for(tmp_path, **environment(empty) | {"SDXL_TURBO_MODEL": str(models / "small")})
    server = gen_server.build(settings, {})
    try:
        assert [one.id for one in server.drawing.models()] == ["small"]
        assert server.readiness._checks["creatures"]().facts["steps"] == 1
    finally:
        server.sink.close()
        server.jobs.store.close()  # type: ignore[attr-defined] # what is made without a loop is closed without one


def test_another_model_than_turbo_is_drawn_in_its_own_steps_unless_it_is_said(models: Path, tmp_path: Path) -> None:
    for asked, steps in (({"SDXL_STEPS": ""}, 30), ({"SDXL_STEPS": "2"}, 2), ({"MINIMON_SDXL_STEPS": "3"}, 3)):
        settings = settings_for(tmp_path, **environment(models) | asked)
        drawing = find_drawing(settings, quiet())
        _, painter = open_creatures(settings, drawing, queue_of(settings, quiet()), LocalNames(), quiet())
        assert painter.request(Wording("a cat", "a dog", 2), 5).steps == steps + 2


def test_a_client_that_leaves_has_its_work_cancelled() -> None:
    async def play() -> None:
        cancelled = asyncio.Event()
        messages = [{"type": "http.request"}, {"type": "http.disconnect"}]

        async def receive() -> dict[str, str]:
            await asyncio.sleep(0)
            return messages.pop(0)

        async def work() -> str:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return ENDING.en

        assert await while_connected(receive, work()) is None
        assert cancelled.is_set()

    asyncio.run(play())
