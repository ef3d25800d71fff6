"""A remote name beside a drawn picture: asked for while the picture is drawn, and told in every form."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.crayon import Crayon, drawing_with
from tests.odd_model import OddModel, answers, writes
from tests.support import HOME
from tests.web.drawn_scene import PATIENCE, drawn

NAME = "Étoile d'Or"
SLOW = "/v1/generate?rarity=S%2B"


def test_the_name_is_asked_for_while_the_picture_is_drawn(tmp_path: Path) -> None:
    words = (HOME / "minimon" / "prompts.toml").read_text("utf-8").replace("rank S+, mythic", "wait")
    (tmp_path / "words.toml").write_text(words, "utf-8")
    crayon = Crayon()
    with OddModel(writes(f'{{"name": "{NAME}"}}')) as model:
        environ = {
            "SDXL_TURBO_MODEL": "tiny",
            "MINIMON_PROMPTS_PATH": str(tmp_path / "words.toml"),
            "MINIMON_RARITY_WEIGHTS": "1 0 0 0 0 0 0 0",
            "MINIMON_NAME_BACKEND": "remote",
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "s3sam",
            "OPENAI_TIMEOUT": "60",
        }
        with drawn(tmp_path, tmp_path, drawing_with(crayon), **environ) as scene:
            scene.wait_until_ready()
            got: list[Any] = []
            asking = threading.Thread(
                target=lambda: got.append(scene.client.get(SLOW, headers={"Accept": "image/png"}))
            )
            asking.start()
            deadline = time.monotonic() + PATIENCE
            while not model.asked:
                assert time.monotonic() < deadline, "nobody asked for a name while the picture was drawn"
                time.sleep(0.01)
            assert not got
            crayon.go_on.set()
            asking.join(PATIENCE)
            (bare,) = got
            assert unquote(bare.headers["x-minimon-name"]) == NAME
            again = scene.client.get(f"/v1/creatures/{bare.headers['x-minimon-id']}?sign=1").json()
            assert again["metadata"]["name"] == again["signed"]["payload"]["name"] == NAME
            assert scene.server.tally.remote_names == 1
            # A seeded one is not asked for, and a name server that fails leaves the local name.
            scene.client.get("/v1/generate?rarity=F&seed=1")
            assert len(model.asked) == 1
            model.behaviour = answers(b"oops", "500 Internal Server Error")
            assert scene.client.get("/v1/generate?rarity=F").json()["metadata"]["name"] != NAME
            assert len(model.asked) == 2
            assert scene.server.tally.remote_names == 1
