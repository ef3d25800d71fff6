"""`/jobs/{id}/events`: numbered, resumable, ended when the job is."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from minimon_server.engines.files import png_size
from tests.web.drawing_scene import Easel, easel


def heard(at: Easel, job: str, last: str | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (id, event, data) of a whole stream."""
    headers = {"Last-Event-ID": last} if last is not None else {}
    answer = at.client.get(f"/jobs/{job}/events", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def test_a_stream_tells_place_steps_preview_and_end(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit(steps=3)
        events = heard(at, job)
        steps = [data for _, kind, data in events if kind == "step" and data["phase"] == "drawing"]
        assert [step["current"] for step in steps] == [0, 1, 2, 3]
        assert {step["total"] for step in steps} == {3}
        (preview,) = [data for _, kind, data in events if kind == "preview"]
        assert png_size(base64.b64decode(preview["image_base64"])) == (8, 8)
        assert events[-1][1:] == ("end", {"state": "SUCCESS", "error": None})
        numbers = [int(name.partition("-")[2]) for name, _, _ in events]
        assert numbers == sorted(set(numbers))


def test_who_comes_back_hears_the_rest_and_who_has_heard_all_is_told_so(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit()
        events = heard(at, job)
        assert heard(at, job, events[1][0]) == events[2:]
        done = at.client.get(f"/jobs/{job}/events", headers={"Last-Event-ID": events[-1][0]})
        assert (done.status_code, done.content) == (204, b"")
        # A number of another process, or none at all, means nothing here: all is told.
        for unknown in ("00000000-3", "garbage", "-", events[0][0].partition("-")[0] + "-x"):
            assert heard(at, job, unknown) == events


def test_a_waiting_job_tells_its_place_and_a_cancelled_one_its_end(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        at.until(at.submit("wait"), state="PROGRESS")
        waiting = at.submit()
        at.client.delete(f"/jobs/{waiting}")
        assert heard(at, waiting)[-1][1:] == ("end", {"state": "REVOKED", "error": None})
        assert at.client.head(f"/jobs/{waiting}/events").status_code == 200
