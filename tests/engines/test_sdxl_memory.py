"""The estimate of memory: below what is really taken, not far below, and heeded before a job begins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.profiler import ProfilerActivity, profile

from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import DrawRequest, EngineFault, Progress
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_memory import decoding_floor, drawing_floor, is_out_of_memory, loading_floor
from minimon_server.engines.system_memory import free_bytes, trim_heap
from minimon_server.logs import Logger
from tests.engines.listening import Heard
from tests.small_pipeline import autoencoder, plainly_loaded, unet
from tests.support import HOME

Asking = Callable[..., DrawRequest]
CPU = Place(torch.device("cpu"), torch.float32, "")


def go_on(_: Progress) -> bool:
    return True


def peak(work: Callable[[], object]) -> int:
    """Return the most bytes that torch held at once while `work` ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, torch.no_grad():
        work()
    held = most = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def wide_autoencoder() -> Any:
    """Return an autoencoder of SDXL's form, four blocks and two layers each, with a quarter of its channels."""
    return AutoencoderKL(
        block_out_channels=(32, 64, 128, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=2,
    )


def wide_unet() -> Any:
    """Return a UNet of SDXL's form with a fifth of its channels and one transformer a block: depth costs no peak."""
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        layers_per_block=2,
        block_out_channels=(64, 128, 256),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )


def decoding_peak(vae: Any, side: int) -> int:
    latents = torch.randn(1, 4, side, side, dtype=vae.dtype)
    return peak(lambda: vae.decode(latents, return_dict=False))


def drawing_peak(network: Any, side: int, rows: int) -> int:
    dtype, width = network.dtype, network.config.cross_attention_dim
    told = {
        "text_embeds": torch.randn(rows, network.config.projection_class_embeddings_input_dim - 48, dtype=dtype),
        "time_ids": torch.zeros(rows, 6, dtype=dtype),
    }
    latents, words = torch.randn(rows, 4, side, side, dtype=dtype), torch.randn(rows, 77, width, dtype=dtype)
    return peak(lambda: network(latents, torch.tensor(5.0), words, added_cond_kwargs=told, return_dict=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("make", "side"), [(autoencoder, 32), (wide_autoencoder, 16)])
def test_decoding_takes_more_than_its_floor_and_less_than_twice(
    make: Callable[[], Any], side: int, dtype: torch.dtype
) -> None:
    vae = make().to(dtype).eval()
    pixels = side * 2 ** (len(vae.config.block_out_channels) - 1)
    floor = decoding_floor(vae, pixels, pixels)
    assert floor <= decoding_peak(vae, side) <= 2 * floor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("make", "side"), [(unet, 32), (wide_unet, 24)])
def test_drawing_takes_more_than_its_floor_and_less_than_four_times(
    make: Callable[[], Any], side: int, rows: int, dtype: torch.dtype
) -> None:
    network = make().to(dtype).eval()
    floor = drawing_floor(network, side * side, rows)
    assert floor <= drawing_peak(network, side, rows) <= 4 * floor


def test_attention_slicing_saves_nothing_and_rows_one_by_one_do() -> None:
    network = wide_unet().eval()
    plain, row = drawing_peak(network, 24, 2), drawing_peak(network, 24, 1)
    network.set_attention_slice("max")
    assert drawing_peak(network, 24, 2) > 0.95 * plain
    assert row < 0.8 * plain


@pytest.fixture
def engine(models: Path, log: Logger) -> SdxlEngine:
    return SdxlEngine(ModelFolders(models, log), "cpu", log)


def with_free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("minimon_server.engines.sdxl_ladder.free_bytes", lambda _: size)


@pytest.mark.parametrize(
    ("free", "rungs"), [(2**21, []), (2**20, ["free", "tile"]), (2**19, ["free", "slice", "tile"])]
)
def test_what_surely_does_not_fit_is_not_tried(
    engine: SdxlEngine,
    request_for: Asking,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    rungs: list[str],
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    (right,) = engine.draw(request_for(), go_on).pictures
    with monkeypatch.context() as short:
        with_free(short, free)
        (picture,) = engine.draw(request_for(), go_on).pictures
    assert picture.metadata["rungs"] == rungs
    assert picture.metadata["decoded"] == ("tiled" if "tile" in rungs else "whole")
    told = [line for line in logged() if line["event"] == "too little memory"]
    assert [line["rung"] for line in told if line["rung"] != "free"] == [rung for rung in rungs if rung != "free"]
    (again,) = engine.draw(request_for(), go_on).pictures
    assert again.pixels == right.pixels


def test_what_fits_on_no_rung_is_refused_before_its_first_step(
    engine: SdxlEngine, request_for: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    with_free(monkeypatch, 2 * 2**20)
    with pytest.raises(EngineFault) as caught:
        engine.draw(request_for(width=256, height=256), heard)
    assert "drawing needs at least 5 MiB for 256x256 pixels with small, and 2 MiB are free" in caught.value.text
    assert "tried: free, tile (not possible: only decoding has tiles), slice, offload (not" in caught.value.text
    assert not heard.of("drawing")
    assert engine.draw(request_for(), go_on).pictures


def test_a_model_that_surely_does_not_fit_is_not_loaded(
    models: Path, tmp_path: Path, request_for: Asking, log: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = ModelFolders(models, log)
    assert loading_floor(folders.find("small"), CPU) == 0  # mapped from its file as it lies there
    pipeline = plainly_loaded(models / "small").to(torch.float16)
    pipeline.save_pretrained(tmp_path / "small", variant="fp16")
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    halves = ModelFolders(tmp_path, log)
    needed = loading_floor(halves.find("small"), CPU)
    assert needed == sum(
        4 * value.numel() for part in parts for value in part.state_dict().values() if value.is_floating_point()
    )
    tally = MemoryTally()
    engine = SdxlEngine(halves, "cpu", log, tally)
    with monkeypatch.context() as short:
        with_free(short, needed - 1)
        with pytest.raises(EngineFault, match="Too little memory: loading needs at least"):
            engine.draw(request_for(), go_on)
    assert (engine.loaded, tally.refused) == (None, 1)
    assert engine.draw(request_for(), go_on).pictures


def test_what_says_that_memory_ran_out_is_told_from_what_does_not() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator"))


REALLY_SHORT = """
import os, resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from minimon_server.engines import sdxl_ladder
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Lines, LogSink

log = Lines(LogSink(os.open(os.devnull, os.O_WRONLY)), level="error", as_json=True).logger()
engine = SdxlEngine(ModelFolders(Path(sys.argv[1]), log), "cpu", log)
def draw():
    request = DrawRequest("small", "a red cat", "", (7,), 512, 512, 1, 1.0)
    return engine.draw(request, lambda _: True).pictures[0]
right = draw()
taken = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[2]) * 2**20, resource.RLIM_INFINITY))
short = draw()
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(short.metadata["rungs"], short.metadata["decoded"], draw().pixels == right.pixels)
"""


def test_an_allocator_that_really_has_no_more_is_survived(models: Path) -> None:
    """A limit on the address space: a whole picture of 512 pixels takes some 120 MiB to decode, a tile of it 30."""
    # One arena: another thread's would be address space that is reserved before the limit, and can be used after it.
    # A fixed threshold: else the C library raises it at the first large release, and keeps what is released from then
    # on for a fit that comes or does not come.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [sys.executable, "-c", REALLY_SHORT, str(models), "65"]
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['free', 'tile'] tiled True", done.stderr[-2000:]


def test_the_system_tells_what_is_free_and_control_groups_may_leave_less(tmp_path: Path) -> None:
    assert (free_bytes() or 0) > 2**20
    meminfo, own, groups = tmp_path / "meminfo", tmp_path / "own", tmp_path / "groups"
    assert free_bytes(meminfo, own, groups) is None
    meminfo.write_text("MemTotal:       16000000 kB\nMemAvailable:    1000000 kB\n")
    assert free_bytes(meminfo, own, groups) == 1_024_000_000
    own.write_text("0::/system.slice/minimon.service\n")
    service = groups / "system.slice" / "minimon.service"
    service.mkdir(parents=True)
    (service / "memory.max").write_text("max\n")
    (service / "memory.current").write_text("500\n")
    assert free_bytes(meminfo, own, groups) == 1_024_000_000
    (service.parent / "memory.max").write_text("1000\n")
    (service.parent / "memory.current").write_text("900\n")
    (service.parent / "memory.stat").write_text("anon 200\ninactive_file 300\n")
    assert free_bytes(meminfo, own, groups) == 400


HELD_BY_THE_LIBRARY = """
import ctypes
from pathlib import Path
from minimon_server.engines.system_memory import trim_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [library.malloc(65536) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 65536)
for block in blocks[:-1]:
    library.free(block)  # the last one stands above them: the heap cannot shrink by itself
before = resident()
trim_heap()
print((before - resident()) >> 20)
"""


def test_what_the_c_library_keeps_is_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD_BY_THE_LIBRARY], cwd=HOME, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 50  # MiB, of 62
    trim_heap()  # harmless where there is nothing


def test_control_groups_of_the_first_version_are_heeded_too(tmp_path: Path) -> None:
    own, group = tmp_path / "own", tmp_path / "groups" / "memory" / "docker" / "x"
    group.mkdir(parents=True)
    own.write_text("5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n")
    (group / "memory.limit_in_bytes").write_text("1000\n")
    (group / "memory.usage_in_bytes").write_text("1200\n")
    assert free_bytes(tmp_path / "none", own, tmp_path / "groups") == 0
    (group / "memory.stat").write_text("total_inactive_file 250\n")
    assert free_bytes(tmp_path / "none", own, tmp_path / "groups") == 50
