"""What clients see of the catalogue: lists, defaults that fill in, and what is answered for what is not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from minimon_server.catalog.stock import CATALOGUE
from minimon_server.engines.model_info import LoraInfo
from minimon_server.errors import Text
from minimon_server.jobs.added_words import prefixed
from minimon_server.jobs.drawing import nobody_draws, weight_of
from minimon_server.web.model_schemas import IpAdapterList, LoraList, ModelList
from tests.catalog.files import SD15, SDXL, stock_of, write
from tests.catalog.test_ip_adapters import FACE, PLUS, adapters
from tests.catalog.test_ip_adapters import put as put_ip_adapter
from tests.catalog.test_kinds import CROSS, lora
from tests.crayon import Crayon, drawing_with
from tests.small_pipeline import build
from tests.support import HOME, app_under_test
from tests.web.test_replay import TOLD, file_of

ENGLISH = {"Accept-Language": "en"}


@dataclass(frozen=True)
class Place:
    """A server over a folder of models."""

    client: TestClient
    root: Path

    def generate(self, **body: object) -> Any:
        return self.client.post("/generate", json={"prompt": "a fox", **body}, headers=ENGLISH)

    def asked(self, **body: object) -> dict[str, Any]:
        answer = self.generate(**body)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = self.client.get(f"/status/{answer.json()['job_id']}").json()["request"]
        return found


@contextmanager
def place(folder: Path, *, engine: bool = True) -> Iterator[Place]:
    root = folder / "models"
    root.mkdir()
    shutil.copy(HOME / "models" / CATALOGUE, root)
    stock = stock_of(root)
    drawing = drawing_with(Crayon(), stock.models) if engine else nobody_draws(Text("Personne.", "Nobody."))
    shown = adapters(root).infos
    drawing = replace(drawing, models=stock.models, loras=stock.loras, ip_adapters=shown)
    with app_under_test(folder, {"MINIMON_RATE_LIMIT_PER_MIN": "0"}, drawing=drawing) as bench:
        yield Place(bench.client, root)


def test_lists_have_the_contracts_form_and_say_how_to_get_what_is_missing(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        answer = at.client.get("/models", headers=ENGLISH)
        models = answer.json()["models"]
        ModelList.model_validate(answer.json())
        assert answer.headers["content-language"] == "en"
        pony = models[1]
        assert {name: pony[name] for name in ("id", "name", "supported_loras", "available", "base", "pinned")} == {
            "id": "pony-xl-v6",
            "name": "PonyXL v6",
            "supported_loras": ["style-anime", "character-detailed"],
            "available": False,
            "base": "sdxl",
            "pinned": True,
        }
        assert pony["how"] == "python download_models.py --model pony-xl-v6"
        assert pony["reason"] == "is not on the disk"
        assert at.client.get("/models", headers={"Accept-Language": "fr"}).json()["models"][0]["reason"] == (
            "n'est pas sur le disque"
        )
        loras = at.client.get("/loras", headers=ENGLISH).json()
        LoraList.model_validate(loras)
        first, second = loras["loras"][:2]
        assert (first["id"], first["name"], first["default_weight"]) == ("style-anime", "Anime Style LoRA", 0.75)
        assert first["trigger_words"] == ["anime style", "detailed"]
        assert (first["pinned"], first["available"], first["licence"]) == (False, False, "")
        assert (second["default_weight"], second["trigger_words"]) == (0.6, None)


def test_ip_adapters_are_listed_in_the_same_form(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        answer = at.client.get("/ip-adapters", headers=ENGLISH)
        IpAdapterList.model_validate(answer.json())
        assert answer.headers["content-language"] == "en"
        assert answer.json()["ip_adapters"] == [
            {
                "id": "ip-adapter-sdxl",
                "name": "IP-Adapter Plus SDXL (ViT-H) with its image encoder",
                "available": False,
                "reason": "is not on the disk",
                "how": "python download_models.py --part ip-adapter-sdxl",
                "licence": "Apache-2.0",
                "pinned": True,
                "base": "sdxl",
                "variant": "",
            }
        ]
        put_ip_adapter(at.root, "mine", PLUS)
        put_ip_adapter(at.root, "face", FACE)
        _, face, mine = at.client.get("/ip-adapters", headers={"Accept-Language": "fr"}).json()["ip_adapters"]
        assert (mine["id"], mine["available"], mine["reason"], mine["variant"]) == ("mine", True, None, "plus")
        assert (face["id"], face["available"]) == ("face", False)
        assert face["reason"].startswith("ne peut pas être utilisé : ")
        assert at.client.get("/ip-adapters?all=1").status_code == 422


def test_the_first_available_one_serves_who_names_none(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        none = at.generate()
        assert (none.status_code, none.json()["code"]) == (503, "MODEL_NOT_AVAILABLE")
        assert none.json()["detail"] == (
            "No model is installed; for sdxl-base: python download_models.py --model sdxl-base"
        )
        for name in ("zebra", "minimon-tiny", "sdxl-turbo", "sdxl-base"):  # each comes before the one before
            build(at.root / name)
            assert at.asked()["model"] == name
        available = [model["id"] for model in at.client.get("/models").json()["models"] if model["available"]]
        assert available == ["sdxl-base", "sdxl-turbo", "minimon-tiny", "zebra"]


def test_what_is_known_and_not_there_is_503_and_what_nobody_knows_is_422(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        build(at.root / "sdxl-base")
        for name, said in [
            ("pony-xl-v6", "pony-xl-v6 is not on the disk. python download_models.py --model pony-xl-v6"),
            ("sdxl-turbo", "sdxl-turbo is not on the disk. python download_models.py --model sdxl-turbo"),
            ("minimon-tiny", "put the folder at models/minimon-tiny"),
        ]:
            answer = at.generate(model=name)
            assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_NOT_AVAILABLE")
            assert said in answer.json()["detail"]
        unknown = at.generate(model="sd3", loras=[{"name": "nobody"}])
        assert unknown.status_code == 422
        assert unknown.json()["errors"] == [
            {"field": "model", "message": "is not here; there are: sdxl-base"},
        ]
        write(at.root / "checkpoints" / "mine.safetensors", SD15)
        refused = at.generate(model="mine")
        assert (refused.status_code, refused.json()["code"]) == (503, "MODEL_NOT_AVAILABLE")
        assert refused.json()["detail"] == "mine is a sd15 model; this server draws with SDXL."
        write(at.root / "checkpoints" / "mine.safetensors", SDXL)
        assert at.asked(model="mine")["model"] == "mine"


def test_a_lora_that_cannot_be_applied_is_never_left_out_in_silence(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        build(at.root / "sdxl-base")
        write(at.root / "loras" / "neon.safetensors", {f"{CROSS}.weight": (640,), f"{CROSS}.on_input": ()})
        (neon,) = [one for one in at.client.get("/loras").json()["loras"] if one["id"] == "neon"]
        assert (neon["network"], neon["base"], neon["available"]) == ("ia3", "unknown", False)
        for answer in (at.generate(loras=[{"name": "neon"}]), at.generate(prompt="a fox <lora:neon:0.5>")):
            assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_NOT_AVAILABLE")
            assert answer.json()["detail"] == "neon is there, but this server applies no networks of the kind ia3."
        wrong = at.generate(loras=[{"name": "style-anime"}])
        assert wrong.json()["errors"] == [{"field": "loras.0.name", "message": "is not here; there are: neon"}]


def test_a_lora_is_for_models_of_its_base(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        build(at.root / "sdxl-base")
        write(at.root / "loras" / "neon.safetensors", lora(CROSS, 2048))
        write(at.root / "loras" / "old.safetensors", lora(CROSS, 768))
        (at.root / "loras" / "bad.pt").write_bytes(b"1")
        taken = at.generate(prompt="a fox <lora:neon:0.5>", loras=[{"name": "neon"}])
        assert taken.status_code == 202
        asked = at.client.get(f"/status/{taken.json()['job_id']}").json()["request"]
        assert asked["loras"] == [{"name": "neon", "weight": 1.5}]
        names = [{"name": name} for name in ("old", "neon", "bad", "nobody")]
        wrong = at.generate(prompt="<lora:old>", loras=names, steps=0)
        assert wrong.status_code == 422
        said = "is made for sd15; sdxl-base is a model of sdxl"
        pickle = "cannot be used: a .pt file is a pickle, which could run anything when it is read: safetensors only"
        assert wrong.json()["errors"] == [
            {"field": "steps", "message": "must be at least 1"},
            {"field": "loras.0.name", "message": said},
            {"field": "loras.2.name", "message": pickle},
            {"field": "loras.3.name", "message": "is not here; there are: neon"},
            {"field": "prompt", "message": f"<lora:old>: {said}"},
        ]
        together = at.generate(loras=[{"name": "neon", "weight": 1.5}] * 2)
        assert together.json()["errors"] == [{"field": "loras.1.weight", "message": "one weight, from -2 to 2"}]
        five = at.generate(prompt="<lora:neon>", loras=[{"name": "neon", "weight": 0}] * 5)
        assert (five.status_code, [one["field"] for one in five.json()["errors"]]) == (422, ["loras"])


def test_trigger_words_are_added_when_they_are_wished_for(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        build(at.root / "pony")
        write(at.root / "loras" / "style-anime.safetensors", lora(CROSS, 2048))
        text = (at.root / CATALOGUE).read_text("utf-8")
        (at.root / CATALOGUE).write_text(
            f'{text}\n[[model]]\nid = "pony"\nname = "P"\nkind = "diffusers"\nloras = ["style-anime"]\n', "utf-8"
        )
        body: dict[str, Any] = {"model": "pony", "loras": [{"name": "style-anime"}]}
        prompts = {}
        for wish in (False, True):
            answer = at.generate(prompt="a fox, Detailed", add_trigger_words=wish, **body)
            asked = at.client.get(f"/status/{answer.json()['job_id']}").json()["request"]
            prompts[wish] = asked["prompt"], asked["trigger_words"]
        assert prompts == {
            False: ("a fox, Detailed", ["detailed"]),
            True: ("a fox, Detailed, anime style", ["anime style", "detailed"]),
        }


def test_the_models_defaults_fill_what_a_request_leaves_out(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        text = (at.root / CATALOGUE).read_text("utf-8")
        build(at.root / "sdxl-base")
        changed = 'clip_skip = 1\nscheduler = "ddim"\nprompt_prefix = "score_9, score_8"\nnegative_prefix = "blurry"\n'
        text = text.replace("[model.defaults]                  # what", f"[model.defaults]\n{changed}# what", 1)
        (at.root / CATALOGUE).write_text(text, "utf-8")
        asked = at.asked()
        assert (asked["prompt"], asked["negative_prompt"]) == ("score_9, score_8, a fox", "blurry")
        assert (asked["clip_skip"], asked["scheduler"], asked["steps"], asked["width"]) == (1, "ddim", 30, 1024)
        own = at.asked(clip_skip=2, scheduler="euler", steps=3, width=64, height=64, negative_prompt="dark")
        assert (own["clip_skip"], own["scheduler"], own["steps"], own["width"]) == (2, "euler", 3, 64)
        assert own["negative_prompt"] == "blurry, dark"


@pytest.mark.parametrize(
    ("prompt", "prefix", "drawn"),
    [
        ("a fox", "", "a fox"),
        ("a fox", "score_9, score_8", "score_9, score_8, a fox"),
        ("a fox", "score_9, score_8, ", "score_9, score_8, a fox"),
        ("score_9, score_7, a fox", "score_9, score_8", "score_9, score_7, a fox"),
        (" score_9, a fox", "score_9, score_8", " score_9, a fox"),
        ("", "blurry", "blurry"),
        ("a fox", " , ", "a fox"),
    ],
)
def test_a_prefix_is_put_before_the_prompt_once(prompt: str, prefix: str, drawn: str) -> None:
    assert prefixed(prompt, prefix) == drawn


def test_without_an_engine_nothing_is_available_and_it_is_said(tmp_path: Path) -> None:
    with place(tmp_path, engine=False) as at:
        build(at.root / "sdxl-base")
        (base, *_) = at.client.get("/models", headers=ENGLISH).json()["models"]
        assert (base["available"], base["reason"]) == (False, "Nobody.")


def test_a_lora_gets_its_own_weight_where_a_request_names_none() -> None:
    neon = LoraInfo("neon", "Neon", default_weight=0.75)
    assert [weight_of(neon, None), weight_of(neon, 0.0), weight_of(None, None)] == [0.75, 0.0, 1.0]


def test_a_picture_is_made_again_in_its_own_words_whatever_the_catalogue_says_now(tmp_path: Path) -> None:
    with place(tmp_path) as at:
        build(at.root / "sdxl-base")
        told = {**TOLD, "model": "sdxl-base", "prompt": "a fox"}
        text = (at.root / CATALOGUE).read_text("utf-8")
        changed = 'clip_skip = 1\nscheduler = "ddim"\nprompt_prefix = "score_9"\nnegative_prefix = "blurry"\n'
        (at.root / CATALOGUE).write_text(text.replace("[model.defaults]", f"[model.defaults]\n{changed}#", 1), "utf-8")
        answer = at.client.post("/replay", content=file_of(told), headers={"Content-Type": "image/png"})
        assert answer.status_code == 202, answer.text
        asked = at.client.get(f"/status/{answer.json()['job_id']}").json()["request"]
        assert {name: asked[name] for name in ("prompt", "negative_prompt", "scheduler", "clip_skip", "steps")} == {
            "prompt": "a fox",
            "negative_prompt": "",
            "scheduler": None,
            "clip_skip": None,
            "steps": 2,
        }
