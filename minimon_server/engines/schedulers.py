"""The schedulers by the names that users know, as plain data. Imports no library: `sdxl` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class SchedulerKind:
    """One scheduler: the library's class, what differs from the model's own configuration, and A1111's name for it."""

    library_class: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)


# Every option that tells two names of one class apart stands in both: a model whose own configuration has Karras sigmas
# must not turn `euler` into something else.
_PLAIN: Final = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
_KARRAS: Final = _PLAIN | {"use_karras_sigmas": True}
_2M: Final = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}
_2M_SDE: Final = _2M | {"algorithm_type": "sde-dpmsolver++"}
_DPM: Final = "DPMSolverMultistepScheduler"

KINDS: Final[Mapping[str, SchedulerKind]] = {
    "euler": SchedulerKind("EulerDiscreteScheduler", "Euler", _PLAIN),
    "euler_karras": SchedulerKind("EulerDiscreteScheduler", "Euler Karras", _KARRAS),
    "euler_a": SchedulerKind("EulerAncestralDiscreteScheduler", "Euler a"),
    "heun": SchedulerKind("HeunDiscreteScheduler", "Heun", _PLAIN),
    "dpmpp_2m": SchedulerKind(_DPM, "DPM++ 2M", _2M | _PLAIN),
    "dpmpp_2m_karras": SchedulerKind(_DPM, "DPM++ 2M Karras", _2M | _KARRAS),
    "dpmpp_2m_sde": SchedulerKind(_DPM, "DPM++ 2M SDE", _2M_SDE | _PLAIN),
    "dpmpp_2m_sde_karras": SchedulerKind(_DPM, "DPM++ 2M SDE Karras", _2M_SDE | _KARRAS),
    "ddim": SchedulerKind("DDIMScheduler", "DDIM"),
    "ddpm": SchedulerKind("DDPMScheduler", "DDPM"),
    "unipc": SchedulerKind("UniPCMultistepScheduler", "UniPC", _PLAIN),
    "lcm": SchedulerKind("LCMScheduler", "LCM"),
}

# The names that a request may hold; None in a request means the model's own.
SCHEDULERS: Final = tuple(KINDS)
