"""Tests of the creature artist: what its pictures must have in common; how pretty they are is judged by eye."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.artist.creature import make_creature, stream
from tools.artist.picture import Pixels, draw, place
from tools.artist.png import encode
from tools.artist.sheet import draw_sheet
from tools.artist.shipped import SHIPPED, SHIPPED_SIZE, draw_shipped, draw_sprite, shipped_name, sprite_name
from tools.artist.traits import TRAIT_KINDS, TRAIT_NAMES, Aura, Body, Rarity, Traits, sample, with_traits

ROOT = Path(__file__).resolve().parents[2]
NEIGHBOURS = [
    (name, first.value, second.value)
    for name, kind in TRAIT_KINDS.items()
    for first, second in zip(list(kind), [*list(kind)[1:], next(iter(kind))], strict=True)
]


def difference(first: Pixels, second: Pixels) -> float:
    """Mean absolute difference of two pictures' channels, from 0 to 255."""
    return float(np.abs(first.astype(np.int16) - second.astype(np.int16)).mean())


def changed_share(first: Pixels, second: Pixels) -> float:
    """Share of the pixels that differ clearly, by more than 24 in some channel."""
    return float((np.abs(first.astype(np.int16) - second.astype(np.int16)).max(axis=2) > 24).mean())


def decode(data: bytes) -> Pixels:
    """Read a PNG file's pixels with a decoder that is not the artist's."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "tools.artist", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_kinds_of_traits_match_the_fields() -> None:
    assert tuple(TRAIT_KINDS) == TRAIT_NAMES


def test_the_same_seed_gives_the_same_pixels() -> None:
    traits = sample(random.Random(5))
    assert np.array_equal(draw(traits, 5, 96), draw(traits, 5, 96))
    assert encode(draw(traits, 5, 96)) == encode(draw(traits, 5, 96))


def test_another_seed_gives_another_picture() -> None:
    traits = sample(random.Random(5))
    assert changed_share(draw(traits, 5, 96), draw(traits, 6, 96)) > 0.02


@pytest.mark.parametrize(("name", "word", "neighbour"), NEIGHBOURS)
def test_every_trait_value_can_be_seen(name: str, word: str, neighbour: str) -> None:
    own = draw(with_traits(Traits(), {name: word}), 3, 64)
    other = draw(with_traits(Traits(), {name: neighbour}), 3, 64)
    assert changed_share(own, other) > 0.004


@pytest.mark.parametrize("body", list(Body))
def test_every_body_takes_every_ornament(body: Body) -> None:
    for index in range(7):
        words = {name: list(kind)[index % len(kind)].value for name, kind in TRAIT_KINDS.items()}
        draw(with_traits(Traits(), {**words, "body": body.value}), index, 64)


@pytest.mark.parametrize("size", [64, 100, 333, 1024])
def test_a_picture_has_the_size_asked_for(size: int) -> None:
    pixels = draw(Traits(), 1, size)
    assert pixels.shape == (size, size, 4)
    assert pixels.dtype == np.uint8
    assert (pixels[..., 3] == 255).all()


@pytest.mark.parametrize("size", [63, 1025, 0, -5])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="size must be from 64 to 1024"):
        draw(Traits(), 1, size)


def test_a_small_picture_shows_what_a_large_one_shows() -> None:
    traits = sample(random.Random(8))
    large = draw(traits, 8, 512).reshape(128, 4, 128, 4, 4).mean(axis=(1, 3)).astype(np.uint8)
    assert difference(draw(traits, 8, 128), large) < 3


@pytest.mark.parametrize("body", list(Body))
@pytest.mark.parametrize("aura", [Aura.NONE, Aura.RAINBOW])
def test_a_sprite_is_clear_at_the_corners_and_solid_inside(body: Body, aura: Aura) -> None:
    traits = Traits(body=body, aura=aura)
    alpha = draw(traits, 2, 96, transparent=True)[..., 3]
    assert alpha[0, 0] == alpha[0, -1] == alpha[-1, 0] == alpha[-1, -1] == 0
    placement = place(make_creature(traits, 2), traits)
    x, y = (int((128 * placement.scale + shift) * 96 / 256) for shift in (placement.x, placement.y))
    assert (alpha[y - 3 : y + 4, x - 3 : x + 4] == 255).all()


def test_a_sprite_has_no_fringe() -> None:
    pixels = draw(Traits(), 2, 128, transparent=True).astype(int)
    alpha = pixels[..., 3]
    edge = (alpha > 0) & (alpha < 255)
    assert edge.any()
    near = np.zeros_like(edge)
    near[1:-1, 1:-1] = (
        (alpha[:-2, 1:-1] == 0) | (alpha[2:, 1:-1] == 0) | (alpha[1:-1, :-2] == 0) | (alpha[1:-1, 2:] == 0)
    )
    rim = pixels[edge & near][:, :3]
    assert np.median(np.abs(rim - np.median(rim, axis=0)), axis=0).max() < 8
    filled = (alpha == 0) & (pixels[..., :3].sum(axis=2) > 0)
    assert filled.any()


@pytest.mark.parametrize("seed", range(40))
def test_no_part_of_a_creature_leaves_the_frame(seed: int) -> None:
    traits = with_traits(sample(stream(seed, "margin"), list(Rarity)[seed % 8]), {"aura": "none"})
    alpha = draw(traits, seed, 128, transparent=True)[..., 3]
    inside = np.zeros_like(alpha, dtype=bool)
    inside[2:-2, 2:-2] = True
    assert (alpha[~inside] == 0).all()
    assert (alpha > 0).mean() > 0.12


def test_every_rarity_can_be_told_from_the_others() -> None:
    pictures = [draw(Traits(rarity=rarity), 4, 96) for rarity in Rarity]
    for index, picture in enumerate(pictures):
        for other in pictures[:index]:
            assert changed_share(picture, other) > 0.01


def test_sampling_keeps_the_rarity_it_is_given_and_finds_every_value() -> None:
    rng = random.Random(1)
    samples = [sample(rng) for _ in range(1500)]
    for name, kind in TRAIT_KINDS.items():
        assert {getattr(traits, name) for traits in samples} == set(kind)
    assert all(sample(rng, rarity).rarity is rarity for rarity in Rarity)
    assert sample(random.Random(9)) == sample(random.Random(9))


def test_a_word_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="mauve"):
        with_traits(Traits(), {"colour": "mauve"})


@pytest.mark.parametrize("channels", [3, 4])
def test_png_files_keep_every_pixel(channels: int) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (20, 31, channels), np.uint8)
    assert np.array_equal(decode(encode(noise)), noise)
    picture = draw(Traits(), 1, 64, transparent=True)[..., :channels]
    assert np.array_equal(decode(encode(picture)), picture)


def test_the_sheet_has_a_column_for_each_rarity() -> None:
    sheet = draw_sheet(seed=7, rows=2, cell=64)
    assert sheet.shape == (128, 512, 3)


@pytest.mark.parametrize("index", range(len(SHIPPED)))
def test_a_shipped_picture_is_what_the_artist_draws_today(index: int) -> None:
    with Image.open(ROOT / "minimon" / shipped_name(index)) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
        assert picture.size == (SHIPPED_SIZE, SHIPPED_SIZE)
        assert difference(np.asarray(picture), draw_shipped(index)) <= 2


@pytest.mark.parametrize("index", range(len(SHIPPED)))
def test_a_shipped_sprite_is_the_same_creature_without_its_place(index: int) -> None:
    with Image.open(ROOT / "minimon" / sprite_name(index)) as picture:
        assert picture.mode == "RGBA"
        sprite = np.asarray(picture)
    assert difference(sprite, draw_sprite(index)) <= 2
    opaque = sprite[..., 3] == 255
    assert opaque.mean() > 0.1
    assert np.abs(sprite[opaque][:, :3].astype(int) - draw_shipped(index)[opaque]).mean() < 2


def test_the_shipped_pictures_are_all_different_and_ever_more_splendid() -> None:
    files = [(ROOT / "minimon" / shipped_name(index)).read_bytes() for index in range(len(SHIPPED))]
    assert len(set(files)) == len(files) == 6
    levels = [picture.traits.rarity.level for picture in SHIPPED]
    assert levels == sorted(set(levels))
    assert (SHIPPED[0].traits.rarity, SHIPPED[-1].traits.rarity) == (Rarity.F, Rarity.S_PLUS)
    for name in ("body", "colour", "background", "element"):
        assert len({getattr(picture.traits, name) for picture in SHIPPED}) == 6


def test_the_command_line_draws_one_creature(tmp_path: Path) -> None:
    target = tmp_path / "new" / "one.png"
    result = run("one", "--seed", "7", "--rarity", "S", "--size", "80", "--transparent", "-o", str(target))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    traits = sample(stream(7, "traits"), Rarity.S)
    assert np.array_equal(decode(target.read_bytes()), draw(traits, 7, 80, transparent=True))


def test_the_command_line_takes_traits_in_words(tmp_path: Path) -> None:
    target = tmp_path / "one.png"
    result = run("one", "--size", "64", "--background", "night sky", "--body", "egg", "-o", str(target))
    assert result.returncode == 0, result.stderr
    traits = with_traits(sample(stream(0, "traits")), {"background": "night sky", "body": "egg"})
    assert np.array_equal(decode(target.read_bytes()), draw(traits, 0, 64)[..., :3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one", "--rarity", "Z"), "argument --rarity: invalid choice: 'Z'"),
        (("one", "--size", "32"), "argument --size: must be from 64 to 1024, not 32"),
        (("one", "--size", "big"), "argument --size: invalid"),
        ((), "the following arguments are required: command"),
    ],
)
def test_the_command_line_explains_what_is_wrong(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    output = ("-o", str(tmp_path / "one.png")) if arguments else ()
    result = run(*arguments, *output)
    assert result.returncode == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
