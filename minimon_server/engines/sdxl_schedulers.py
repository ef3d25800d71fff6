"""A scheduler of the library for one picture, from a model's own configuration and a name. Draws nothing."""

from __future__ import annotations

import copy
import inspect
from typing import Any
from weakref import WeakKeyDictionary

import diffusers

from minimon_server.engines.messages import EngineFault
from minimon_server.engines.schedulers import KINDS, has_zero_snr, refusal

# What each model's scheduler was seen to take: names of schedulers with numbers of steps.
_TAKEN: WeakKeyDictionary[Any, set[tuple[str | None, int]]] = WeakKeyDictionary()
# For each model's scheduler, those that were made for it and are only ever copied, by their names.
_UNUSED: WeakKeyDictionary[Any, dict[str | None, Any]] = WeakKeyDictionary()


def refuse_steps(own: Any, name: str | None, steps: int) -> None:
    """Raise `EngineFault` where a scheduler cannot part this model's noise into so many steps.

    To learn that takes a scheduler, which takes longer than anything else before the first step: so it is learnt once.
    """
    taken = _TAKEN.setdefault(own, set())
    if (name, steps) in taken:
        return
    try:
        fresh(own, name).set_timesteps(steps)
    except ValueError as error:
        raise EngineFault(f"This scheduler refuses {steps} steps of this model: {error}") from None
    taken.add((name, steps))


def fresh(own: Any, name: str | None) -> Any:
    """Return a scheduler that no picture has used: they keep state. `own` is the model's, `name` None means its class.

    A copy of one that is made once for each model: to make one takes 0.3 to 200 ms, to copy it 0.1 to 0.4. Raise
    `EngineFault` where the class would draw something else than the model means.
    """
    unused = _UNUSED.setdefault(own, {})
    if name not in unused:
        unused[name] = _made(own, name)
    return copy.deepcopy(unused[name])


def _made(own: Any, name: str | None) -> Any:
    """Return a scheduler of the library.

    A model of zero terminal SNR begins at its last timestep, "trailing", whatever its files say: from any other it
    would begin with noise that it has never seen (Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps
    are Flawed", section 3.3).
    """
    settings = {"_class_name": type(own).__name__, **own.config}
    library_class = type(own).__name__ if name is None else KINDS[name].library_class
    if (reason := refusal(library_class, settings)) is not None:
        raise EngineFault(f"{name or library_class} cannot draw with this model: {reason}.")
    kind: Any = type(own) if name is None else getattr(diffusers, library_class)
    options = {} if name is None else dict(KINDS[name].options)
    if has_zero_snr(settings):
        options["timestep_spacing"] = "trailing"
    known = inspect.signature(kind.__init__).parameters
    return kind.from_config(own.config, **{key: value for key, value in options.items() if key in known})
