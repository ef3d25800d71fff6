"""What `/ready` and `/metrics` say of an engine in trouble."""

from __future__ import annotations

from pathlib import Path

from tests.crayon import Crayon, drawing_with
from tests.support import app_under_test
from tests.web.drawing_scene import ENGLISH, easel


def test_memory_and_restarts_are_counted(tmp_path: Path) -> None:
    drawing = drawing_with(Crayon())
    drawing.memory.out_of_memory = 3
    drawing.memory.rungs["tile"] = 2
    drawing.memory.refused = 1
    drawing.memory.loads, drawing.memory.evictions = 5, 4
    drawing.memory.adapters_read, drawing.memory.adapters_kept = 2, 6
    drawing.memory.held = {"device": 7}
    drawing.memory.budgets = {"device": 8, "host": 9}
    with app_under_test(tmp_path, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=drawing) as bench:
        told = bench.client.get("/metrics").text
    for line in (
        "minimon_out_of_memory_total 3.0",
        'minimon_memory_rungs_total{rung="tile"} 2.0',
        'minimon_memory_rungs_total{rung="offload"} 0.0',
        'minimon_memory_rungs_total{rung="refuse"} 1.0',
        'minimon_models_moved_total{how="loaded"} 5.0',
        'minimon_models_moved_total{how="put_out"} 4.0',
        'minimon_loras_merged_total{from="disk"} 2.0',
        'minimon_loras_merged_total{from="memory"} 6.0',
        'minimon_models_bytes{tier="device"} 7.0',
        'minimon_models_budget_bytes{tier="host"} 9.0',
        "minimon_engine_given_back_total 0.0",
        "minimon_restarts 0.0",
    ):
        assert line in told.splitlines()


def test_a_lost_engine_is_no_longer_ready_and_jobs_are_still_accepted(tmp_path: Path) -> None:
    with easel(tmp_path) as scene:
        assert scene.client.get("/ready", headers=ENGLISH).status_code == 200
        scene.submit("lost")
        job = scene.submit("a castle")
        answer = scene.client.get("/ready", headers=ENGLISH)
        while answer.status_code == 200:
            answer = scene.client.get("/ready", headers=ENGLISH)
        assert answer.json()["reasons"] == ["The engine is lost, a restart follows: the device is lost"]
        assert answer.json()["checks"]["jobs"]["engine"] == "lost"
        assert scene.status(scene.submit("another"))["state"] == scene.status(job)["state"] == "PENDING"
