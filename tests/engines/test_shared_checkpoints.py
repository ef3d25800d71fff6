"""Single files that carry the same networks: held once, drawn as if each were alone, whichever is put out or edited.

The files hold halves, as most do: they are cast for the CPU, so all weights lie alike in memory.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, Progress, Stopped
from minimon_server.engines.part_tensors import whole
from minimon_server.engines.residency import Budgets
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines.adapter_scene import drawn, lycoris_over, same, state_of, tensors_of, uses
from tests.engines.checkpoint_scene import FIRST, VAE, models_of, put, two_models, with_parts_of
from tests.engines.exhaustion import pipeline
from tests.single_file import Tensors, narrow_pipeline, save
from tests.small_pipeline import tokenizer

Asking = Callable[..., DrawRequest]
Logged = Callable[[], list[dict[str, Any]]]
PATIENCE = 20.0


@pytest.fixture(scope="module")
def two() -> tuple[Tensors, Tensors]:
    return two_models()


@pytest.fixture(scope="module")
def shop(two: tuple[Tensors, Tensors], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder: `base`, `tuned` with its VAE and first text encoder, `alien` with nothing of `base`; the
    folder `whole`, which is `base`; its VAE in the catalogue; and a LoRA.
    """
    root = tmp_path_factory.mktemp("shop")
    first, second = two
    put(root, "base", first)
    put(root, "tuned", with_parts_of(second, first, VAE, FIRST), {"title": "tuned"})
    put(root, "alien", second)
    plain = narrow_pipeline(0)
    lora = lycoris_over(plain.text_encoder, 3, 0.3, preset="full-lin")
    (root / "loras").mkdir()
    save_file(tensors_of(lora, "lora_te1_"), root / "loras" / "lora.safetensors")
    half = plain.to(torch.float16)
    half.tokenizer = half.tokenizer_2 = tokenizer(root / ".words")
    half.save_pretrained(root / "whole", safe_serialization=True)
    half.vae.save_pretrained(root / "vae" / "listed")
    return root


@pytest.fixture
def own(shop: Path, tmp_path: Path) -> Path:
    """Return a copy of the files, to be changed."""
    root = tmp_path / "own"
    shutil.copytree(shop, root)
    return root


def engine_over(root: Path, log: Logger, tally: MemoryTally | None = None, **vaes: str) -> SdxlEngine:
    return SdxlEngine(models_of(root, log, **vaes), "cpu", log, tally, budgets=Budgets(host=2**30))


@pytest.fixture
def engine(shop: Path, log: Logger, tally: MemoryTally) -> Iterator[SdxlEngine]:
    engine = engine_over(shop, log, tally)
    yield engine
    engine.close()


def alone(root: Path, log: Logger, *requests: DrawRequest, **vaes: str) -> list[bytes]:
    """Return what an engine draws that has one model in memory."""
    engine = engine_over(root, log, None, **vaes)
    found = [drawn(engine, one).pixels for one in requests]
    engine.close()
    return found


@pytest.fixture(scope="module")
def right(shop: Path, quiet: Logger, request_for: Asking) -> dict[tuple[str, bool], bytes]:
    """Return what `base` and `tuned` draw alone: plain, and with the LoRA."""
    found = {}
    for name in ("base", "tuned"):
        asked = [request_for(model=name, steps=1, adapters=stack) for stack in ((), uses(lora=1.5))]
        found[name, False], found[name, True] = alone(shop, quiet, *asked)
    assert len(set(found.values())) == 4
    return found


def shared_by(logged: Logged) -> dict[str, list[str]]:
    """Return what each model found in memory when it was loaded last."""
    return {line["model"]: line["shared"] for line in logged() if line["event"] == "model loaded"}


def test_two_files_with_the_same_networks_hold_them_once_and_draw_as_if_alone(
    engine: SdxlEngine,
    right: dict[tuple[str, bool], bytes],
    request_for: Asking,
    tally: MemoryTally,
    logged: Logged,
) -> None:
    base_pixels, base = drawn(engine, request_for(model="base", steps=1)).pixels, pipeline(engine)
    tuned_pixels, tuned = drawn(engine, request_for(model="tuned", steps=1)).pixels, pipeline(engine)
    assert (tuned.vae is base.vae, tuned.text_encoder is base.text_encoder) == (True, True)
    assert tuned.unet is not base.unet
    assert tuned.text_encoder_2 is not base.text_encoder_2
    assert shared_by(logged) == {"base": [], "tuned": ["text_encoder", "vae"]}
    assert (base_pixels, tuned_pixels) == (right["base", False], right["tuned", False])
    both = sum(one.nbytes for part in (base.vae, base.text_encoder) for one in (*part.parameters(), *part.buffers()))
    before = tally.held["device"]
    assert sum(one.bytes for one in tally.resident) - before == both
    assert engine._residents is not None
    engine._residents.put_out("base", "a test")
    assert [one.model for one in tally.resident] == ["tuned"]
    assert before > tally.held["device"] == tally.resident[0].bytes > both
    assert drawn(engine, request_for(model="tuned", steps=1)).pixels == right["tuned", False]
    assert pipeline(engine).vae is tuned.vae
    assert tally.loads == 2
    assert drawn(engine, request_for(model="base", steps=1)).pixels == right["base", False]
    assert shared_by(logged)["base"] == ["text_encoder", "vae"]  # what `tuned` has kept


def test_networks_are_compared_while_the_job_is_told_of_and_can_be_cancelled(
    engine: SdxlEngine,
    right: dict[tuple[str, bool], bytes],
    request_for: Asking,
    logged: Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that takes its time over the weights of two files."""
    cancelled, heard = threading.Event(), list[Progress]()

    def slow(spans: Any) -> str:
        assert cancelled.wait(PATIENCE)
        return whole(spans)

    def report(progress: Progress) -> bool:
        heard.append(progress)
        return False

    monkeypatch.setattr("minimon_server.engines.part_contents.whole", slow)
    drawn(engine, request_for(model="base", steps=1))
    with pytest.raises(Stopped):
        engine.draw(request_for(model="tuned", steps=1), report)
    assert [(one.phase, one.current) for one in heard] == [("loading", 0)]
    assert heard[0].total >= 1
    cancelled.set()
    assert drawn(engine, request_for(model="tuned", steps=1)).pixels == right["tuned", False]
    assert shared_by(logged)["tuned"] == ["text_encoder", "vae"]


def test_an_encoder_that_two_files_share_is_as_it_came_for_each(
    shop: Path, engine: SdxlEngine, right: dict[tuple[str, bool], bytes], request_for: Asking, quiet: Logger
) -> None:
    """The weights as they came are read from either file: `base` lends the module, and is put out."""
    for name, worn in (("base", 0), ("base", 1), ("tuned", 0), ("tuned", 1), ("base", 0), ("tuned", 1), ("base", 1)):
        request = request_for(model=name, steps=1, adapters=uses(lora=1.5) if worn else ())
        assert drawn(engine, request).pixels == right[name, bool(worn)]
    assert engine._residents is not None
    engine._residents.put_out("base", "a test")
    for worn in (0, 1, 0):
        request = request_for(model="tuned", steps=1, adapters=uses(lora=1.5) if worn else ())
        assert drawn(engine, request).pixels == right["tuned", bool(worn)]
    fresh = engine_over(shop, quiet)
    drawn(fresh, request_for(model="tuned", steps=1))
    assert same(state_of(pipeline(engine)), state_of(pipeline(fresh)))
    fresh.close()


def test_a_file_a_folder_and_a_vae_of_the_catalogue_share_what_is_the_same(
    shop: Path,
    right: dict[tuple[str, bool], bytes],
    request_for: Asking,
    log: Logger,
    logged: Logged,
    quiet: Logger,
) -> None:
    engine = engine_over(shop, log, alien="listed")
    found = {name: drawn(engine, request_for(model=name, steps=1)).pixels for name in ("whole", "tuned", "alien")}
    mine = ["text_encoder_2", "unet", "vae"]  # the VAE is the listed one
    assert shared_by(logged) == {"whole": [], "tuned": ["text_encoder", "vae"], "alien": mine}
    engine.close()
    assert found["whole"] == right["base", False]
    assert found["tuned"] == right["tuned", False]
    assert alone(shop, quiet, request_for(model="alien", steps=1), alien="listed") == [found["alien"]]


def test_a_file_that_was_edited_serves_nobody_its_former_networks(
    own: Path,
    two: tuple[Tensors, Tensors],
    right: dict[tuple[str, bool], bytes],
    request_for: Asking,
    log: Logger,
    logged: Logged,
    quiet: Logger,
) -> None:
    engine = engine_over(own, log)
    asked = {name: request_for(model=name, steps=1) for name in ("base", "tuned")}
    for request in asked.values():
        drawn(engine, request)
    first, second = two
    path = own / "checkpoints" / "base.safetensors"
    save(with_parts_of(first, second, VAE), path.with_suffix(".new")).replace(path)
    assert drawn(engine, asked["tuned"]).pixels == right["tuned", False]
    found = drawn(engine, asked["base"]).pixels
    assert [found] == alone(own, quiet, asked["base"]) != [right["base", False]]
    assert shared_by(logged) == {"tuned": [], "base": ["text_encoder"]}
    engine.close()
