"""A reference picture beside the words: what the library's own IP-Adapter makes of it, and no trace afterwards."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import (
    StableDiffusionXLImg2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint import (
    StableDiffusionXLInpaintPipeline,
)

from minimon_server.engines.ip_adapter_files import ROOT, Variant
from minimon_server.engines.messages import DrawRequest, Progress, Stopped
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines import beginnings
from tests.engines.adapter_scene import same, state_of, uses
from tests.engines.beginnings import CAT_IMAGE, FROM_CAT, KINDS, MASK_IMAGE, REPAINT, go_on, noise
from tests.engines.exhaustion import pipeline
from tests.engines.graph_scene import recorded, with_graphs
from tests.engines.listening import Heard
from tests.engines.reference_scene import SHOWN, SHOWN_IMAGE, VARIANTS, librarys, load_into, tensors, use, write
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]
Pixels = np.ndarray[Any, Any]
INPUTS = beginnings.INPUTS | {SHOWN.picture.digest: SHOWN.png}
WORDS: dict[str, Any] = {"prompt": "a red cat", "negative_prompt": "blurry", "guidance_scale": 5.0}


def drawn(engine: SdxlEngine, request: DrawRequest) -> Pixels:
    return beginnings.drawn(engine, request, INPUTS)


@pytest.fixture(scope="module")
def root(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two models, six LoRAs and their kin, and an IP-Adapter of each variant."""
    root = tmp_path_factory.mktemp("references")
    shutil.copytree(shelf, root, dirs_exist_ok=True)
    unet = plainly_loaded(root / "small").unet
    for variant in VARIANTS:
        write(root, variant, tensors(unet, variant))
    return root


@pytest.fixture(scope="module")
def engine(root: Path, quiet: Logger) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet)
    yield engine
    engine.close()


@pytest.mark.parametrize("guidance", [5.0, 1.0])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_is_the_librarys_own(
    engine: SdxlEngine, root: Path, request_for: Asking, variant: Variant, guidance: float
) -> None:
    ours = drawn(engine, request_for(guidance_scale=guidance, ip_adapter=use(variant)))
    theirs = librarys(root, root, variant)(
        **WORDS | {"guidance_scale": guidance},
        ip_adapter_image=SHOWN_IMAGE,
        num_inference_steps=3,
        width=64,
        height=64,
        generator=noise(),
    )
    assert np.array_equal(ours, np.asarray(theirs.images[0]))
    bare = drawn(engine, request_for(guidance_scale=guidance))
    assert np.abs(ours.astype(int) - bare).mean() > 1
    assert not np.array_equal(ours, drawn(engine, request_for(guidance_scale=guidance, ip_adapter=use(variant, 1.2))))


def test_it_is_so_from_a_picture_and_under_a_mask(engine: SdxlEngine, root: Path, request_for: Asking) -> None:
    settings: dict[str, Any] = {"image": CAT_IMAGE, "strength": 0.75, "num_inference_steps": 4}
    ours = drawn(engine, request_for(**FROM_CAT, ip_adapter=use("plus")))
    img2img = librarys(root, root, "plus", kind=StableDiffusionXLImg2ImgPipeline)
    theirs = img2img(**WORDS, **settings, ip_adapter_image=SHOWN_IMAGE, generator=noise()).images[0]
    assert np.array_equal(ours, np.asarray(theirs))
    ours = drawn(engine, request_for(**REPAINT, ip_adapter=use("plus")))
    repaint = librarys(root, root, "plus", kind=StableDiffusionXLInpaintPipeline)
    settings |= {"mask_image": MASK_IMAGE, "width": 64, "height": 64}
    theirs = repaint(**WORDS, **settings, ip_adapter_image=SHOWN_IMAGE, generator=noise()).images[0]
    inside = np.asarray(MASK_IMAGE) == 255
    assert np.array_equal(ours[inside], np.asarray(theirs)[inside])


def test_a_second_pass_is_shown_it_too(engine: SdxlEngine, request_for: Asking) -> None:
    seen: list[bool] = []
    drawn(engine, request_for())

    def look(_: Any, __: Any, told: dict[str, Any]) -> None:
        seen.append("image_embeds" in told["added_cond_kwargs"])

    request = request_for(**KINDS["twice"], ip_adapter=use("plain"))
    handle = pipeline(engine).unet.register_forward_pre_hook(look, with_kwargs=True)
    try:
        found = drawn(engine, request)
    finally:
        handle.remove()
    assert seen == [True] * request.total_steps
    assert not np.array_equal(found, drawn(engine, request_for(**KINDS["twice"])))


@pytest.mark.parametrize("asked", [{}, *KINDS.values()], ids=["from noise", *KINDS])
def test_it_leaves_nothing_behind(engine: SdxlEngine, request_for: Asking, asked: dict[str, Any]) -> None:
    before = drawn(engine, request_for(**asked))
    parts = pipeline(engine)
    processors, state = dict(parts.unet.attn_processors), state_of(parts)
    shown = drawn(engine, request_for(**asked, ip_adapter=use("plus")))
    assert not np.array_equal(shown, before)
    assert parts.unet.attn_processors == processors
    assert parts.unet.encoder_hid_proj is None
    assert parts.unet.config.encoder_hid_dim_type is None
    assert same(state_of(parts), state)
    assert np.array_equal(drawn(engine, request_for(**asked)), before)
    assert np.array_equal(drawn(engine, request_for(**asked, ip_adapter=use("plus"))), shown)


def test_scale_nought_is_the_picture_without_it_to_the_last_bit(engine: SdxlEngine, request_for: Asking) -> None:
    bare = drawn(engine, request_for())
    (picture,) = engine.draw(request_for(ip_adapter=use("plain", 0.0)), go_on, INPUTS).pictures
    assert picture.pixels == bare.tobytes()
    assert "ip_adapter: its scale is 0" in picture.metadata["ignored"]


def test_it_goes_beside_a_stack_of_loras(engine: SdxlEngine, root: Path, request_for: Asking) -> None:
    bare, stack = drawn(engine, request_for()), uses(lora=1.0, lokr=-0.5)
    merged = drawn(engine, request_for(adapters=stack))
    both = drawn(engine, request_for(adapters=stack, ip_adapter=use("plus")))
    # The library's own pipeline of the merged weights: what a stack merges is tested against its references elsewhere.
    theirs = plainly_loaded(root / "small")
    for part in ("unet", "text_encoder", "text_encoder_2"):
        getattr(theirs, part).load_state_dict(getattr(pipeline(engine), part).state_dict())
    load_into(theirs, root, "plus", 0.6)
    told: dict[str, Any] = {"num_inference_steps": 3, "width": 64, "height": 64, "ip_adapter_image": SHOWN_IMAGE}
    assert np.array_equal(both, np.asarray(theirs(**WORDS, **told, generator=noise()).images[0]))
    assert np.array_equal(drawn(engine, request_for(adapters=stack)), merged)
    shown = drawn(engine, request_for(ip_adapter=use("plus")))
    assert len({one.tobytes() for one in (bare, merged, both, shown)}) == 4
    assert np.array_equal(drawn(engine, request_for()), bare)


@pytest.mark.parametrize("exact", [True, False])
def test_a_seed_is_the_same_picture_alone_and_beside_others(
    engine: SdxlEngine, request_for: Asking, exact: bool
) -> None:
    several = engine.draw(request_for(seeds=(6, 7), ip_adapter=use("full"), exact=exact), go_on, INPUTS).pictures
    assert several[1].pixels == drawn(engine, request_for(ip_adapter=use("full"))).tobytes()
    assert "batch" not in several[1].metadata


def test_no_creature_is_drawn_beside_it_between_its_steps(engine: SdxlEngine, request_for: Asking) -> None:
    room: list[bool] = []

    def heard(said: Progress) -> bool:
        if said.phase == "drawing" and 0 < said.current < said.total:
            room.extend(engine.has_room_for([one]) for one in (request_for(), request_for(ip_adapter=use("plain"))))
        return True

    engine.draw(request_for(steps=2, ip_adapter=use("plain")), heard, INPUTS)
    assert room == [False, False]
    engine.draw(request_for(steps=2, ip_adapter=use("plain", 0.0)), heard, INPUTS)  # not shown
    assert room[2:] == [True, False]


@pytest.mark.parametrize("stop_at", [("loading", 0), ("loading", 3), ("drawing", 0), ("drawing", 2), ("decoding", 0)])
def test_a_stop_leaves_no_trace(engine: SdxlEngine, request_for: Asking, stop_at: tuple[str, int]) -> None:
    bare = drawn(engine, request_for())
    engine._references.close()
    heard = Heard(stop_at)
    with pytest.raises(Stopped):
        engine.draw(request_for(ip_adapter=use("plain")), heard, INPUTS)
    assert (heard[-1].phase, heard[-1].current) == stop_at
    assert np.array_equal(drawn(engine, request_for()), bare)


def test_it_is_loaded_when_first_asked_for_and_read_once(root: Path, quiet: Logger, request_for: Asking) -> None:
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet)
    drawn(engine, request_for())
    assert not engine._references.is_loaded
    drawn(engine, request_for(ip_adapter=use("plus")))
    held = engine._references._held
    assert held is not None
    calls: list[int] = []
    held.encoder.network.register_forward_pre_hook(lambda *_: calls.append(1))
    drawn(engine, request_for(seeds=(1,), ip_adapter=use("plus", 0.9)))
    assert engine._references._held is held
    assert calls == []
    gone = [weakref.ref(held.encoder.network), weakref.ref(held.adapter.projection)]
    gone += [weakref.ref(one) for one in held.adapter.processors.values()]
    del held
    engine.close()
    gc.collect()
    assert [one() for one in gone] == [None] * len(gone)


def test_a_file_that_was_exchanged_is_read_anew(root: Path, tmp_path: Path, quiet: Logger, request_for: Asking) -> None:
    shutil.copytree(root / "small", tmp_path / "small")
    unet = plainly_loaded(root / "small").unet
    write(tmp_path, "mine", tensors(unet, "plain", 1))
    engine = SdxlEngine(ModelFolders(tmp_path, quiet), "cpu", quiet)
    first = drawn(engine, request_for(ip_adapter=use("mine")))
    other = write(tmp_path / "elsewhere", "mine", tensors(unet, "plain", 2))
    name = "sdxl_models/mine_sdxl.safetensors"
    (other / name).replace(tmp_path / ROOT / "mine" / name)
    assert not np.array_equal(drawn(engine, request_for(ip_adapter=use("mine"))), first)
    engine.close()


def test_what_was_shown_stands_in_the_metadata_with_the_hashes_of_its_files(
    engine: SdxlEngine, root: Path, request_for: Asking
) -> None:
    (picture,) = engine.draw(request_for(ip_adapter=use("plus", 0.5)), go_on, INPUTS).pictures
    told = picture.metadata
    assert told["ip_adapter"] == {"name": "plus", "image": SHOWN.picture.digest, "scale": 0.5}
    folder = root / ROOT / "plus"
    files = {
        "ip_adapter": folder / "sdxl_models" / "plus_sdxl.safetensors",
        "image_encoder": folder / "models" / "image_encoder" / "model.safetensors",
    }
    for name, path in files.items():
        assert told["hashes"][name] == sha256(path.read_bytes()).hexdigest()
    assert json.dumps(told)
    assert "ip_adapter" not in engine.draw(request_for(), go_on).pictures[0].metadata["hashes"]


def test_numbers_of_16_bits_go_through_and_what_is_none_is_drawn_again_in_32(
    root: Path, quiet: Logger, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minimon_server.engines.sdxl_loading import Place

    place = Place(torch.device("cpu"), torch.bfloat16, "a test")
    monkeypatch.setattr("minimon_server.engines.sdxl.choose_place", lambda _: place)
    engine = SdxlEngine(ModelFolders(root, quiet), "auto", quiet)
    right = drawn(engine, request_for(ip_adapter=use("plus")))
    unet = pipeline(engine).unet

    def overflow(_: Any, __: Any, output: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        return (output[0] * float("inf"),) if unet.dtype == torch.bfloat16 else None

    handle = unet.register_forward_hook(overflow)
    (picture,) = engine.draw(request_for(ip_adapter=use("plus")), go_on, INPUTS).pictures
    handle.remove()
    assert picture.metadata["dtype"] == "float32"
    wide = np.frombuffer(picture.pixels, np.uint8).reshape(right.shape)
    assert np.corrcoef(wide.ravel(), right.ravel())[0, 1] > 0.99
    assert np.array_equal(drawn(engine, request_for(ip_adapter=use("plus"))), right)
    engine.close()


def test_captured_graphs_outlast_drawings_with_a_reference_picture(
    root: Path, request_for: Asking, log: Logger, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    plan = with_graphs()
    engine = SdxlEngine(ModelFolders(root, log), "cpu", log, plan=plan)
    bare, shown = request_for(steps=2), request_for(steps=2, ip_adapter=use("plain"))
    right = [drawn(engine, bare), drawn(engine, shown)]
    for _ in range(9):
        assert np.array_equal(drawn(engine, bare), right[0])
        assert recorded(engine, "unet") == 1
        assert np.array_equal(drawn(engine, shown), right[1])
    captures = [line["network"] for line in logged() if line["event"] == "graph captured"]
    assert captures.count("unet") == 1
    assert plan.graphs.reason.en == ""
    engine.close()
