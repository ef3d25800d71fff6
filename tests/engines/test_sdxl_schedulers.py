"""Every scheduler name draws what the library draws with the class and options that the name stands for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import ZERO_SNR_RESCALE, ModelFolders
from minimon_server.engines.schedulers import KINDS, SCHEDULERS, named, offered, refusal
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.logs import Logger
from tests.engines import every_scheduler
from tests.small_pipeline import plainly_loaded

Asking = Callable[..., DrawRequest]

KARRAS = {"use_karras_sigmas": True}
EXPONENTIAL = {"use_exponential_sigmas": True, "timestep_spacing": "linspace"}
BETA = {"use_beta_sigmas": True, "timestep_spacing": "linspace"}
MULTISTEP = "DPMSolverMultistepScheduler"
SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}
# As the library's own table of A1111's names has them (docs/source/en/api/schedulers/overview.md).
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpmpp_2m": (MULTISTEP, {}),
    "dpmpp_2m_sde": (MULTISTEP, SDE),
    "dpmpp_3m_sde": (MULTISTEP, SDE | {"solver_order": 3}),
    "dpmpp_sde": ("DPMSolverSinglestepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
LIBRARY = {
    **PLAIN,
    **{f"{name}_karras": (kind, options | KARRAS) for name, (kind, options) in PLAIN.items()},
    **{f"{name}_exponential": (kind, options | EXPONENTIAL) for name, (kind, options) in PLAIN.items()},
    **{f"{name}_beta": (kind, options | BETA) for name, (kind, options) in PLAIN.items()},
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    # As SDXL's own files have it; those of the small model say nothing.
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
TRAILING = {"timestep_spacing": "trailing"}
FLAWED: dict[str, dict[str, Any]] = {"v": {"prediction_type": "v_prediction"}, "zero": ZERO_SNR, "turbo": TRAILING}


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return plainly_loaded(models / "small")


@pytest.fixture(scope="module")
def odd_models(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the small model as others would be.

    `v` predicts v, `zero` ends in pure noise as well, `turbo` was distilled.
    """
    root = tmp_path_factory.mktemp("odd")
    for name, changes in FLAWED.items():
        changed(models, root / name, changes)
    return root


@pytest.fixture(scope="module")
def odd_engine(odd_models: Path, quiet: Logger) -> Iterator[SdxlEngine]:
    engine = SdxlEngine(ModelFolders(odd_models, quiet), "cpu", quiet)
    yield engine
    engine.close()


def changed(models: Path, folder: Path, changes: dict[str, Any]) -> None:
    shutil.copytree(models / "small", folder)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))


def drawn(engine: SdxlEngine, request: DrawRequest) -> Any:
    (picture,) = engine.draw(request, lambda _: True).pictures
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


def theirs(pipeline: Any, scheduler: Any, steps: int = 4, rescale: float = 0.0) -> Any:
    """Return what the library's own pipeline draws with a scheduler."""
    own, pipeline.scheduler = pipeline.scheduler, scheduler
    try:
        return np.asarray(
            pipeline(
                "a red cat",
                negative_prompt="blurry",
                width=64,
                height=64,
                num_inference_steps=steps,
                guidance_scale=5.0,
                guidance_rescale=rescale,
                generator=torch.Generator("cpu").manual_seed(7),
            ).images[0]
        )
    finally:
        pipeline.scheduler = own


def scheduler_of(pipeline: Any, name: str, **more: Any) -> Any:
    kind, options = LIBRARY[name]
    return getattr(diffusers, kind).from_config({**pipeline.scheduler.config, **more}, **options)


def test_every_name_is_in_the_table() -> None:
    assert set(LIBRARY) == set(KINDS)
    assert {name for name in KINDS if name not in SCHEDULERS} == (
        set() if find_spec("scipy") else {name for name in KINDS if name.startswith("lms") or name.endswith("_beta")}
    )


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_name_draws_what_the_library_draws(engine: SdxlEngine, pipeline: Any, request_for: Asking, name: str) -> None:
    request = request_for(scheduler=name, steps=4)
    expected = theirs(pipeline, scheduler_of(pipeline, name))
    assert np.array_equal(drawn(engine, request), expected)


def test_a_name_means_the_same_whatever_the_model_comes_with(
    models: Path, tmp_path: Path, engine: SdxlEngine, request_for: Asking, quiet: Logger
) -> None:
    changed(models, tmp_path / "small", {"use_karras_sigmas": True})
    other = SdxlEngine(ModelFolders(tmp_path, quiet), "cpu", quiet)
    assert np.array_equal(drawn(other, request_for(scheduler="euler")), drawn(engine, request_for(scheduler="euler")))
    own = drawn(other, request_for())
    assert np.array_equal(own, drawn(engine, request_for(scheduler="euler_karras")))
    assert not np.array_equal(own, drawn(engine, request_for()))


@pytest.mark.parametrize("name", every_scheduler.parameters(None))
def test_a_v_prediction_model_is_run_as_one(
    odd_engine: SdxlEngine, pipeline: Any, request_for: Asking, name: str | None
) -> None:
    pixels = drawn(odd_engine, request_for(model="v", scheduler=name, steps=4))
    theirs_v = scheduler_of(pipeline, name or "euler", prediction_type="v_prediction")
    assert np.array_equal(pixels, theirs(pipeline, theirs_v))
    assert not np.array_equal(pixels, theirs(pipeline, scheduler_of(pipeline, name or "euler")))


@pytest.mark.parametrize(
    "name", every_scheduler.parameters(None, of=offered(ZERO_SNR | {"_class_name": "EulerDiscreteScheduler"}))
)
def test_a_model_of_zero_terminal_snr_begins_with_nothing_but_noise(
    odd_engine: SdxlEngine, pipeline: Any, request_for: Asking, name: str | None
) -> None:
    request = request_for(model="zero", scheduler=name, steps=4, guidance_rescale=0.7)
    kind, options = LIBRARY[name or "euler"]
    settings = {**pipeline.scheduler.config, **ZERO_SNR}
    scheduler = getattr(diffusers, kind).from_config(settings, **options | {"timestep_spacing": "trailing"})
    assert scheduler.alphas_cumprod[-1] < 1e-7
    assert np.array_equal(drawn(odd_engine, request), theirs(pipeline, scheduler, rescale=0.7))


@pytest.mark.parametrize("name", ["ddim", "lcm", "tcd", "euler", "euler_a", "dpmpp_2m_sde"])
def test_the_steps_of_a_distilled_model_are_where_its_files_say(
    odd_engine: SdxlEngine, pipeline: Any, request_for: Asking, name: str
) -> None:
    pixels = drawn(odd_engine, request_for(model="turbo", scheduler=name, steps=2))
    assert np.array_equal(pixels, theirs(pipeline, scheduler_of(pipeline, name, **TRAILING), steps=2))
    # LCM has steps of its own, whatever the spacing.
    assert name in ("lcm", "tcd") or not np.array_equal(pixels, theirs(pipeline, scheduler_of(pipeline, name), steps=2))


def test_a_scheduler_that_would_ignore_what_the_model_is_is_refused(
    odd_engine: SdxlEngine, odd_models: Path, request_for: Asking, quiet: Logger
) -> None:
    infos = {info.id: info for info in ModelFolders(odd_models, quiet).infos()}
    assert infos["v"].schedulers is None
    names = infos["zero"].schedulers
    assert names is not None
    assert {"euler", "euler_a", "ddim", "dpmpp_2m_sde_karras", "lcm"} <= set(names)
    assert not {"heun", "dpm2_a", "deis", "dpmpp_sde_karras", "pndm"} & set(names)
    assert infos["zero"].guidance_rescale == ZERO_SNR_RESCALE == 0.7
    for name in set(SCHEDULERS) - set(names):
        with pytest.raises(EngineFault, match="knows no zero terminal SNR"):
            odd_engine.draw(request_for(model="zero", scheduler=name), lambda _: True)


@pytest.mark.parametrize("settings", [{"prediction_type": "sample"}, ZERO_SNR], ids=str)
@pytest.mark.parametrize("library_class", sorted({KINDS[name].library_class for name in SCHEDULERS}))
def test_what_a_class_is_said_to_know_is_what_the_library_knows(library_class: str, settings: dict[str, Any]) -> None:
    told = refusal(library_class, settings) is None
    kind = getattr(diffusers, library_class)
    scheduler = kind.from_config(settings)
    if "rescale_betas_zero_snr" in settings:
        assert bool(scheduler.alphas_cumprod[-1] < 1e-7) == told
        return
    scheduler.set_timesteps(4)
    try:
        first = scheduler.timesteps[0]
        noise = torch.ones(1, 4, 8, 8)
        scheduler.step(noise, first, scheduler.scale_model_input(noise, first))
    except (NotImplementedError, ValueError):
        assert not told
    else:
        assert told


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"_class_name": "EDMEulerScheduler"}, set()),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, {"EulerDiscreteScheduler"}),
        ({"prediction_type": "flow_prediction"}, set()),
        (
            {"rescale_betas_zero_snr": True},
            {
                "EulerDiscreteScheduler",
                "EulerAncestralDiscreteScheduler",
                "DPMSolverMultistepScheduler",
                "UniPCMultistepScheduler",
            },
        ),
    ],
)
def test_other_kinds_of_noise_have_few_names_or_none(settings: dict[str, Any], left: set[str]) -> None:
    assert {KINDS[name].library_class for name in offered(settings)} == left


@pytest.mark.parametrize("rescale", [0.3, 1.0])
def test_guidance_is_rescaled_as_the_library_does(
    engine: SdxlEngine, pipeline: Any, request_for: Asking, rescale: float
) -> None:
    request = request_for(steps=4, guidance_rescale=rescale)
    assert np.array_equal(drawn(engine, request), theirs(pipeline, scheduler_of(pipeline, "euler"), rescale=rescale))
    assert not np.array_equal(drawn(engine, request), drawn(engine, request_for(steps=4)))


def test_a_rescale_without_guidance_is_told_as_ignored(engine: SdxlEngine, request_for: Asking) -> None:
    request = request_for(guidance_scale=1.0, guidance_rescale=0.5, negative_prompt="")
    (picture,) = engine.draw(request, lambda _: True).pictures
    assert picture.metadata["ignored"] == ["guidance_rescale: guidance_scale is 1 or less"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m_karras"),
        ("dpmpp-2m-karras", "dpmpp_2m_karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde_exponential"),
        ("DPM++ SDE Karras", "dpmpp_sde_karras"),
        ("Euler a", "euler_a"),
        ("euler_ancestral", "euler_a"),
        ("DPM2 a Karras", "dpm2_a_karras"),
        ("UNI_PC", "unipc"),
        ("PLMS", "pndm"),
        ("euler ", "euler"),
        ("DPM adaptive", None),
        ("", None),
    ],
)
def test_a_name_may_be_written_as_users_write_it(asked: str, name: str | None) -> None:
    assert named(asked, SCHEDULERS) == name


def test_every_name_and_label_means_itself() -> None:
    for name, kind in KINDS.items():
        assert named(name, KINDS) == name
        assert named(kind.label, KINDS) == name
