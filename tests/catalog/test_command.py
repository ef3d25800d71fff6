"""The command where something is wrong: the hub, the token, the disk, the options; and as processes that are ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from minimon_server.catalog import bringing
from tests.catalog.hub_scene import REPOSITORY, SINGLE, Place
from tests.catalog.hub_server import COMMIT, Fault

PATIENCE = 30.0


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "the hub's list of files is none"),
        (b"<html>", "sends no JSON"),
        (b"[" * 100_000, "sends no JSON"),
        (b'[{"type":"file","path":"model_index.json","size":-1,"oid":"x"}]', "does not say what model_index.json is"),
        (b'[{"type":"file","path":"../../x","size":1,"oid":"x"}]', "the repository has no unet/"),
        (b"[7]", "the repository has no unet/"),
        (b" " * (17 << 20), "sends more than"),
    ],
    ids=["object", "page", "deep", "sizes", "escape", "numbers", "endless"],
)
def test_a_hub_that_makes_no_sense_is_told(here: Place, body: bytes, problem: str) -> None:
    here.server.faults[f"/api/models/{REPOSITORY}/tree/{COMMIT}"] = [Fault(body=body)]
    assert here.run("--model", "small") == 1
    assert problem in here.said()
    assert here.files() == []


def test_a_list_that_goes_on_elsewhere_is_not_followed(here: Place) -> None:
    headers = {"Link": '<https://elsewhere.example/x>; rel="next"'}
    here.server.faults[f"/api/models/{REPOSITORY}/tree/{COMMIT}"] = [Fault(body=b"[]", headers=headers)]
    assert here.run("--model", "small") == 1
    assert "continues its list at another origin" in here.said()


def test_a_hub_that_says_another_hash_than_the_catalogue_is_not_believed(here: Place) -> None:
    text = (here.root / "catalog.toml").read_text()
    (here.root / "catalog.toml").write_text(text.replace(f"size_bytes = {len(SINGLE)}\n", ""))
    here.server.put("someone/single", {"v6.safetensors": SINGLE[:-1] + b"!"})
    assert here.run("--model", "single") == 1
    assert "the hub says" in here.said()
    assert here.files() == []


def test_pickles_alone_are_refused(here: Place) -> None:
    start = "unet/diffusion_pytorch_model."
    tree = here.server.trees[REPOSITORY]
    kept = [one for one in tree if not (one["path"].startswith(start) and one["path"].endswith(".safetensors"))]
    here.server.trees[REPOSITORY] = kept
    assert here.run("--model", "small") == 1
    assert "unet/ holds its weights as a pickle only" in here.said()


def test_a_token_is_asked_for_and_used(here: Place) -> None:
    here.server.faults[f"/api/models/{REPOSITORY}/revision/main"] = [Fault(status=401)]
    assert here.run("--model", "small") == 4
    said = here.said()
    assert "HF_TOKEN is not set" in said
    assert here.run("--model", "small", HF_TOKEN="t0psecret") == 0
    assert "t0psecret" not in here.said()
    assert here.server.asked[-1][1]["authorization"] == "Bearer t0psecret"


def test_a_full_disk_is_told_before_anything_is_fetched(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "MARGIN", 1 << 60)
    assert here.run("--model", "small") == 3
    assert "bytes are missing, and the disk has room for" in here.said()
    assert not [one for one, _ in here.server.asked if "/resolve/" in one]


def test_wrong_use_is_told(here: Place) -> None:
    assert here.run() == 2
    assert here.run("--model", "nobody", "--lora", "../x") == 2
    said = here.said()
    assert "There is no model 'nobody' in the catalogue; there are: small, single." in said
    assert "There is no lora '../x' in the catalogue; there are: neon, nowhere." in said
    (here.root / "catalog.toml").write_text("schema = 1\nmodels = 3\n")
    assert here.run("--all") == 2
    assert "catalog.toml: line 2: models: is no member; did you mean model?" in here.said()


def test_two_processes_at_once_fetch_it_once(here: Place) -> None:
    path = f"/someone/single/resolve/{COMMIT}/v6.safetensors"
    here.server.faults[path] = [Fault(after=1000, stall=True)]
    first = here.start("--model", "single")
    until(lambda: len(here.server.asked) == 1)
    second = here.start("--model", "single")
    assert second.stderr
    until(lambda: "waiting for that one" in str(second.stderr and second.stderr.readline()))
    here.server.let_go.set()
    told = [process.communicate(timeout=PATIENCE)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert "single: fetched" in told[0]
    assert "single: already there" in told[1]
    assert here.server.ranges(path) == ["", "bytes=1000-"]
    assert (here.root / "checkpoints" / "single.safetensors").read_bytes() == SINGLE


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_process_that_is_ended_leaves_what_the_next_one_continues(here: Place, number: int, status: int) -> None:
    path = f"/someone/single/resolve/{COMMIT}/v6.safetensors"
    here.server.faults[path] = [Fault(after=70_000, stall=True)]
    process = here.start("--model", "single")
    part = here.root / "checkpoints" / "single.safetensors.part"
    until(lambda: part.exists() and part.stat().st_size == 70_000)
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    if number == signal.SIGINT:
        assert "Interrupted; what has come is kept, and the same command continues it." in told
        assert "Traceback" not in told
    assert not (here.root / "checkpoints" / "single.safetensors").exists()
    here.server.let_go.set()
    assert here.run("--model", "single") == 0
    assert here.server.ranges(path) == ["", "bytes=70000-"]
    assert (here.root / "checkpoints" / "single.safetensors").read_bytes() == SINGLE


def test_a_proxy_of_the_environment_is_used(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", here.server.url)
    text = (here.root / "catalog.toml").read_text()
    (here.root / "catalog.toml").write_text(text.replace(f"{here.server.url}/neon", "http://localhost:9/neon"))
    assert here.run("--lora", "neon") == 0
    assert here.server.asked[-1][1]["host"] == "localhost:9"
