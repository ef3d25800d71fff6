"""Reads whatever bytes there are, and says what came of it: a result, or mistakes that can be told. Asserts nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minimon_server.errors import FieldMistake, InvalidRequest, PayloadTooLarge, Text


def mistakes_in(read: Callable[[bytes], object], body: bytes) -> Sequence[FieldMistake] | None:
    """Return the mistakes for which `read` refuses this body; None where it reads it. Other errors pass through."""
    try:
        read(body)
    except InvalidRequest as refused:
        return refused.fields
    except PayloadTooLarge as refused:
        return [FieldMistake("body", Text(refused.detail.fr, refused.detail.en))]
    return None


def well_told(mistakes: Sequence[FieldMistake] | None) -> bool:
    """Return whether this is a result, or a refusal that names fields in characters that an answer can carry."""
    if mistakes is None:
        return True
    texts = [text for one in mistakes for text in (one.field, one.message.fr, one.message.en)]
    return bool(texts) and all(text and text.encode() for text in texts)
