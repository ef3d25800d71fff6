"""The switches as an operator meets them: defaults start, what a hand set and cannot be had stops, `/ready` tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minimon_server.engines.compiled_files import place_compiled
from minimon_server.environment import read_settings
from minimon_server.jobs.equipment import find_drawing
from minimon_server.logs import Lines, LogSink
from minimon_server.web.job_faces import acceleration
from tests.e2e.running import files_in
from tests.support import HOME


def checked(tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Return what `--check` says of an environment."""
    return subprocess.run(
        [sys.executable, str(HOME / "gen-server.py"), "--check"],
        cwd=tmp_path,
        env=files_in(tmp_path) | {"MINIMON_DEVICE": "cpu"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_hand_set_and_cannot_be_had_stops_the_start(tmp_path: Path) -> None:
    done = checked(tmp_path, SDXL_QUANTIZATION="fp4", SDXL_ENABLE_CPU_OFFLOAD="1")
    assert done.returncode == 2
    quantization, offload = done.stderr.splitlines()[-2:]
    assert quantization.startswith("SDXL_QUANTIZATION=fp4: ")
    assert offload.startswith("SDXL_ENABLE_CPU_OFFLOAD=1: ")


def test_an_unknown_quantisation_is_refused_with_the_list(tmp_path: Path) -> None:
    done = checked(tmp_path, SDXL_QUANTIZATION="int5")
    assert done.returncode == 2
    assert "SDXL_QUANTIZATION holds 'int5'; it may hold fp8, int8, int4, fp4 or none" in done.stderr


def test_defaults_start_and_ready_tells_each_choice_with_its_reason(tmp_path: Path) -> None:
    assert checked(tmp_path).returncode == 0
    with (tmp_path / "log").open("wb") as file:
        sink = LogSink(file.fileno())
        log = Lines(sink, level="INFO", as_json=True, secrets=()).logger()
        settings = read_settings(files_in(tmp_path) | {"MINIMON_DEVICE": "cpu"}, home=HOME, here=tmp_path)
        told = acceleration(find_drawing(settings, log)).facts
        sink.close()
    chosen = {name: choice.chosen for name, choice in told.items()}  # type: ignore[attr-defined] # each is a choice
    assert chosen == {
        "quantization": "none",
        "quantized_loras": False,
        "attention": "SDPA",
        "compile": False,
        "slicing": False,
        "offload": False,
        "graphs": False,
    }
    lines = (tmp_path / "log").read_text("utf-8")
    assert all(f'"what":"{name}"' in lines for name in chosen)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("own", "own/triton")),
        ({"TORCHINDUCTOR_CACHE_DIR": "there"}, ("there", "there/triton")),
        ({"TRITON_CACHE_DIR": "there"}, ("own", "there")),
    ],
)
def test_torch_and_triton_keep_what_they_compile_in_one_folder_unless_told_otherwise(
    given: dict[str, str], expected: tuple[str, str]
) -> None:
    environ = dict(given)
    place_compiled(Path("own"), environ)
    assert (environ["TORCHINDUCTOR_CACHE_DIR"], environ["TRITON_CACHE_DIR"]) == expected


@pytest.mark.parametrize("asked", ["~nosuchuser/x", "nobody/has-fetched-this"])
def test_a_draft_decoder_that_is_not_there_stops_the_start(tmp_path: Path, asked: str) -> None:
    done = checked(tmp_path, SDXL_DRAFT_DECODER=asked, HF_HUB_CACHE=str(tmp_path))
    assert done.returncode == 2
    assert f"SDXL_DRAFT_DECODER holds '{asked}'; it may hold the folder of an AutoencoderTiny" in done.stderr
