"""The adapters in this repository: small, told as what they are; each changes pictures, and nothing for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from minimon_server.catalog.stock import Stock
from minimon_server.engines.messages import AdapterUse, DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.e2e.running import HOME

MODELS = HOME / "models"
TINY = "minimon-tiny"
OURS = {"ink": "locon", "synthwave": "lokr", "watercolour": "locon"}
LARGEST = 1_000_000

pytestmark = pytest.mark.skipif(
    not (MODELS / TINY / "model_index.json").exists(), reason=f"models/{TINY} is not here yet (docs/tiny.md)"
)


@pytest.fixture(scope="module")
def engine(quiet: Logger) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(MODELS, quiet), "cpu", quiet)
    yield engine
    engine.close()


def drawn(engine: SdxlEngine, stack: Sequence[tuple[str, float]] = ()) -> tuple[bytes, object]:
    uses = tuple(AdapterUse(name, weight) for name, weight in stack)
    request = DrawRequest(TINY, "a blue water bird minimon, happy eyes", "", (5,), 128, 128, 2, 3.0, adapters=uses)
    picture = engine.draw(request, lambda _: True).pictures[0]
    return picture.pixels, picture.metadata.get("ignored")


def test_they_are_listed_with_what_they_are(quiet: Logger) -> None:
    stock = Stock(MODELS, ModelFolders(MODELS, quiet), quiet)
    tiny = next(model for model in stock.models() if model.id == TINY)
    listed = {lora.id: lora for lora in stock.loras() if lora.id in OURS}
    assert set(tiny.supported_loras) >= set(OURS)
    for name, network in OURS.items():
        assert (MODELS / "loras" / f"{name}.safetensors").stat().st_size < LARGEST
        lora = listed[name]
        assert (lora.unavailable, lora.network, lora.base, lora.licence) == (None, network, TINY, "MIT")
        assert lora.trigger_words


def test_each_changes_the_picture_and_a_stack_is_another_one_yet(engine: SdxlEngine) -> None:
    both = (("synthwave", 0.6), ("ink", 0.7))
    stacks: list[Sequence[tuple[str, float]]] = [(), *(((name, 1.0),) for name in OURS), both]
    found = [drawn(engine, stack) for stack in stacks]
    assert len({pixels for pixels, _ in found}) == len(stacks)
    assert all(not ignored for _, ignored in found)


def test_afterwards_the_model_is_what_it_was(engine: SdxlEngine) -> None:
    bare = drawn(engine)
    drawn(engine, [("synthwave", -1.5), ("watercolour", 0.4)])
    assert drawn(engine) == bare
    pixels, ignored = drawn(engine, [("ink", 0.0)])
    assert pixels == bare[0]
    assert ignored == ["loras.ink: its weight is 0"]
