"""From weighed words to the chunks of tokens that a text encoder reads: nothing is cut. Encodes nothing.

The rule is that of `tokenize_line` in AUTOMATIC1111/stable-diffusion-webui 1.10 (modules/sd_hijack_clip.py) with its
usual setting of 20 tokens for the comma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from minimon_server.engines.prompt_syntax import Piece
from minimon_server.engines.prompt_tokens import Tokens
from minimon_server.engines.textual_inversion import Embedding, Find, nothing_trained

# Where a chunk is full, it ends after its last comma, if that is no farther back than this many tokens.
COMMA_BACKTRACK: Final = 20


@dataclass(slots=True)
class Chunk:
    """Tokens that are read together, without begin, end and padding; `words` are trained ones and where they begin.

    A trained word's places hold token 0, and are overwritten with its vectors.
    """

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    words: list[tuple[int, Embedding]] = field(default_factory=list)

    def cut(self, at: int) -> Chunk:
        """Take away what stands from `at` on, and return it."""
        taken = Chunk(
            self.ids[at:], self.weights[at:], [(start - at, word) for start, word in self.words if start >= at]
        )
        self.ids, self.weights = self.ids[:at], self.weights[:at]
        self.words = [(start, word) for start, word in self.words if start < at]
        return taken


@dataclass(frozen=True, slots=True)
class Cutter:
    """One tokenizer's tokens, the `room` of its encoder's chunks, and who knows the trained words."""

    tokens: Tokens
    room: int
    find: Find

    def cut(self, sections: Sequence[Sequence[Piece]]) -> list[Chunk]:
        """Return the chunks of a text whose pieces are learnt, at least one; each section begins one of its own."""
        filling = _Filling(self)
        for number, section in enumerate(sections):
            if number:
                filling.close()
            for piece in section:
                filling.add(self.tokens.of(piece.text), piece.weight)
        if filling.chunk.ids or not filling.done:
            filling.close()
        return filling.done

    def cuts_like(self, other: Cutter, sections: Sequence[Sequence[Piece]]) -> bool:
        """Whether `other` makes the same chunks of a text: the same tokens, the same room, and no trained words."""
        if (self.room, self.tokens.comma) != (other.room, other.tokens.comma):
            return False
        if not (self.find is other.find is nothing_trained):
            return False
        texts = (piece.text for section in sections for piece in section)
        return all(self.tokens.of(text) is other.tokens.of(text) for text in texts)


class _Filling:
    """Chunks as they fill."""

    def __init__(self, cutter: Cutter) -> None:
        self._room = cutter.room
        self._find = cutter.find
        self._comma = cutter.tokens.comma
        self.done: list[Chunk] = []
        self.chunk = Chunk()
        self._last_comma: int | None = None

    def close(self) -> None:
        """End the chunk, full or not, and begin the next."""
        self.done.append(self.chunk)
        self.chunk = Chunk()
        self._last_comma = None

    def add(self, ids: list[int], weight: float) -> None:
        """Add the tokens of one piece."""
        if self._find is nothing_trained and len(self.chunk.ids) + len(ids) <= self._room:
            self._add_whole(ids, weight)
            return
        at = 0
        while at < len(ids):
            if ids[at] == self._comma:
                self._last_comma = len(self.chunk.ids)
            else:
                self._break_after_comma()
            if len(self.chunk.ids) == self._room:
                self.close()
            at += self._add_one(ids, at, weight)

    def _add_whole(self, ids: list[int], weight: float) -> None:
        """Add plain tokens that the chunk has room for: nothing can break among them."""
        if self._comma in ids:
            self._last_comma = len(self.chunk.ids) + len(ids) - 1 - ids[::-1].index(self._comma)
        self.chunk.ids += ids
        self.chunk.weights += [weight] * len(ids)

    def _add_one(self, ids: list[int], at: int, weight: float) -> int:
        """Add a token, or the trained word that begins with it; return how many tokens of the text that was."""
        found = self._find(ids, at)
        if found is None:
            self.chunk.ids.append(ids[at])
            self.chunk.weights.append(weight)
            return 1
        word, length = found
        if len(self.chunk.ids) + word.count > self._room:
            self.close()
        self.chunk.words.append((len(self.chunk.ids), word))
        self.chunk.ids += [0] * word.count
        self.chunk.weights += [weight] * word.count
        return length

    def _break_after_comma(self) -> None:
        full, comma = len(self.chunk.ids) == self._room, self._last_comma
        if full and comma is not None and self._room - comma <= COMMA_BACKTRACK:
            following = self.chunk.cut(comma + 1)
            self.close()
            self.chunk = following
