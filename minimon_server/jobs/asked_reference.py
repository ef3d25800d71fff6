"""From the reference picture of a request to the IP-Adapter that reads it. Looks at no file, and reads no picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from minimon_server.engines.messages import IpAdapterUse
from minimon_server.engines.model_info import IpAdapterInfo, ModelInfo
from minimon_server.errors import FieldMistake, Text
from minimon_server.jobs.asked_adapters import none_such
from minimon_server.jobs.availability import check_use
from minimon_server.jobs.errors import ModelNotAvailable

if TYPE_CHECKING:
    from minimon_server.jobs.drawing import Asked

# That of the adapter's authors where a prompt is to count as well (tencent-ailab/IP-Adapter, ip_adapter_sdxl_demo).
USUAL_SCALE: Final = 0.6
LARGEST_SCALE: Final = 2.0
NO_IP_ADAPTERS: Final[Mapping[str, IpAdapterInfo]] = MappingProxyType({})
_NEEDS_REFERENCE: Final = Text("demande ip_adapter_image", "needs ip_adapter_image")
_NONE_KNOWN: Final = Text(
    "Aucun IP-Adapter n'est connu ici, et ip_adapter_image en demande un : nommez-en un dans models/catalog.toml "
    '([[part]], kind = "ip-adapter"), ou mettez son dossier sous models/ip-adapter/.',
    "No IP-Adapter is known here, and ip_adapter_image needs one: name one in models/catalog.toml "
    '([[part]], kind = "ip-adapter"), or put its folder into models/ip-adapter/.',
)


def reference_mistakes(
    asked: Asked, model: ModelInfo | None, there: Mapping[str, IpAdapterInfo]
) -> Iterator[FieldMistake]:
    """Yield what is wrong with what is asked of a reference picture: nothing to read, no such adapter, another base.

    `model` is None where nobody knows which one it is.
    """
    if asked.ip_adapter_image is None:
        if asked.ip_adapter is not None:
            yield FieldMistake("ip_adapter", _NEEDS_REFERENCE)
        if asked.ip_adapter_scale is not None:
            yield FieldMistake("ip_adapter_scale", _NEEDS_REFERENCE)
    elif asked.ip_adapter is not None and asked.ip_adapter not in there:
        yield FieldMistake("ip_adapter", none_such(there))
    elif model is not None and there:
        named = asked.ip_adapter
        others = [one for name, one in there.items() if named in (None, name) and not _fits(one, model)]
        if len(others) == (len(there) if named is None else 1):
            yield FieldMistake("ip_adapter" if named else "ip_adapter_image", _other_base(others[0], model))


def reference_of(asked: Asked, model: ModelInfo, there: Mapping[str, IpAdapterInfo]) -> IpAdapterUse | None:
    """Return the use of an IP-Adapter by a request without mistakes: the one that is named, else the first that fits
    and is there. Raise `ModelNotAvailable` where it cannot be used now, with what would change that.
    """
    if asked.ip_adapter_image is None:
        return None
    if not there:
        raise ModelNotAvailable(_NONE_KNOWN)
    fitting = [one for one in there.values() if _fits(one, model)]
    usable = [one for one in fitting if one.unavailable is None]
    one = there[asked.ip_adapter] if asked.ip_adapter else (*usable, *fitting)[0]
    check_use(one)
    scale = USUAL_SCALE if asked.ip_adapter_scale is None else asked.ip_adapter_scale
    return IpAdapterUse(one.id, asked.ip_adapter_image, scale)


def _fits(one: IpAdapterInfo, model: ModelInfo) -> bool:
    return "unknown" in (one.base, model.base) or one.base == model.base


def _other_base(one: IpAdapterInfo, model: ModelInfo) -> Text:
    return Text(
        f"{one.id} est fait pour {one.base} ; {model.id} est un modèle {model.base}",
        f"{one.id} is made for {one.base}; {model.id} is a model of {model.base}",
    )
