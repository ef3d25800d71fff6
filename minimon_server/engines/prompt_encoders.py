"""One text encoder with its tokenizer: a chunk of tokens in, hidden states out. Knows no syntax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

from minimon_server.engines.captured_graphs import captured_of
from minimon_server.engines.prompt_chunks import Chunk

# What makes two chunks the same to an encoder: the encoder, its tokens, and the trained words among them.
Key = tuple[int, tuple[int, ...], tuple[tuple[int, int], ...]]


NO_CHUNK: Final = Chunk()  # what fills up a text that is shorter than another


@dataclass(frozen=True, slots=True)
class Row:
    """What an encoder makes of one chunk: [1, tokens, width] of one layer, and the encoder's first output."""

    hidden: torch.Tensor
    pooled: torch.Tensor


class Encoder:
    """One tokenizer with its network; what it is asked of them again and again is looked up once."""

    def __init__(self, number: int, tokenizer: Any, network: Any) -> None:
        config = network.config
        self.number = number  # 0 or 1: which of the vectors of a trained word are its own
        self.tokenizer = tokenizer
        self.room = min(int(tokenizer.model_max_length), int(config.max_position_embeddings)) - 2  # between begin, end
        self.layers = int(config.num_hidden_layers)  # that `clip_skip` can count
        self.width = int(config.hidden_size)  # of a token's vector
        self.dtype: torch.dtype = network.dtype
        self.device: torch.device = network.device
        self._network = network
        self._begin, self._end, self._padding = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id

    @property
    def row_bytes(self) -> int:
        """How many bytes the hidden states of one chunk take."""
        return (self.room + 2) * self.width * int(self.dtype.itemsize)

    def key(self, chunk: Chunk) -> Key:
        """Return what makes this chunk one that was encoded before."""
        return self.number, tuple(chunk.ids), tuple((at, id(word)) for at, word in chunk.words)

    def rows(self, chunks: Sequence[Chunk]) -> tuple[torch.Tensor, ...]:
        """Return each chunk with its begin, its end and what fills it up, [1, tokens]."""
        rows = [
            [self._begin, *chunk.ids, self._end, *[self._padding] * (self.room - len(chunk.ids))] for chunk in chunks
        ]
        return torch.tensor(rows, device=self.device).unsqueeze(1).unbind()

    def run(self, chunk: Chunk, row: torch.Tensor, layer: int) -> Row:
        """Encode one chunk, of which `rows` made `row`; return the hidden states of `layer`, counted from the end.

        One at a time: so a chunk gives the same numbers whatever stands beside it.
        """
        if chunk.words:
            with self._trained(chunk):
                said = self._network(row, output_hidden_states=True)
        elif (graphs := captured_of(self._network)) is not None:
            return Row(*graphs(row, layer=layer))
        else:
            said = self._network(row, output_hidden_states=True)
        return Row(said.hidden_states[-layer], said[0])

    @contextmanager
    def _trained(self, chunk: Chunk) -> Iterator[None]:
        """Let the vectors of trained words stand in for what the token embeddings give at their places."""

        def stand_in(_: torch.nn.Module, __: tuple[Any, ...], given: torch.Tensor) -> torch.Tensor:
            given = given.clone()
            for at, word in chunk.words:
                given[0, at + 1 : at + 1 + word.count] = word.vectors[self.number].to(given)
            return given

        hook = self._network.get_input_embeddings().register_forward_hook(stand_in)
        try:
            yield
        finally:
            hook.remove()
