"""`/image` and `/download`: the bodies of the contract to the letter, pictures by table, metadata in a header."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from minimon_server.engines.files import png_size
from minimon_server.engines.picture_reading import told_in
from tests.web.drawing_scene import ENGLISH, easel


def test_the_picture_comes_with_its_job_and_what_made_it(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit("un château", seed=5)
        answer = at.client.get(f"/image/{job}?wait=20")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.headers["x-job-id"] == job
        text = answer.headers["x-generation-metadata"]
        assert text.isascii()
        assert text.startswith('{"model": "tiny", "steps": 4, ')
        told = json.loads(text)
        assert (told["seed"], told["prompt"], told["engine"]) == (5, "un château", "crayon")
        assert png_size(answer.content) == (64, 64)
        name = at.status(job)["result"]["filename"]
        download = at.client.get(f"/download/{name}")
        assert (download.status_code, download.content) == (200, answer.content)
        assert download.headers["x-job-id"] == job


def test_metadata_is_at_most_four_kibibytes(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        prompt = "\u00e9\n\x7f" * 3000
        job = at.submit(prompt, seed=5)
        text = at.client.get(f"/image/{job}?wait=20").headers["x-generation-metadata"]
        assert len(text) <= 4096
        assert "prompt" not in json.loads(text)
        assert json.loads(text)["seed"] == 5
        assert at.status(job)["request"]["prompt"] == prompt


def test_metadata_fits_whatever_is_asked_and_the_rest_stands_in_the_file(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        prompt, negative = "\U0001f409" * 32_768, '"\x7f\n' * 10_000
        loras = [{"name": "style-anime", "weight": 0.123456789}] * 4
        job = at.submit(prompt, negative_prompt=negative, model="pony-xl-v6", loras=loras, width=64, height=64, steps=1)
        answer = at.client.get(f"/image/{job}?wait=20")
        text = answer.headers["x-generation-metadata"]
        assert len(text) <= 4096
        assert text.isascii()
        assert text.isprintable()
        assert json.loads(text)["loras"] == loras
        assert {"prompt", "negative_prompt"} & set(json.loads(text)) == set()
        for told in (told_in(answer.content), at.status(job)["request"]):
            assert (told["prompt"], told["negative_prompt"]) == (prompt, negative)


def test_until_it_is_there_the_answer_is_the_contracts_202(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit("wait")
        at.until(job, state="PROGRESS", meta={"current": 0, "total": 4, "percent": 0})
        answer = at.client.get(f"/image/{job}")
        assert answer.status_code == 202
        assert answer.content.decode() == (
            '{"status":"processing","message":"Image en cours de génération","state":"PROGRESS",'
            '"meta":{"current":0,"total":4,"percent":0}}'
        )
        assert int(answer.headers["retry-after"]) >= 1
        english = at.client.get(f"/image/{job}?wait=0.01", headers=ENGLISH)
        assert (english.status_code, english.json()["message"]) == (202, "The picture is being made")
        waiting = at.submit("later")
        assert at.client.get(f"/image/{waiting}").json()["state"] == "PENDING"


def test_who_waits_is_answered_when_it_is_there(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit("wait")
        at.until(job, state="PROGRESS")
        threading.Timer(0.05, at.engine.go_on.set).start()
        assert at.client.get(f"/image/{job}?wait=20").status_code == 200
        for wrong in ("-1", "121", "nan", "1_0", " 1", "soon", "1&wait=2"):
            assert at.client.get(f"/image/{job}?wait={wrong}").status_code == 422, wrong


def test_a_failure_is_told_in_the_contracts_form(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit("fault")
        answer = at.client.get(f"/image/{job}?wait=20")
        assert answer.status_code == 500
        assert answer.content == b'{"status":"failed","error":"CUDA out of memory"}'
        told = at.status(job)
        assert (told["state"], told["error"], told["result"]) == ("FAILURE", "CUDA out of memory", None)


def test_several_pictures_of_one_prompt(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit(count=3, seed=7)
        at.until(job, state="SUCCESS")
        answers = [at.client.get(f"/image/{job}?n={number}") for number in (1, 2, 3)]
        assert [json.loads(one.headers["x-generation-metadata"])["seed"] for one in answers] == [7, 8, 9]
        assert len({one.content for one in answers}) == 3
        assert at.client.get(f"/image/{job}").content == answers[0].content
        assert at.client.get(f"/image/{job}?n=4").status_code == 404
        assert at.client.get(f"/image/{job}?n=0").status_code == 422
        names = at.status(job)["result"]["filenames"]
        assert [at.client.get(f"/download/{name}").content for name in names] == [one.content for one in answers]


def test_the_same_seed_gives_the_same_picture(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        jobs = [at.submit(seed=5), at.submit(seed=6), at.submit(seed=5)]
        pictures = [at.client.get(f"/image/{job}?wait=20").content for job in jobs]
        assert pictures[0] == pictures[2] != pictures[1]


def test_names_are_looked_up_and_never_opened(tmp_path: Path) -> None:
    with easel(tmp_path) as at:
        job = at.submit()
        at.until(job, state="SUCCESS")
        outputs = tmp_path / "data" / "outputs"
        (outputs / f"{job}.9.png").write_bytes(b"not ours")
        (outputs / "secret.png").write_bytes(b"not ours")
        for name in (f"{job}.9.png", "secret.png", "..%2fjobs.sqlite", f"{job}.1.png%00", f"{job.upper()}.1.png"):
            assert at.client.get(f"/download/{name}").status_code == 404, name


def test_what_is_kept_no_longer_is_gone(tmp_path: Path) -> None:
    with easel(tmp_path, MINIMON_HISTORY_LIMIT="1") as at:
        first = at.submit()
        name = at.until(first, state="SUCCESS")["result"]["filename"]
        (tmp_path / "data" / "outputs" / name).unlink()
        answer = at.client.get(f"/image/{first}", headers=ENGLISH)
        assert (answer.status_code, answer.json()["code"]) == (410, "GONE")
        at.until(at.submit(), state="SUCCESS")
        at.until(at.submit(), state="SUCCESS")
        while at.client.get(f"/status/{first}").status_code == 200:
            pass  # the sweep comes once a second
        for path in (f"/status/{first}", f"/image/{first}", f"/download/{name}", f"/jobs/{first}/events"):
            answer = at.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (410, "GONE")
        assert at.client.delete(f"/jobs/{first}").status_code == 410
