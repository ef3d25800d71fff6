"""Several pictures of one request as a batch, and how many are decoded at once. Draws no single picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import torch

from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.sdxl_decoding import Decoded, Decoding
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_numbers import NotANumber
from minimon_server.engines.sdxl_prompts import Spoken
from minimon_server.engines.sdxl_rows import Row, Rows, can_stand_in_rows

WIDEST: Final = 8  # pictures side by side: beyond, a larger batch gained next to nothing where it was measured


class Drawn(Protocol):
    """One request over a loaded model, see `sdxl_drawing.Drawing`."""

    request: DrawRequest
    done: int

    def row(self, number: int, spoken: Spoken, told: Callable[[Row], None]) -> Row:
        """Return one picture as a row."""

    def after(self, row: Row) -> None:
        """Tell of a row's last evaluation."""

    def latents(self, number: int, spoken: Spoken) -> torch.Tensor:
        """Draw one picture alone."""


def is_drawn_as_batch(request: DrawRequest, pipeline: Any) -> bool:
    """Return whether the pictures of a request are evaluated together: never where they must be exact."""
    if request.exact or len(request.seeds) < 2 or not can_stand_in_rows(pipeline):
        return False
    return replace(request, seeds=request.seeds[:1]).company is not None


def decoded_in_turn(
    ladder: Ladder, latents: Sequence[torch.Tensor], tell: Callable[[int], None]
) -> Iterator[Decoded | EngineFault]:
    """Yield the pixels of all these latents in their order; `tell` hears how many were begun before each decoding.

    The next ones are begun before those before are waited for: the device decodes while pixels become pictures.
    """
    begun, flying = 0, None
    while begun < len(latents):
        tell(begun)
        following = ladder.run("decoding", partial(_Begun, ladder, latents[begun:]))
        begun += len(following)
        if flying is not None:
            yield from ladder.run("decoding", flying.landed)
        flying = following
    if flying is not None:
        yield from ladder.run("decoding", flying.landed)


class _Begun:
    """Pictures that are being decoded, with the rungs that were taken when that began."""

    def __init__(self, ladder: Ladder, latents: Sequence[torch.Tensor]) -> None:
        self._ladder, self._rungs = ladder, tuple(ladder.taken)
        self._decoding = Decoding(ladder.decoder, latents[: ladder.width])

    def __len__(self) -> int:
        return len(self._decoding)

    def landed(self) -> list[Decoded | EngineFault]:
        return [one if isinstance(one, EngineFault) else self._told(one) for one in self._decoding.landed()]

    def _told(self, found: Decoded) -> Decoded:
        # What was decoded a second time was so just now.
        return replace(found, rungs=tuple(self._ladder.taken) if found.is_second else self._rungs)


def next_decoded(ladder: Ladder, latents: Sequence[torch.Tensor]) -> list[Decoded | EngineFault]:
    """Return the pixels of the first of these latents: of as many as are decoded at once now."""
    return _Begun(ladder, latents).landed()


def side_by_side(drawing: Drawn, spoken: Spoken, ladder: Ladder, unet: Any) -> tuple[list[int], list[torch.Tensor]]:
    """Return for each picture with how many it was evaluated, and its latents; what is no number is drawn alone."""
    rows: list[Row] = []
    odd: list[Row] = []

    def told(row: Row) -> None:
        drawing.done = sum(one.step for one in rows if one is not row)
        drawing.after(row)

    def lose(row: Row, error: Exception) -> None:
        if not isinstance(error, NotANumber):
            raise error
        odd.append(row)

    rows += [drawing.row(number, spoken, told) for number in range(len(drawing.request.seeds))]
    batch = Rows(unet, ladder, rows, lose)
    while batch.left:
        ladder.run("drawing", batch.some)
    latents = [
        ladder.run("drawing", partial(drawing.latents, number, spoken)) if row in odd else row.latents
        for number, row in enumerate(rows)
    ]
    return [1 if row in odd else row.most for row in rows], latents
