"""The tokenizer: learns its pieces from captions of the training creatures and is stored as CLIP's are."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from transformers import CLIPTokenizer

from tools.tiny.captions import caption
from tools.tiny.creatures import training_traits
from tools.tiny.mots import FRENCH
from tools.tiny.words import ENGLISH

LENGTH: Final = 77
CAPTIONS: Final = 12_000
MERGES: Final = 1_600
RAREST: Final = 4
END_OF_WORD: Final = "</w>"
BEGIN: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"
WORD: Final = re.compile(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+")

Pair = tuple[str, str]


def byte_alphabet() -> list[str]:
    """Return a printable character for each of the 256 bytes, as byte-level tokenizers have it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(moved)) for byte in range(256)]


def learn_tokenizer(folder: Path, captions: int = CAPTIONS) -> None:
    """Write `vocab.json` and `merges.txt`; the same captions always give the same files."""
    alphabet = byte_alphabet()
    counts: Counter[str] = Counter()
    for index in range(captions):
        text = caption(training_traits(index), random.Random(f"tokens/{index}")).text
        counts.update(WORD.findall(text.lower()))
    for language in (ENGLISH, FRENCH):  # what is rarely said is to be one piece, too
        for phrase in (text for values in language.values() for text in values.values()):
            counts.update(WORD.findall(phrase.lower()) * RAREST)
    spelled = {
        (*(alphabet[byte] for byte in word.encode()[:-1]), alphabet[word.encode()[-1]] + END_OF_WORD): count
        for word, count in counts.items()
    }
    merges = _learn_merges(spelled)
    pieces = [*alphabet, *(letter + END_OF_WORD for letter in alphabet), *("".join(pair) for pair in merges)]
    pieces = [*dict.fromkeys(pieces), BEGIN, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _learn_merges(spelled: dict[tuple[str, ...], int]) -> list[Pair]:
    """Return the pairs to merge, the most frequent first; of equals the first by alphabet."""
    merges: list[Pair] = []
    while len(merges) < MERGES:
        pairs: Counter[Pair] = Counter()
        for pieces, count in spelled.items():
            for pair in pairwise(pieces):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < RAREST:
            break
        merges.append(best)
        spelled = {_merged(pieces, best): count for pieces, count in spelled.items()}
    return merges


def _merged(pieces: tuple[str, ...], pair: Pair) -> tuple[str, ...]:
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] += piece
        else:
            found.append(piece)
    return tuple(found)


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder."""
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH)


def token_rows(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the tokens of each text, cut and filled to one length."""
    rows: list[list[int]] = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    return rows
