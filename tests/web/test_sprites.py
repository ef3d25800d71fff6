"""`background=transparent`: creatures alone from files and drawn ones, and every reason why there is none."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minimon_server.creatures.hatchery import make_hatchery
from minimon_server.engines.messages import DrawnPicture, DrawRequest
from minimon_server.engines.picture_reading import told_in
from minimon_server.engines.png import encode
from minimon_server.errors import StartupError
from tests.crayon import Crayon, drawing_with
from tests.support import HOME, app_under_test, settings_for, small_png, write_pictures
from tests.web.drawn_scene import drawn

ALONE = "/v1/generate?background=transparent"
ENGLISH = {"Accept-Language": "en"}


class Stickers(Crayon):
    """A crayon that draws a disc on an even background where it is asked to; the first `failures` of them are noise."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.asked = 0

    def _picture(self, request: DrawRequest, seed: int, begun_with: str) -> DrawnPicture:
        picture = super()._picture(request, seed, begun_with)
        if not request.prompt.startswith("plain background"):
            return picture
        self.asked += 1
        pixels = np.full((request.height, request.width, 3), 230, np.uint8)
        y, x = np.mgrid[-1 : 1 : request.height * 1j, -1 : 1 : request.width * 1j]
        pixels[np.hypot(x, y) < 0.5] = (40 + seed % 50, 20, 60)
        if self.asked <= self.failures:
            pixels = np.random.default_rng(seed).integers(0, 255, pixels.shape).astype(np.uint8)
        return replace(picture, pixels=pixels.tobytes())


def opened(png: bytes) -> Any:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.mode == "RGBA"
        return np.asarray(picture)


def sprite(shade: int) -> bytes:
    return encode(np.full((4, 4, 4), shade, np.uint8))


def reason(answer: Any) -> str:
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_REQUEST"), answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == "background"
    return str(error["message"])


def test_a_folder_serves_the_sprites_that_lie_beside_its_pictures(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "minimon")
    for index in range(6):
        (folder / f"image_{index:02d}.sprite.png").write_bytes(sprite(index * 20))
    with app_under_test(tmp_path) as bench:
        whole = bench.client.get("/v1/generate?seed=5&rarity=S%2B").json()
        alone = bench.client.get(f"{ALONE}&seed=5&rarity=S%2B").json()
        assert alone["metadata"] == whole["metadata"]
        assert base64.b64decode(alone["imageBase64"]) == sprite(100)
        assert bench.client.get(ALONE, headers={"Accept": "image/png"}).headers["content-type"] == "image/png"
        assert bench.client.get("/v1/generate?background=white").status_code == 422


def test_a_picture_with_alpha_is_its_own_sprite_and_one_without_any_is_told(tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        assert "6 of this server's 6 pictures have neither" in reason(bench.client.get(ALONE, headers=ENGLISH))
    folder = write_pictures(tmp_path / "minimon")
    settings = settings_for(tmp_path)
    for index in range(1, 6):
        (folder / f"image_{index:02d}.png").write_bytes(sprite(index))
    hatchery = make_hatchery(settings)
    assert [picture in hatchery.sprites for picture in hatchery.pictures] == [False] + [True] * 5
    assert all(hatchery.sprites[picture] is picture for picture in hatchery.sprites)


def test_a_sprite_without_alpha_or_damaged_stops_the_start(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "minimon")
    (folder / "image_02.sprite.png").write_bytes(small_png(3))
    (folder / "image_04.sprite.png").write_bytes(b"GIF89a")
    with pytest.raises(StartupError) as caught:
        make_hatchery(settings_for(tmp_path))
    assert caught.value.lines == (
        f"{folder / 'image_02.sprite.png'}: a PNG file without alpha; it is to show the creature alone",
        f"{folder / 'image_04.sprite.png'}: not a PNG file",
    )


def test_each_shipped_picture_has_a_sprite(tmp_path: Path) -> None:
    hatchery = make_hatchery(settings_for(tmp_path, MINIMON_IMAGES_DIR=str(HOME / "minimon")))
    assert set(hatchery.sprites) == set(hatchery.pictures)
    for picture, alone in hatchery.sprites.items():
        alpha = opened(alone.png)[..., 3]
        assert (alone.width, alone.height) == (picture.width, picture.height)
        assert not alpha[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        assert (alpha == 255).mean() > 0.1
        assert ((alpha > 0) & (alpha < 255)).any()  # edges that are neither


def test_a_drawn_creature_is_cut_out_and_takes_nothing_from_the_stock(tmp_path: Path) -> None:
    with drawn(tmp_path, tmp_path, drawing_with(Stickers()), SDXL_TURBO_MODEL="tiny", MINIMON_STOCK="1") as scene:
        scene.wait_until_ready()
        once, again = (scene.client.get(f"{ALONE}&seed=3&rarity=B", headers={"Accept": "image/png"}) for _ in range(2))
        assert once.content == again.content
        pixels = opened(once.content)
        assert pixels.shape == (64, 64, 4)
        assert (pixels[0, 0, 3], pixels[32, 32, 3]) == (0, 255)
        told = told_in(once.content)
        assert told["background"] == "transparent"
        assert told["prompt"].startswith("plain background")
        assert opened(base64.b64decode(scene.client.get(ALONE).json()["imageBase64"]))[0, 0, 3] == 0
        assert sum(scene.server.tally.on_demand.values()) == 3
        families = scene.client.get("/metrics").text
        assert 'minimon_stock_given_total{rarity="B"} 0.0' in families
        assert 'minimon_creatures_on_demand_total{rarity="B"}' in families
        replayed = scene.client.post("/replay", content=once.content, headers={"Content-Type": "image/png"} | ENGLISH)
        assert replayed.status_code == 422
        (told_why,) = [one["message"] for one in replayed.json()["errors"] if one["field"] == "background"]
        assert told_why.startswith("a job cuts nothing out")


def test_a_creature_that_cannot_be_cut_out_is_followed_by_another_unless_a_seed_made_it(tmp_path: Path) -> None:
    stickers = Stickers(failures=3)
    with drawn(tmp_path, tmp_path, drawing_with(stickers), SDXL_TURBO_MODEL="tiny") as scene:
        scene.wait_until_ready()
        answer = scene.client.get(f"{ALONE}&rarity=A")
        assert (answer.status_code, stickers.asked) == (200, 4)
        assert answer.json()["metadata"]["rarity"] == "A"
        stickers.asked, stickers.failures = 0, 100
        why = reason(scene.client.get(ALONE, headers=ENGLISH))
        assert stickers.asked == 4
        assert why.startswith("the creature (4 tries) cannot be cut out: only ")
        assert reason(scene.client.get(f"{ALONE}&seed=1", headers=ENGLISH)).startswith("the creature of this seed")
        assert stickers.asked == 5


def test_a_table_without_words_for_it_cuts_nothing_out(tmp_path: Path) -> None:
    shipped = (HOME / "minimon" / "prompts.toml").read_text("utf-8").splitlines(keepends=True)
    table = tmp_path / "words.toml"
    table.write_text("".join(line for line in shipped if not line.startswith("sprite_")), "utf-8")
    where = {"SDXL_TURBO_MODEL": "tiny", "MINIMON_PROMPTS_PATH": str(table)}
    with drawn(tmp_path, tmp_path, drawing_with(Crayon()), **where) as scene:
        scene.wait_until_ready()
        assert "has no sprite_prompt" in reason(scene.client.get(ALONE, headers=ENGLISH))
