"""Whether a request can have the decoder that it asks for. Looks at no file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from minimon_server.engines.draft_decoder import FULL, SETTING, Decoder, DraftDecoder
from minimon_server.engines.model_info import ModelInfo
from minimon_server.errors import FieldMistake, Text

_NONE_HERE: Final = Text(
    f"aucun décodeur de brouillon ici : {SETTING} en nomme un, par exemple madebyollin/taesdxl",
    f"there is no draft decoder here: {SETTING} names one, for example madebyollin/taesdxl",
)


def decoder_mistakes(asked: Decoder, model: ModelInfo | None, draft: DraftDecoder | None) -> Iterator[FieldMistake]:
    """Yield what is wrong with the decoder that is asked for: none here, or one for other latents.

    `model` is None where nobody knows which one it is; a model whose latents nobody knows yet is judged by the engine.
    """
    if asked == FULL:
        return
    if draft is None:
        yield FieldMistake("decoder", _NONE_HERE)
    elif model is not None and model.latents is not None and (why := draft.misfit(model.latents)) is not None:
        yield FieldMistake("decoder", why)
