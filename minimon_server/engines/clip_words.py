"""The vocabulary of CLIP's tokenizers, from the server's own file: SDXL has no other. Tokenizes nothing itself.

The file holds CLIP's 48,894 merges, one a line, as OpenAI published them (clip_merges.LICENSE); the vocabulary follows
from them (openai/CLIP, clip/simple_tokenizer.py).
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

MERGES: Final = Path(__file__).with_name("clip_merges.txt.gz")
DIGEST: Final = "d308b7377a8ceaa9707a21614fe8c831b9196e197b7aeb69833359362907af02"  # SHA-256 of what is packed in it
BEGIN: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"
END_OF_WORD: Final = "</w>"

Merge = tuple[str, str]


@lru_cache(maxsize=1)
def clip_words(path: Path = MERGES) -> tuple[dict[str, int], list[Merge]]:
    """Return the vocabulary, 49,408 words with their numbers, and the merges, in the order in which they count.

    Raise `OSError` when the file cannot be read, `ValueError` when it is not the one that this server came with.
    """
    with gzip.open(path, "rb") as file:
        said = file.read()
    if sha256(said).hexdigest() != DIGEST:
        raise ValueError(f"{path.name} is damaged: install the server anew")
    merges = [(first, second) for first, _, second in (line.partition(" ") for line in said.decode().splitlines())]
    alphabet = _alphabet()
    words = [*alphabet, *(mark + END_OF_WORD for mark in alphabet), *(first + second for first, second in merges)]
    return {word: number for number, word in enumerate([*words, BEGIN, END])}, merges


def _alphabet() -> list[str]:
    """Return a printable character for each of the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*map(chr, printable), *(chr(256 + number) for number in range(256 - len(printable)))]
