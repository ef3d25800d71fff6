"""The memory that words take: a prompt of many texts is looked at before any of it is encoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_prompts import encode
from minimon_server.logs import Logger
from tests.engines.listening import Heard
from tests.engines.test_sdxl_memory import peak, with_free
from tests.small_pipeline import plainly_loaded

STEPS = 40
# Every step has words of its own, and each shifts all that follow: no two chunks are alike.
EDITED = "".join(f"[ab:c:{step}]" for step in range(1, STEPS)) + "".join(f"{number} " for number in range(300))


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return plainly_loaded(models / "small")


@pytest.mark.parametrize("prompt", ["a red cat", EDITED])
def test_words_take_more_than_their_floor_and_less_than_three_times(pipeline: Any, prompt: str) -> None:
    floors: list[int] = []
    encode(pipeline, prompt, "blurry", None, steps=STEPS, expect=floors.append)  # what is made once is made here
    most = peak(lambda: encode(pipeline, prompt, "blurry", None, steps=STEPS))
    (floor,) = floors
    assert floor <= most
    assert prompt != EDITED or most <= 3 * floor  # what running an encoder takes does not grow with the words


def test_words_that_surely_do_not_fit_are_refused_before_they_are_encoded(
    models: Path, log: Logger, request_for: Callable[..., DrawRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SdxlEngine(ModelFolders(models, log), "cpu", log)
    before, heard = engine.draw(request_for(), Heard()).pictures[0], Heard()
    with monkeypatch.context() as short:
        with_free(short, 4 * 2**20)
        with pytest.raises(EngineFault, match=r"Too little memory: prompt needs at least \d+ MiB"):
            engine.draw(request_for(prompt=EDITED, steps=STEPS), heard)
    assert not heard
    assert engine.draw(request_for(), Heard()).pictures[0].pixels == before.pixels
