"""Models that lie on a slow disk: whoever draws waits for it, everybody else is served."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minimon_server.engines.model_info import ModelInfo
from minimon_server.jobs.errors import ModelNotAvailable
from minimon_server.jobs.model_looks import SILENT
from tests.crayon import MODELS
from tests.web.drawing_scene import PATIENCE, easel


def test_a_slow_disk_holds_up_nobody_else(tmp_path: Path) -> None:
    slow, looked, go_on = threading.Event(), threading.Event(), threading.Event()

    def models() -> Sequence[ModelInfo]:
        if slow.is_set():
            looked.set()
            assert go_on.wait(PATIENCE)
        return MODELS

    with easel(tmp_path, models=models) as at, ThreadPoolExecutor(3) as threads:
        job = at.submit()
        slow.set()
        asked = {"prompt": "a", "model": "tiny"}
        wrong = {"prompt": "", "model": "sd3"}
        waiting = [threads.submit(at.client.post, "/generate", json=body) for body in (asked, wrong)]
        listed = threads.submit(at.client.get, "/models")
        assert looked.wait(PATIENCE)
        # Answered by the same event loop, while the disk is still silent.
        assert at.until(job, state="SUCCESS")
        assert at.client.get(f"/image/{job}").status_code == 200
        assert at.client.get("/health").status_code == 200
        assert not any(one.done() for one in (*waiting, listed))
        go_on.set()
        assert [one.result(PATIENCE).status_code for one in waiting] == [202, 422]
        assert len(listed.result(PATIENCE).json()["models"]) == 3


def test_a_model_is_there_for_the_next_request_after_it_came(tmp_path: Path) -> None:
    shelf: list[ModelInfo] = []
    with easel(tmp_path, models=lambda: shelf) as at:
        for model in MODELS:
            assert at.client.post("/generate", json={"prompt": "a", "model": model.id}).status_code in (422, 503)
            shelf.append(model)
            assert at.client.post("/generate", json={"prompt": "a", "model": model.id}).status_code == 202
        shelf.clear()
        assert at.client.get("/models").json() == {"models": []}


def test_a_disk_that_does_not_answer_hides_no_other_mistake(tmp_path: Path) -> None:
    def silent() -> Sequence[ModelInfo]:
        raise ModelNotAvailable(SILENT)

    with easel(tmp_path, models=silent) as at:
        wrong = at.client.post("/generate", json={"prompt": "", "model": "sd3"})
        assert (wrong.status_code, [one["field"] for one in wrong.json()["errors"]]) == (422, ["prompt"])
        sound = at.client.post("/generate", json={"prompt": "a"})
        assert (sound.status_code, sound.json()["code"]) == (503, "MODEL_NOT_AVAILABLE")
        assert at.client.get("/models").status_code == 503
