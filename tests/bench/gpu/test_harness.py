"""The tasks of `python -m bench.gpu` on small networks, in this process: what they find, and what they leave out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from bench.gpu import child, goals, quantisation, result
from bench.gpu import plan as plans
from bench.gpu.attention import take_attention
from bench.gpu.goals import GOALS
from bench.gpu.host import COPY, ENCODE
from bench.gpu.modes import Mode, prepare
from bench.gpu.paths import BASE, TURBO, TURBO_DRAFT
from bench.gpu.plan import HOST, PEAKS, PLAIN, SMALL, Plan
from bench.gpu.quantisation import scheme_of
from bench.gpu.result import Report
from bench.gpu.rows import Found, Lines, read
from bench.gpu.stages import DRAFT, STAGES, TEXT, UNET, VAE, calls_by_stage, inputs
from bench.gpu.weights import build, check
from minimon_server import logs
from minimon_server.engines.compiled_regions import KINDS
from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.engines.sdxl_landing import packed
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_side_by_side import WIDEST
from minimon_server.errors import StartupError

CPU = torch.device("cpu")
PLACE = Place(CPU, torch.float32, "a test")
LOG = logs.Lines(logs.LogSink(os.open(os.devnull, os.O_WRONLY)), level="error", as_json=True).logger()
TASKS = (PEAKS, PLAIN, HOST, "eager", "graphs", "int8-weight")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return replace(SMALL, calls=1, batches=(1, 2), copy_mib=1)


@pytest.fixture(scope="module")
def found(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Return what all tasks find, through the file that a child writes."""
    path, found = tmp_path_factory.mktemp("found") / "lines", Found()
    with pytest.MonkeyPatch.context() as patch:
        # As on a machine without torchao, whether this one has it or not.
        patch.setattr(quantisation, "find_spec", lambda name: None)
        patch.setattr(torch.backends.cudnn, "benchmark", True)
        for task in TASKS:
            child.run(plan, Lines(path), task)
        # Not that it matters on a CPU: the server leaves it off.
        assert not torch.backends.cudnn.benchmark
    read(path, found)
    return found


def test_every_part_is_timed_at_every_batch(found: Found) -> None:
    seen = {(row.part, row.mode, row.batch) for row in found.rows}
    for batch in (1, 2):
        assert {(part, "eager", batch) for part in (*STAGES, TURBO, TURBO_DRAFT)} <= seen
        assert {(part, PLAIN, batch) for part in (TEXT, UNET, VAE, COPY, ENCODE, TURBO)} <= seen
        assert {(part, HOST, batch) for part in (COPY, ENCODE)} <= seen
    assert {(BASE, "eager", 1), (BASE, PLAIN, 1)} <= seen
    assert all(0 < row.low <= row.median <= row.high for row in found.rows)


def test_a_mode_that_fails_is_told_and_ends_nothing(found: Found, plan: Plan) -> None:
    told = {one.what: one.why for one in found.left}
    assert told["graphs"] == "BenchError: CUDA graphs need a CUDA device"
    assert told["int8-weight"].startswith("ToolMissingError: torchao is missing")
    assert "peak of fp8 products" in told
    assert set(told) == {"graphs", "int8-weight", "peak of fp8 products"}
    report = result.render(plan, found, goals.judge(found, plan.sizes))
    assert "- graphs: BenchError: CUDA graphs need a CUDA device" in report


def test_the_files_hold_all_of_the_run(found: Found, plan: Plan, tmp_path: Path) -> None:
    report = Report(tmp_path, plan)
    report.keep(Found([], [], dict(found.facts)))
    report.keep(found)  # after another task: over the same files
    text, data = report.files
    assert sorted(tmp_path.iterdir()) == sorted(report.files)
    assert text.name[:4].isdigit()
    assert "-small-" in text.name
    said = json.loads(data.read_text("utf-8"))
    assert len(said["rows"]) == len(found.rows)
    assert said["facts"]["machine"]["versions"]["torch"] == torch.__version__
    assert "nvidia-smi" in said["facts"]["machine"]
    assert all(row["floor_ms"] > 0 for row in said["rows"] if row["part"] in (*STAGES, TURBO, TURBO_DRAFT, BASE))
    told = text.read_text("utf-8")
    assert "say nothing of SDXL" in told
    assert told.count("not judged, the networks are those of `small`") == 4
    for goal in GOALS:
        assert f"- {goal.what}, {goal.wanted}" in told
    assert "| eager | 2 |" in told.split(f"## {TURBO}\n")[1].split("##")[0]


def test_what_the_goals_look_at_comes_first(found: Found) -> None:
    for mode, others in (("eager", {*STAGES}), (PLAIN, {TEXT, UNET, VAE, COPY, ENCODE})):
        rows = [(row.part, row.batch) for row in found.rows if row.mode == mode]
        whole = [one for one in rows if one[0] in (TURBO, TURBO_DRAFT, BASE)]
        assert rows[: len(whole)] == whole
        assert [one for one in whole if one[0] != TURBO_DRAFT] == [(TURBO, 1), (BASE, 1), (TURBO, 2)]
        assert {part for part, _ in rows[len(whole) :]} == others


def test_blocks_are_compiled_for_no_batch_that_is_not_served(plan: Plan, tmp_path: Path) -> None:
    path, found = tmp_path / "lines", Found()
    child.run(replace(plan, batches=(WIDEST + 1,)), Lines(path), "blocks")
    read(path, found)
    assert not found.rows
    assert [one.what for one in found.left] == [f"blocks, batches above {WIDEST}"]


def test_one_call_that_fails_leaves_the_others_of_its_mode(plan: Plan, tmp_path: Path) -> None:
    broken = replace(plan.of, name="broken", draft={**plan.of.draft, "latent_channels": 3})
    path, found = tmp_path / "lines", Found()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "ALL", {"broken": broken})
        child.run(replace(plan, sizes="broken", batches=(1,)), Lines(path), "eager")
    read(path, found)
    assert {one.what for one in found.left} == {f"{DRAFT}, eager, batch 1", f"{TURBO_DRAFT}, eager, batch 1"}
    assert {row.part for row in found.rows} == {TEXT, UNET, VAE, TURBO, BASE}


@pytest.mark.torture
def test_every_call_compiles_whole(plan: Plan) -> None:
    graphs = CompileCounter()  # counts what is compiled, and runs it as it is
    calls = prepare(build(plan.of, CPU, torch.float32), Mode.parse("compiled"), PLACE, LOG, backend=graphs)
    with torch.inference_mode():
        for count, (stage, call) in enumerate(calls_by_stage(calls).items(), 1):
            call(*inputs(plan.of, PLACE, 1, plan.of.turbo_side).of(stage))
            assert graphs.frame_count == count, stage


@pytest.mark.torture
def test_the_unets_blocks_compile_each_shape_once_and_nothing_else(plan: Plan) -> None:
    graphs = CompileCounter()
    networks = build(plan.of, CPU, torch.float32)
    take_attention(networks.unet, True, PLACE, {}, LOG)
    calls = prepare(networks, Mode.parse("blocks"), PLACE, LOG, backend=graphs)
    blocks = sum(isinstance(one, KINDS) for one in networks.unet.modules())
    with torch.inference_mode():
        for stage, call in calls_by_stage(calls).items():
            before = graphs.frame_count
            call(*inputs(plan.of, PLACE, 1, plan.of.turbo_side).of(stage))
            assert (graphs.frame_count > before) == (stage == UNET), stage
    assert graphs.frame_count < blocks


def test_what_is_measured_is_what_the_engine_does(plan: Plan) -> None:
    """Layers quantised with its configuration, bytes as it makes them, the attention that it takes."""
    networks = build(plan.of, CPU, torch.float32)
    kernel = take_attention(networks.unet, False, PLACE, {"SDXL_USE_FLASH_ATTN": "1"}, LOG)
    assert kernel.value == "SDPA"
    assert "FlashAttention 3: not on a CPU" in kernel.reason.en
    with pytest.raises(StartupError):
        take_attention(networks.unet, False, PLACE, {"SDXL_USE_XFORMERS": "perhaps"}, LOG)
    latents = inputs(plan.of, PLACE, 2, plan.of.turbo_side).latents
    calls = prepare(networks, Mode.parse("int8-weight"), PLACE, LOG)
    own = build(plan.of, CPU, torch.float32)
    QuantisedLayers(own.unet, scheme_of("int8-weight"), CPU, LOG)
    for (name, ours), theirs in zip(networks.unet.named_parameters(), own.unet.parameters(), strict=True):
        assert type(ours.data) is type(theirs.data), name
    assert scheme_of("int8-weight").label == "int8 weight-only"
    with torch.inference_mode():
        expected = packed(networks.vae.decode(latents / networks.vae.config.scaling_factor, return_dict=False)[0])
        assert torch.equal(calls.pixels(latents), expected)


def test_weights_are_normal_and_follow_from_their_seed(plan: Plan) -> None:
    one, same, other = (build(plan.of, CPU, torch.float32, seed).unet for seed in (0, 0, 1))
    weight = one.mid_block.resnets[0].conv1.weight
    assert weight.std().item() == pytest.approx((64 * 9) ** -0.5, rel=0.05)
    assert abs(weight.mean().item()) < 0.002
    assert torch.equal(weight, same.mid_block.resnets[0].conv1.weight)
    assert not torch.equal(weight, other.mid_block.resnets[0].conv1.weight)


def test_answers_that_are_no_numbers_are_refused() -> None:
    check("fine", torch.randn(4))
    with pytest.raises(Exception, match="is not a number"):
        check("x", (torch.randn(4), torch.tensor([1.0, float("nan")])))
    with pytest.raises(Exception, match="all the same"):
        check("x", torch.zeros(4))
