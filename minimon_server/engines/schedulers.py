"""The schedulers by the names that users know, as plain data, and which a model takes. Imports no library.

`sdxl_schedulers` makes them. Names, classes and options are those of the library's own table of A1111's samplers
(diffusers, docs/source/en/api/schedulers/overview.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class SchedulerKind:
    """One scheduler: the library's class, what differs from the model's own configuration, and A1111's name for it.

    `needs` is a package that this name needs besides the engine's own.
    """

    library_class: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None


_EULER: Final = "EulerDiscreteScheduler"
_EULER_A: Final = "EulerAncestralDiscreteScheduler"
_MULTISTEP: Final = "DPMSolverMultistepScheduler"
_UNIPC: Final = "UniPCMultistepScheduler"

# Every option that tells two names of one class apart stands in all of them: a model whose own configuration has
# Karras sigmas must not turn `euler` into something else.
_SIGMAS: Final = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
_SPACINGS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "": ("", _SIGMAS),
    "_karras": (" Karras", _SIGMAS | {"use_karras_sigmas": True}),
    "_exponential": (" Exponential", _SIGMAS | {"use_exponential_sigmas": True, "timestep_spacing": "linspace"}),
    "_beta": (" Beta", _SIGMAS | {"use_beta_sigmas": True, "timestep_spacing": "linspace"}),
}
_2M: Final = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint", "use_lu_lambdas": False}
_SDE: Final = {"algorithm_type": "sde-dpmsolver++"}
# The library would set `lower_order_final` itself, with a warning at every picture.
_SINGLESTEP: Final = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "lower_order_final": True,
}
# Latents go beyond -1 and 1; SDXL's own configuration says so too, but not every model's does.
_UNCLIPPED: Final = {"clip_sample": False}

# Those that come with each spacing of the noise.
_FAMILIES: Final[Mapping[str, tuple[str, str, Mapping[str, Any]]]] = {
    "euler": (_EULER, "Euler", {}),
    "heun": ("HeunDiscreteScheduler", "Heun", _UNCLIPPED),
    "dpm2": ("KDPM2DiscreteScheduler", "DPM2", {}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", "DPM2 a", {}),
    "lms": ("LMSDiscreteScheduler", "LMS", {}),
    "dpmpp_2m": (_MULTISTEP, "DPM++ 2M", _2M),
    "dpmpp_2m_sde": (_MULTISTEP, "DPM++ 2M SDE", _2M | _SDE),
    "dpmpp_3m_sde": (_MULTISTEP, "DPM++ 3M SDE", _2M | _SDE | {"solver_order": 3}),
    "dpmpp_sde": ("DPMSolverSinglestepScheduler", "DPM++ SDE", _SINGLESTEP),
    "deis": ("DEISMultistepScheduler", "DEIS", {"algorithm_type": "deis", "solver_order": 2, "solver_type": "logrho"}),
    "unipc": (_UNIPC, "UniPC", {"solver_order": 2, "solver_type": "bh2"}),
}
_SINGLE: Final[Mapping[str, SchedulerKind]] = {
    "euler_a": SchedulerKind(_EULER_A, "Euler a"),
    "ddim": SchedulerKind("DDIMScheduler", "DDIM", _UNCLIPPED),
    "ddpm": SchedulerKind("DDPMScheduler", "DDPM", _UNCLIPPED),
    "pndm": SchedulerKind("PNDMScheduler", "PLMS", {"skip_prk_steps": True}),
    "lcm": SchedulerKind("LCMScheduler", "LCM", _UNCLIPPED),
    "tcd": SchedulerKind("TCDScheduler", "TCD", _UNCLIPPED),
}


def _kinds() -> dict[str, SchedulerKind]:
    found: dict[str, SchedulerKind] = {}
    for family, (library_class, label, options) in _FAMILIES.items():
        for suffix, (said, spacing) in _SPACINGS.items():
            needs = "scipy" if suffix == "_beta" or family == "lms" else None
            found[family + suffix] = SchedulerKind(library_class, label + said, {**options, **spacing}, needs)
    return {**found, **_SINGLE}


KINDS: Final[Mapping[str, SchedulerKind]] = _kinds()
# The names that a request may hold here; None in a request means the model's own.
SCHEDULERS: Final = tuple(name for name, kind in KINDS.items() if kind.needs is None or find_spec(kind.needs))

# What the classes of the library know (0.42); `from_config` drops what its class does not know.
ZERO_SNR: Final = frozenset(
    {_EULER, _EULER_A, _MULTISTEP, _UNIPC, "DDIMScheduler", "DDPMScheduler", "LCMScheduler", "TCDScheduler"}
)
# Those keep the first sigma finite, so that a prediction of the noise can be used at all.
FINITE: Final = frozenset({_EULER, _EULER_A, _MULTISTEP, _UNIPC})
NOT_SAMPLES: Final = frozenset(
    {
        _EULER_A,
        "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "PNDMScheduler",
    }
)
# Those pick their steps out of the ones that a model was distilled with: `original_inference_steps`, usually 50.
DISTILLED: Final = frozenset({"LCMScheduler", "TCDScheduler"})
USUAL_DISTILLED_STEPS: Final = 50
VARIANCE_PRESERVING: Final = frozenset({kind.library_class for kind in KINDS.values()})


def named(asked: str, there: Iterable[str]) -> str | None:
    """Return which name of `there` is asked for, however it is written: "DPM++ 2M Karras", "dpmpp-2m-karras"."""
    known = {_bare(name): name for name in there}
    bare = _bare(asked)
    return known.get("pndm" if bare == "plms" else bare)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower().replace("++", "pp")).replace("ancestral", "a")


def has_zero_snr(settings: Mapping[str, Any]) -> bool:
    """Return whether a model's scheduler configuration says that its last step is pure noise."""
    return settings.get("rescale_betas_zero_snr") is True


def refusal(library_class: str, settings: Mapping[str, Any]) -> str | None:
    """Return why a class cannot run a model whose scheduler configuration is `settings`, or None when it can.

    None of this would be an error of the library: it would draw something else.
    """
    own, predicts = settings.get("_class_name", library_class), settings.get("prediction_type", "epsilon")
    if library_class != own and own not in VARIANCE_PRESERVING:
        return f"the model's noise is that of {own}"
    if library_class != own and library_class != _EULER and settings.get("timestep_type") == "continuous":
        return "the model's timesteps are continuous"
    if library_class not in VARIANCE_PRESERVING:
        return None  # the model's own, of a kind that has no name here
    if predicts not in ("epsilon", "v_prediction", "sample"):
        return f"it knows no prediction of the type {predicts}"
    if predicts == "sample" and library_class in NOT_SAMPLES:
        return "it knows no prediction of the type sample"
    if has_zero_snr(settings):
        if library_class not in ZERO_SNR:
            return "it knows no zero terminal SNR"
        if predicts == "epsilon" and library_class not in FINITE:
            return "it cannot take a prediction of the noise where there is nothing but noise"
    return None


def most_steps(settings: Mapping[str, Any]) -> tuple[tuple[str | None, int], ...]:
    """Return the names that take no more than so many steps of a model whose scheduler configuration is `settings`.

    None among them is the model's own scheduler. More would be an error of the library's `set_timesteps`.
    """
    told = settings.get("original_inference_steps")
    most = told if isinstance(told, int) else USUAL_DISTILLED_STEPS
    names: list[str | None] = [name for name, kind in KINDS.items() if kind.library_class in DISTILLED]
    return tuple((name, most) for name in (*names, *([None] if settings.get("_class_name") in DISTILLED else [])))


def offered(settings: Mapping[str, Any]) -> Sequence[str]:
    """Return the names that can run a model whose scheduler configuration is `settings`."""
    return tuple(name for name in SCHEDULERS if refusal(KINDS[name].library_class, settings) is None)
