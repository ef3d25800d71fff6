"""A reference picture that comes with `POST /generate`: in either packing, told, journaled, refused by its field."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.hostile_pictures import hostile, plain, saved
from tests.web.drawing_scene import ENGLISH, Easel, easel

CAT = saved(plain(128, 96), "PNG")
ENCODED = base64.b64encode(CAT).decode("ascii")


def refused(at: Easel, status: int, **body: object) -> Any:
    answer = at.client.post("/generate", json={"prompt": "a", "model": "tiny", **body}, headers=ENGLISH)
    assert answer.status_code == status, answer.text
    assert at.client.get("/jobs").json()["jobs"] == []
    return answer.json()


def mistakes(at: Easel, **body: object) -> dict[str, str]:
    return {one["field"]: one["message"] for one in refused(at, 422, **body)["errors"]}


def test_it_comes_as_base64_or_as_a_file_and_is_the_same_job(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        at.submit("wait")
        job = at.submit(ip_adapter_image=ENCODED, ip_adapter_scale=0.5)
        shown = at.status(job)["request"]["ip_adapter"]
        digest = shown["picture"]["digest"]
        picture = {"digest": digest, "width": 128, "height": 96}
        assert shown == {"name": "ip-adapter-sdxl", "picture": picture, "scale": 0.5}
        assert [path.stem for path in (at.folder / "data" / "jobs.sqlite.inputs").iterdir()] == [digest]
        files: dict[str, Any] = {
            "request": (None, json.dumps({"prompt": "a dragon", "model": "tiny"})),
            "ip_adapter_image": ("cat.webp", saved(plain(128, 96), "WEBP", lossless=True)),
        }
        sent = at.client.post("/generate", files=files)
        assert sent.status_code == 202, sent.text
        asked = at.status(sent.json()["job_id"])["request"]
        assert asked["ip_adapter"] == {"name": "ip-adapter-sdxl", "picture": picture, "scale": 0.6}
        assert (asked["width"], asked["init_image"]) == (64, None)
        at.engine.go_on.set()
        at.until(job, state="SUCCESS")
        answer = at.client.get(f"/image/{job}")
        told = json.loads(answer.headers["x-generation-metadata"])
        assert told["ip_adapter"] == {"name": "ip-adapter-sdxl", "image": digest, "scale": 0.5}
        replayed = at.client.post(
            "/replay", content=answer.content, headers=ENGLISH | {"Content-Type": answer.headers["content-type"]}
        )
        assert replayed.status_code == 422
        (mistake,) = replayed.json()["errors"]
        assert mistake["field"] == "ip_adapter"
        assert mistake["message"] == "the reference picture is not in the file: send it to /generate again"


def test_every_hostile_picture_is_refused_by_its_field_and_reason(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        for name, (data, reason) in hostile().items():
            if data:
                found = mistakes(at, ip_adapter_image=base64.b64encode(data).decode("ascii"))
                assert list(found) == ["ip_adapter_image"], name
                assert reason in found["ip_adapter_image"], name


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        assert mistakes(at, ip_adapter_scale=0.5) == {"ip_adapter_scale": "needs ip_adapter_image"}
        assert mistakes(at, ip_adapter="ip-adapter-sdxl") == {"ip_adapter": "needs ip_adapter_image"}
        known = {"ip_adapter": "is not here; there are: ip-adapter-sdxl, ip-adapter-lost"}
        assert mistakes(at, ip_adapter_image=ENCODED, ip_adapter="none") == known
        assert list(mistakes(at, ip_adapter_image=ENCODED, ip_adapter_scale=2.5)) == ["ip_adapter_scale"]
        assert list(mistakes(at, ip_adapter_image=ENCODED, ip_adapter_scale=-1)) == ["ip_adapter_scale"]
        assert mistakes(at, ip_adapter_image="%") == {"ip_adapter_image": "is not base64 (RFC 4648, section 4)"}
        gone = refused(at, 503, ip_adapter_image=ENCODED, ip_adapter="ip-adapter-lost")
        assert gone["code"] == "MODEL_NOT_AVAILABLE"
        assert gone["detail"].endswith("python download_models.py --part ip-adapter-lost")


def test_one_idempotency_key_is_one_picture(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        other = base64.b64encode(saved(plain(64, 64), "PNG")).decode("ascii")
        found = []
        for encoded in (ENCODED, ENCODED, other):
            body = {"prompt": "a", "model": "tiny", "ip_adapter_image": encoded}
            answer = at.client.post("/generate", json=body, headers={"Idempotency-Key": "k"}).json()
            found.append(answer.get("job_id") or answer["code"])
        assert found[0] == found[1]
        assert found[2] == "IDEMPOTENCY_MISMATCH"
