"""How weights change what an encoder made of a chunk, written into its place: A1111's rule. Encodes nothing.

That is `EmphasisOriginal` in modules/sd_emphasis.py, AUTOMATIC1111/stable-diffusion-webui 1.10: hidden states, begin,
end and padding among them, times the token's weight; then all of the chunk by what restores its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from minimon_server.engines.prompt_chunks import Chunk

_LARGEST: Final = torch.finfo(torch.float32).max


def weights_of(chunks: Sequence[Chunk], tokens: int, device: torch.device) -> dict[int, torch.Tensor]:
    """Return the weights of those chunks that have some other than 1, [tokens, 1], by the chunk's `id`.

    Begin, end and padding weigh 1.
    """
    weighed = {id(chunk): chunk.weights for chunk in chunks if chunk.weights.count(1.0) != len(chunk.weights)}
    if not weighed:
        return {}
    rows = [[1.0, *weights, *[1.0] * (tokens - 1 - len(weights))] for weights in weighed.values()]
    every = torch.tensor(rows, dtype=torch.float32, device=device).unsqueeze(2)
    return dict(zip(weighed, every.unbind(), strict=True))


def place(
    rows: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor | None],
    often: Sequence[int],
    slots: Sequence[torch.Tensor],
) -> bool:
    """Write hidden states [1, tokens, width] times their weights into `slots`, with the mean that all had before.

    `weights` are [tokens, 1], or None where all are 1; `often` is how often each row counts in the mean. Return False
    where weights cancel each other out: there is no mean to restore then, and none is.
    """
    if all(weight is None for weight in weights):
        for row, slot in zip(rows, slots, strict=True):
            slot.copy_(row)
        return True
    plain = [row.float() for row in rows]
    weighed = [row if weight is None else row * weight for row, weight in zip(plain, weights, strict=True)]
    ratio = _ratio(_mean(plain, often), _mean(weighed, often))
    for row, slot in zip(weighed, slots, strict=True):
        if ratio is None:
            slot.copy_(row)
        else:
            torch.mul(row, ratio, out=slot)
    return ratio is not None


def _ratio(before: float, after: float) -> float | None:
    """Return the quotient, or None where float32 cannot hold one."""
    # In double precision, and rounded to float32 as it multiplies: that is the float32 quotient of float32 numbers.
    ratio = before / after if after else float("nan")
    return ratio if abs(ratio) <= _LARGEST else None


def _mean(rows: Sequence[torch.Tensor], often: Sequence[int]) -> float:
    if len(rows) == 1:
        return float(rows[0].mean())
    return sum(float(row.mean()) * times for row, times in zip(rows, often, strict=True)) / sum(often)
