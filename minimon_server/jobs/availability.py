"""Whether what a request names can be used now, and what is said when it cannot. Looks at no disk."""

from __future__ import annotations

from collections.abc import Mapping

from minimon_server.engines.model_info import IpAdapterInfo, LoraInfo, ModelInfo
from minimon_server.errors import Text
from minimon_server.jobs.errors import ModelNotAvailable


def check_use(one: ModelInfo | LoraInfo | IpAdapterInfo) -> None:
    """Raise `ModelNotAvailable` with the reason, and with what brings it, when it cannot be used now."""
    if why := one.unavailable:
        how = one.how or Text("", "")
        fr, en = f"{one.id} {why.fr}. {how.fr}".strip(), f"{one.id} {why.en}. {how.en}".strip()
        raise ModelNotAvailable(Text(fr, en))


def check_that_one_is_there(asked: str | None, models: Mapping[str, ModelInfo]) -> None:
    """Raise `ModelNotAvailable` where no model can be used now, with what brings the one that is asked for, or one."""
    if any(model.unavailable is None for model in models.values()):
        return
    if asked and asked in models:
        check_use(models[asked])
    for model in models.values():
        if model.how:
            raise ModelNotAvailable(
                Text(
                    f"Aucun modèle n'est installé ; pour {model.id} : {model.how.fr}",
                    f"No model is installed; for {model.id}: {model.how.en}",
                )
            )
    raise ModelNotAvailable
