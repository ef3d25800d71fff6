"""Creatures cut out of pictures whose alpha is known, and pictures that nothing can be cut out of."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from minimon_server.engines.matte import cut_out, spread
from minimon_server.engines.messages import DrawnPicture, NoCutout

Floats = NDArray[np.float64]
OUTLINE = np.array([60.0, 30.0, 20.0])
COAT = np.array([235.0, 225.0, 215.0])  # nearly the background's colour: only the outline tells them apart


def picture_of(pixels: Floats) -> DrawnPicture:
    whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return DrawnPicture(whole.tobytes(), 0, whole.shape[1], whole.shape[0])


def scene(height: int, width: int) -> tuple[Floats, Floats]:
    """Return an even background that bends a little, and each pixel's distance from the middle: 0 to about 1.4."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 12 * (x**2 + y**2)
    return np.stack([250 - light, 240 - light, 228 - 2 * light], axis=2), np.hypot(x, y)


def creature(height: int, width: int) -> tuple[Floats, Floats, Floats]:
    """Return a pale ball with a dark outline on such a background: the picture, its background, its true alpha."""
    background, far = scene(height, width)
    edge = 2.0 / min(height, width)  # half a pixel, as the scale of `far` has it
    alpha = np.clip((0.6 - far) / edge / 2 + 0.5, 0, 1)
    inner = np.clip((0.5 - far) / edge / 2 + 0.5, 0, 1)[..., None]
    ball = inner * COAT + (1 - inner) * OUTLINE
    return alpha[..., None] * ball + (1 - alpha[..., None]) * background, background, alpha


@pytest.mark.parametrize("size", [(128, 128), (96, 160), (256, 256)], ids=str)
def test_a_creature_has_its_own_alpha_and_looks_on_its_background_as_before(size: tuple[int, int]) -> None:
    picture, background, alpha = creature(*size)
    cut = cut_out(picture_of(picture)).astype(np.float64)
    assert cut.shape == (*size, 4)
    found = cut[..., 3] / 255
    assert np.abs(found - alpha).mean() < 0.01
    assert np.abs(found - alpha).max() < 0.35  # on the edge itself, where a pixel is partly the creature's
    assert found[size[0] // 2, size[1] // 2] == 1.0  # though its coat is nearly the background's colour
    assert not found[:4].any()
    again = found[..., None] * cut[..., :3] + (1 - found[..., None]) * background
    assert np.abs(again - picture).mean() < 1.0
    assert np.abs(again - picture).max() < 24


def test_an_edge_takes_no_background_along() -> None:
    picture, _, alpha = creature(128, 128)
    cut = cut_out(picture_of(picture)).astype(np.float64)
    edge = (alpha > 0.3) & (alpha < 0.9) & (cut[..., 3] > 60) & (cut[..., 3] < 250)
    assert edge.sum() > 20
    assert cut[edge][:, :3].mean() < picture[edge].mean() - 40  # it has the outline's colour, not the mixture's


def test_a_glow_is_half_transparent_and_fades() -> None:
    picture, _, _ = creature(128, 128)
    _, far = scene(128, 128)
    glow = np.clip((0.85 - far) / 0.25, 0, 1) * (far > 0.6) * 0.6
    shining = picture * (1 - glow[..., None]) + glow[..., None] * np.array([40.0, 90.0, 255.0])
    alpha = cut_out(picture_of(shining))[64, :, 3].astype(np.float64) / 255
    at = {part: round(64 + 63.5 * part) for part in (0.65, 0.75, 0.95)}
    assert 0.3 < alpha[at[0.65]] < 0.95
    assert 0.05 < alpha[at[0.75]] < alpha[at[0.65]]
    assert alpha[at[0.95]] == 0.0


def test_scenery_noise_and_nothing_are_refused() -> None:
    rng = np.random.default_rng(1)
    picture, background, _ = creature(128, 128)
    scenery = picture.copy()
    scenery[80:] = np.array([40.0, 160.0, 60.0])  # a meadow below a sky
    scenery[40:80, :30] = np.array([90.0, 60.0, 30.0])
    for bad in (scenery, rng.uniform(0, 255, (64, 64, 3))):
        with pytest.raises(NoCutout, match=r"of the picture's border is an even background; 80% must be"):
            cut_out(picture_of(bad))
    with pytest.raises(NoCutout, match=r"is 0% of the picture; 3% to 85% may be"):
        cut_out(picture_of(background))


def test_runs_are_reached_round_corners_and_never_across_a_gap() -> None:
    maze = np.array(
        [[1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 1, 1, 1], [1, 0, 0, 0, 0], [0, 1, 1, 1, 1]], np.bool_
    )
    seeds = np.zeros_like(maze)
    seeds[0, 0] = True
    reached = spread(maze, seeds)
    assert reached[4, 0]
    assert not reached[5].any()
    assert reached.sum() == maze[:5].sum()
    assert not spread(maze, np.zeros_like(maze)).any()
