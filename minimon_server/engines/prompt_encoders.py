"""One text encoder with its tokenizer: a chunk of tokens in, hidden states out. Knows no syntax."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from minimon_server.engines.prompt_chunks import Chunk

# What makes two chunks the same to an encoder: the encoder, its tokens, and the trained words among them.
Key = tuple[int, tuple[int, ...], tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True)
class Row:
    """What an encoder makes of one chunk: [1, tokens, width] of one layer, and the encoder's first output."""

    hidden: torch.Tensor
    pooled: torch.Tensor


@dataclass(frozen=True, slots=True)
class Encoder:
    """One tokenizer with its network."""

    number: int  # 0 or 1: which of the vectors of a trained word are its own
    tokenizer: Any
    network: Any

    @property
    def room(self) -> int:
        """Tokens of a chunk, less the begin and the end."""
        return min(int(self.tokenizer.model_max_length), int(self.network.config.max_position_embeddings)) - 2

    @property
    def layers(self) -> int:
        """How many layers `clip_skip` can count."""
        return int(self.network.config.num_hidden_layers)

    @property
    def width(self) -> int:
        """How wide a token's vector is."""
        return int(self.network.config.hidden_size)

    @property
    def row_bytes(self) -> int:
        """How many bytes the hidden states of one chunk take."""
        return (self.room + 2) * self.width * int(self.network.dtype.itemsize)

    def key(self, chunk: Chunk) -> Key:
        """Return what makes this chunk one that was encoded before."""
        return self.number, tuple(chunk.ids), tuple((at, id(word)) for at, word in chunk.words)

    def weights(self, chunk: Chunk) -> torch.Tensor | None:
        """Return the weight of every token, [tokens, 1], 1 for begin, end and padding; None where all are 1."""
        if all(weight == 1.0 for weight in chunk.weights):
            return None
        after = [1.0] * (self.room - len(chunk.weights) + 1)
        return torch.tensor([1.0, *chunk.weights, *after], device=self.network.device).unsqueeze(1)

    def run(self, chunk: Chunk, layer: int) -> Row:
        """Encode one chunk, and return the hidden states of `layer`, counted from the end.

        One at a time: so a chunk gives the same numbers whatever stands beside it.
        """
        tokenizer = self.tokenizer
        padding = [tokenizer.pad_token_id] * (self.room - len(chunk.ids))
        row = [tokenizer.bos_token_id, *chunk.ids, tokenizer.eos_token_id, *padding]
        with self._trained(chunk):
            said = self.network(torch.tensor([row], device=self.network.device), output_hidden_states=True)
        return Row(said.hidden_states[-layer], said[0])

    @contextmanager
    def _trained(self, chunk: Chunk) -> Iterator[None]:
        """Let the vectors of trained words stand in for what the token embeddings give at their places."""
        if not chunk.words:
            yield
            return

        def stand_in(_: torch.nn.Module, __: tuple[Any, ...], given: torch.Tensor) -> torch.Tensor:
            given = given.clone()
            for at, word in chunk.words:
                given[0, at + 1 : at + 1 + word.count] = word.vectors[self.number].to(given)
            return given

        hook = self.network.get_input_embeddings().register_forward_hook(stand_in)
        try:
            yield
        finally:
            hook.remove()
