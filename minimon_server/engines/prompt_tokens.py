"""Texts as token numbers, each read once, also where two text encoders read alike. Knows no weight and no chunk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from weakref import WeakKeyDictionary

COMMA: Final = ",</w>"  # how CLIP's vocabulary spells one that ends a word


class Tokens:
    """What one tokenizer makes of texts. Those of a request are learnt together, each different one once.

    `first` are the tokens of a tokenizer that reads every text alike in which none of the words `apart` stands.
    """

    def __init__(self, tokenizer: Any, first: Tokens | None = None, apart: frozenset[str] = frozenset()) -> None:
        self.tokenizer = tokenizer
        self._first = first
        self._apart = apart
        self._known: dict[str, list[int]] = {}
        comma = tokenizer.convert_tokens_to_ids(COMMA)  # the unknown token where it has none
        self.comma: int | None = comma if tokenizer.convert_ids_to_tokens(comma) == COMMA else None

    def learn(self, texts: Iterable[str]) -> None:
        """Read the texts that are not known yet."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if self._first is not None:
            same = [text for text in new if not any(word in text for word in self._apart)]
            self._first.learn(same)
            self._known.update((text, self._first.of(text)) for text in same)
            new = [text for text in new if text not in self._known]
        if new:
            self._known.update(zip(new, _read(self.tokenizer, new), strict=True))

    def of(self, text: str) -> list[int]:
        """Return the token numbers of a text that was learnt: without begin, end and padding, and uncut.

        The list is the same one for each tokenizer that reads it alike.
        """
        return self._known[text]


def _read(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the token numbers of texts, as the tokenizer's own call without special tokens gives them.

    One after the other: the library's batch parts so little among threads, which costs more than it brings, and waits
    for processors that are busy.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        found: list[list[int]] = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)[
            "input_ids"
        ]
        return found
    # Whoever called it last may have left it cutting and filling up.
    backend.no_truncation()
    backend.no_padding()
    return [backend.encode(text, add_special_tokens=False).ids for text in texts]


def tokens_of(tokenizers: Sequence[Any]) -> list[Tokens]:
    """Return the tokens of each tokenizer; one that reads like the first asks it, where it does.

    SDXL's two have one vocabulary, and differ in what fills a chunk up: "!" is a word of its own to the second.
    """
    first = Tokens(tokenizers[0])
    return [first, *(_after(first, tokenizer) for tokenizer in tokenizers[1:])]


def _after(first: Tokens, tokenizer: Any) -> Tokens:
    if tokenizer is first.tokenizer:
        return first
    one, other = _reading(first.tokenizer), _reading(tokenizer)
    if one is None or other is None or one.digest != other.digest:
        return Tokens(tokenizer)
    differ = one.added ^ other.added
    # A word that is looked for in smaller letters, or without blanks around it, is not found by looking for it.
    if any(token.is_loose for token in differ):
        return Tokens(tokenizer)
    return Tokens(tokenizer, first, frozenset(token.content for token in differ))


@dataclass(frozen=True, slots=True)
class _Added:
    """A word that a tokenizer looks for before it reads the rest."""

    content: str
    number: int
    is_loose: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """What decides the tokens of a text: a digest of all but the added words, and those."""

    digest: str
    added: frozenset[_Added]


# Of each tokenizer, computed once: it takes all of the vocabulary.
_READINGS: WeakKeyDictionary[Any, _Reading] = WeakKeyDictionary()


def _reading(tokenizer: Any) -> _Reading | None:
    """Return how a tokenizer reads, or None where it cannot be told: one that is written in Python."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    if tokenizer not in _READINGS:
        whole = json.loads(backend.to_str())
        added = frozenset(_Added(one["content"], one["id"], _is_loose(one)) for one in whole["added_tokens"])
        said = json.dumps([whole[name] for name in ("normalizer", "pre_tokenizer", "model")], sort_keys=True)
        _READINGS[tokenizer] = _Reading(sha256(said.encode()).hexdigest(), added)
    return _READINGS[tokenizer]


def _is_loose(token: dict[str, Any]) -> bool:
    return any(token[name] for name in ("normalized", "single_word", "lstrip", "rstrip"))
