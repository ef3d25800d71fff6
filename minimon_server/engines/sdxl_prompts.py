"""From words to what the UNet is told: both text encoders, over as many chunks as the words need. Cuts nothing.

A prompt of one chunk gives exactly what the library's `encode_prompt` gives. A longer one is encoded 75 tokens at a
time and the chunks are laid end to end, as A1111 does; the pooled embedding is the first chunk's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from minimon_server.engines.messages import EngineFault

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

PENULTIMATE = 2  # the layer that SDXL was trained on, counted from the end


@dataclass(frozen=True, slots=True)
class Spoken:
    """A prompt and its negative as embeddings, and how much of each there was."""

    prompt: torch.Tensor
    pooled: torch.Tensor
    negative: torch.Tensor | None
    negative_pooled: torch.Tensor | None
    tokens: int
    chunks: int


@dataclass(frozen=True, slots=True)
class _Reader:
    """One tokenizer with its encoder."""

    tokenizer: Any
    encoder: Any

    @property
    def room(self) -> int:
        """Tokens of a chunk, less the begin and the end."""
        return min(int(self.tokenizer.model_max_length), int(self.encoder.config.max_position_embeddings)) - 2

    def chunks(self, text: str) -> list[list[int]]:
        ids = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        return [ids[at : at + self.room] for at in range(0, len(ids), self.room)] or [[]]

    def encode(self, chunks: list[list[int]], layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the hidden states of all chunks, laid end to end, and the pooled embedding of the first."""
        tokenizer = self.tokenizer
        begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        rows = [[begin, *ids, end] + [pad] * (self.room - len(ids)) for ids in chunks]
        # One chunk at a time: a chunk gives the same numbers whatever follows it.
        said = [
            self.encoder(torch.tensor([row], device=self.encoder.device), output_hidden_states=True) for row in rows
        ]
        return torch.cat([one.hidden_states[-layer] for one in said], dim=1), said[0][0]


@torch.no_grad()
def encode(pipeline: StableDiffusionXLPipeline, prompt: str, negative: str | None, clip_skip: int | None) -> Spoken:
    """Return the embeddings of `prompt`, and of `negative` unless it is None: then there is no guidance.

    `clip_skip` counts as A1111 does: 1 is the last layer, 2 the one before, which is SDXL's own and what None means.
    The negative prompt always takes SDXL's own, as in the library. An empty negative prompt is all zeros where the
    model's settings say so.
    """
    readers = [
        _Reader(pipeline.tokenizer, pipeline.text_encoder),
        _Reader(pipeline.tokenizer_2, pipeline.text_encoder_2),
    ]
    layer = PENULTIMATE if clip_skip is None else clip_skip
    layers = min(int(reader.encoder.config.num_hidden_layers) for reader in readers)
    if not 1 <= layer <= layers:
        raise EngineFault(f"clip_skip may be 1 to {layers} with this model.")
    said = [reader.chunks(prompt) for reader in readers]
    unsaid = [reader.chunks(negative or "") for reader in readers]
    count = max(len(chunks) for chunks in [*said, *(unsaid if negative else [])])
    words, pooled = _both(pipeline, readers, said, count, layer)
    tokens = max(sum(map(len, chunks)) for chunks in said)
    if negative is None:
        return Spoken(words, pooled, None, None, tokens, count)
    if not negative and pipeline.config["force_zeros_for_empty_prompt"]:
        return Spoken(words, pooled, torch.zeros_like(words), torch.zeros_like(pooled), tokens, count)
    negative_words, negative_pooled = _both(pipeline, readers, unsaid, count, PENULTIMATE)
    return Spoken(words, pooled, negative_words, negative_pooled, tokens, count)


def _both(
    pipeline: StableDiffusionXLPipeline,
    readers: list[_Reader],
    said: list[list[list[int]]],
    count: int,
    layer: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode through both encoders, with empty chunks at the end where one text is shorter than the other."""
    padded = [chunks + [[]] * (count - len(chunks)) for chunks in said]
    encoded = [reader.encode(chunks, layer) for reader, chunks in zip(readers, padded, strict=True)]
    words = torch.cat([hidden for hidden, _ in encoded], dim=-1)
    # The pooled embedding is the second encoder's, as in SDXL's training.
    return words.to(dtype=pipeline.text_encoder_2.dtype), encoded[-1][1]
