"""Requests through one loaded model side by side, each with words, steps and an end of its own. Loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from minimon_server.engines.messages import Deliver, EngineFault, Outcome, Phase, Stopped
from minimon_server.engines.sdxl_drawing import Drawing
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_numbers import NotANumber
from minimon_server.engines.sdxl_prompts import Spoken
from minimon_server.engines.sdxl_rows import Row, Rows
from minimon_server.engines.sdxl_side_by_side import next_decoded
from minimon_server.engines.sdxl_stack import Worn
from minimon_server.engines.telling import Teller


class Crowd:
    """Those for whom several requests are drawn: each hears of what is done for all until it has gone."""

    def __init__(self, tellers: Sequence[Teller], deliver: Deliver) -> None:
        self._tellers = dict(enumerate(tellers))
        self._deliver = deliver

    @property
    def left(self) -> list[int]:
        """The places of those that have not ended."""
        return list(self._tellers)

    def end(self, index: int, outcome: Outcome) -> None:
        """Let one end, if it has not ended yet."""
        if self._tellers.pop(index, None) is not None:
            self._deliver(index, outcome)

    def each(self, index: int, work: Callable[[], object]) -> bool:
        """Do what concerns one alone; return False, and let it end, where that is the end of it."""
        try:
            work()
        except (Stopped, EngineFault) as error:
            self.end(index, error)
            return False
        return True

    def end_all(self, outcome: Outcome) -> None:
        """Let all that are left end in the same way."""
        for index in self.left:
            self.end(index, outcome)

    def tell(self, phase: Phase, current: int, total: int, preview: bytes | None = None) -> None:
        """Tell all; raise `Stopped` when nobody is left."""
        for index, teller in list(self._tellers.items()):
            try:
                teller.tell(phase, current, total, preview)
            except Stopped as stopped:
                self.end(index, stopped)
        if not self._tellers:
            raise Stopped


class Together:
    """Requests of one `company` on their way through a loaded model."""

    def __init__(
        self, drawings: Mapping[int, Drawing], pipeline: Any, ladder: Ladder, crowd: Crowd, worn: Worn
    ) -> None:
        """`drawings` stand at the places that `crowd` knows them by, and share `ladder`."""
        self._drawings = drawings
        self._pipeline = pipeline
        self._ladder = ladder
        self._crowd = crowd
        self._worn = worn
        self._places: dict[Row, int] = {}
        self.odd: list[int] = []  # what is no number in these floats: to be drawn alone

    def all(self) -> None:
        """Draw them, and let each end as soon as its own steps are done; those in `odd` have not ended."""
        try:
            with torch.inference_mode():
                self._all(self._ladder)
        finally:
            self._ladder.undo()

    def _all(self, ladder: Ladder) -> None:
        spoken = self._spoken()
        if not self._crowd.left:
            return
        ladder.rows = 2 if any(one.avoided is not None for one in spoken.values()) else 1
        ladder.width = max(1, sum(not self._drawings[index].request.exact for index in spoken))
        ladder.look_ahead()
        rows = []
        for index, words in spoken.items():
            if self._crowd.each(index, self._drawings[index].begin):
                row = self._drawings[index].row(0, words, self._drawings[index].after)
                self._places[row] = index
                rows.append(row)
        batch = Rows(self._pipeline.unet, ladder, rows, self._lose)
        while batch.left:
            finished = ladder.run("drawing", batch.some)
            self._finish(finished)

    def _spoken(self) -> dict[int, Spoken]:
        """Return the words of each, as embeddings; one that cannot be asked ends alone."""
        found: dict[int, Spoken] = {}

        def speak(index: int) -> None:
            found[index] = self._ladder.run("prompt", self._drawings[index].spoken)

        for index in self._crowd.left:
            self._crowd.each(index, partial(speak, index))
        return found

    def _lose(self, row: Row, error: Exception) -> None:
        index = self._places[row]
        if isinstance(error, NotANumber):
            self.odd.append(index)
        elif isinstance(error, Stopped | EngineFault):
            self._crowd.end(index, error)
        else:
            raise error

    def _finish(self, rows: list[Row]) -> None:
        """Decode rows whose steps are done, and let them end."""
        while rows:
            for row in list(rows):
                teller = self._drawings[self._places[row]].tell
                if not self._crowd.each(self._places[row], partial(teller, "decoding", 0, 1)):
                    rows.remove(row)
            if not rows:
                return
            self._worn.await_hashes(lambda: self._crowd.tell("decoding", 0, 1))
            # What must be exact is decoded alone, too.
            part = rows[:1] if rows[0].request.exact else [row for row in rows if not row.request.exact]
            latents = [row.latents for row in part]
            decoded = self._ladder.run("decoding", partial(next_decoded, self._ladder, latents))
            for row, found in zip(part, decoded, strict=False):  # fewer are decoded at once where memory is short
                rows.remove(row)
                index = self._places[row]
                if isinstance(found, EngineFault):
                    self._crowd.end(index, found)
                else:
                    drawing = self._drawings[index]
                    self._crowd.end(index, drawing.picture(row.seed, row.spoken, found, row.most))
