"""One request through a loaded pipeline: words, then steps, then pixels. Loads nothing and holds no memory afterwards.

Pictures of an exact request are drawn one by one, each with its own generator on the CPU and its own scheduler, so that
a seed gives the same pixels alone, beside others, after a stop and after any other job. Others are drawn in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import diffusers
import torch

from minimon_server import __version__
from minimon_server.engines.messages import (
    NO_INPUTS,
    Drawn,
    DrawnPicture,
    DrawRequest,
    EngineFault,
    Phase,
)
from minimon_server.engines.native_size import Canvas
from minimon_server.engines.network_tensors import numbers_of
from minimon_server.engines.picture_metadata import describe
from minimon_server.engines.schedulers import KINDS
from minimon_server.engines.sdxl_decoding import Decoded, Previews
from minimon_server.engines.sdxl_draft import NO_DRAFT, Draft
from minimon_server.engines.sdxl_inputs import Beginning, Pass
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_numbers import HALVES, NotANumber, in_float32, widened
from minimon_server.engines.sdxl_prompts import Spoken, encode
from minimon_server.engines.sdxl_reference import NOTHING_SHOWN, Shown
from minimon_server.engines.sdxl_rows import Row
from minimon_server.engines.sdxl_schedulers import fresh, refuse_steps
from minimon_server.engines.sdxl_side_by_side import WIDEST, decoded_in_turn, is_drawn_as_batch, side_by_side
from minimon_server.engines.sdxl_stack import Worn
from minimon_server.engines.telling import Teller
from minimon_server.engines.textual_inversion import TrainedWords

PREVIEW_EVERY: Final = 5  # steps
NOTHING_WORN: Final = Worn()
VERSIONS: Final = {"minimon": __version__, "torch": torch.__version__, "diffusers": diffusers.__version__}

NO_VERSIONS: Final[Mapping[str, str]] = {}


class Drawing:
    """One request on its way through a loaded model."""

    def __init__(
        self,
        request: DrawRequest,
        pipeline: Any,
        previews: Previews,
        place: Place,
        teller: Teller,
        fingerprint: str,
        ladder: Ladder,
        trained: TrainedWords | None = None,
        inputs: Mapping[str, bytes] = NO_INPUTS,
        canvas: Canvas | None = None,
        worn: Worn = NOTHING_WORN,
        shown: Shown = NOTHING_SHOWN,
        more_versions: Mapping[str, str] = NO_VERSIONS,
        own_scheduler: Any = None,
        draft: Draft = NO_DRAFT,
    ) -> None:
        """`own_scheduler` is the model's; without it, the one that the pipeline holds now."""
        self._versions = {**VERSIONS, **more_versions}
        self.request = self._request = request
        self._shown = shown
        self._worn = worn
        self._pipeline = pipeline
        self._previews = previews
        self._place = place
        self._teller = teller
        self._fingerprint = fingerprint
        self._trained = trained
        self._ladder = ladder
        self._draft = draft
        ladder.draft = draft.network
        self._own_scheduler = own_scheduler or pipeline.scheduler
        self._canvas = canvas or Canvas(request, None)
        self._beginning = Beginning(request, pipeline, inputs, self._canvas)
        self.done = 0  # steps before those of the present picture
        self._total = request.total_steps
        self._guided = request.guidance_scale > 1 and pipeline.unet.config.time_cond_proj_dim is None
        self._drawn_in: dict[int, torch.dtype] = {}

    def all(self) -> Drawn:
        """Draw every seed, then decode them; the pipeline is left as it was found."""
        try:
            # Less work for each of the many small operations of a step than the library's own no_grad.
            with torch.inference_mode():
                return self._all(self._ladder)
        finally:
            self._pipeline.scheduler = self._own_scheduler
            self._ladder.undo()

    def _all(self, ladder: Ladder) -> Drawn:
        request, count = self._request, len(self._request.seeds)
        ladder.rows = 2 if self._guided else 1
        spoken = ladder.run("prompt", self.spoken)
        is_batch = is_drawn_as_batch(request, self._pipeline)
        ladder.width = min(count, WIDEST) if is_batch else 1
        ladder.look_ahead()
        self.begin()
        if is_batch:
            rows, latents = side_by_side(self, spoken, ladder, self._pipeline.unet)
        else:
            latents = [ladder.run("drawing", partial(self.latents, number, spoken)) for number in range(count)]
            rows = [1] * count
        self._worn.await_hashes(lambda: self._teller.tell("decoding", 0, count))
        pictures: list[DrawnPicture] = []
        for found in decoded_in_turn(ladder, latents, lambda begun: self._teller.tell("decoding", begun, count)):
            if isinstance(found, EngineFault):
                raise found
            number = len(pictures)
            pictures.append(self.picture(request.seeds[number], spoken, found, rows[number]))
        self._teller.tell("decoding", count, count)
        return Drawn(tuple(pictures))

    def row(self, number: int, spoken: Spoken, told: Callable[[Row], None]) -> Row:
        """Return one picture as a row that stands before its first step."""
        seed = self._request.seeds[number]
        self._drawn_in[seed] = numbers_of(self._pipeline.unet)
        size, device = self._canvas.drawn, self._place.device
        return Row(self._pipeline, self._own_scheduler, self._request, seed, spoken, size, device, told)

    def begin(self) -> None:
        """Tell that all is loaded; raise `Stopped` when nobody wants it any more."""
        self._teller.tell("drawing", 0, self._total)

    def tell(self, phase: Phase, current: int, total: int) -> None:
        """Tell of anything else; raises as `begin` does."""
        self._teller.tell(phase, current, total)

    def after(self, row: Row) -> None:
        """Tell of a row's last evaluation; raise `NotANumber`, or `Stopped`."""
        self._after(row.evaluation, row.evaluations, row.request.steps, row.latents)

    def spoken(self) -> Spoken:
        """Return the request's words as embeddings; raise `EngineFault` for what this model cannot be asked."""
        request = self._request
        reason = None
        if request.guidance_scale <= 1:
            reason = "guidance_scale is 1 or less"
        elif self._pipeline.unet.config.time_cond_proj_dim is not None:
            reason = "this model guides itself"
        spoken = encode(
            self._pipeline,
            request.prompt,
            None if reason else request.negative_prompt,
            request.clip_skip,
            steps=request.passes[0][0],
            trained=self._trained,
            tell=lambda done, count: self._teller.tell("loading", done, count),
            expect=partial(self._ladder.look_at_need, "prompt"),
        )
        for name in ("negative_prompt", "guidance_rescale"):
            if reason and getattr(request, name):
                spoken = replace(spoken, ignored=(*spoken.ignored, f"{name}: {reason}"))
        self._refuse_steps()
        return spoken

    def _scheduler(self) -> Any:
        return fresh(self._own_scheduler, self._request.scheduler)

    def _refuse_steps(self) -> None:
        hires = self._request.hires
        for steps in {self._request.steps, *([hires.steps] if hires else [])}:
            refuse_steps(self._own_scheduler, self._request.scheduler, steps)

    def latents(self, number: int, spoken: Spoken) -> torch.Tensor:
        """Return the latents of one picture; what is no number in 16 bits is drawn once more in 32."""
        unet, seed = self._pipeline.unet, self._request.seeds[number]
        self._drawn_in[seed] = numbers_of(unet)
        try:
            return self._denoised(number, spoken)
        except NotANumber as error:
            if unet.dtype not in HALVES:
                raise error.fault() from None
            step = error.step
        self._ladder.log.warning("not a number: drawn again in float32", step=step, dtype=str(unet.dtype))
        with in_float32(unet, self._beginning.pipelines):
            self._drawn_in[seed] = unet.dtype
            try:
                return self._denoised(number, widened(spoken))
            except NotANumber as error:
                raise error.fault() from None

    def _denoised(self, number: int, spoken: Spoken) -> torch.Tensor:
        # Steps of what is begun anew do not count twice.
        self.done = number * self._total // len(self._request.seeds)
        # On the CPU, whatever computes: the same noise on every machine. A second pass goes on where the first ended.
        generator = torch.Generator("cpu").manual_seed(self._request.seeds[number])
        first = self._beginning.first(generator)
        latents = self._run(first, spoken, generator, 1, first.steps)
        again = self._beginning.again(latents, generator)
        if again is None:
            return latents
        self._teller.tell("drawing", self.done, self._total)  # between the passes a picture was decoded and encoded
        return self._run(again, spoken, generator, first.steps, first.steps)

    def _run(self, one: Pass, spoken: Spoken, generator: torch.Generator, first: int, last: int) -> torch.Tensor:
        """Draw one pass; the words are those of step `first` and following, up to `last`, where they stay."""
        one.pipeline.scheduler = self._scheduler()
        asked, avoided = spoken.asked.at(first), spoken.avoided.at(first) if spoken.avoided else None

        def after_step(pipeline: Any, index: int, _: Any, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            # A scheduler of second order asks the UNet twice a step.
            evaluations = pipeline.num_timesteps
            self._after(index + 1, evaluations, one.steps, values["latents"])
            before, step = (first + at * one.steps // evaluations for at in (index, index + 1))
            return spoken.change(before, step) if step <= last else {}

        found = one.pipeline(
            prompt_embeds=asked.words,
            pooled_prompt_embeds=asked.pooled,
            negative_prompt_embeds=avoided.words if avoided else None,
            negative_pooled_prompt_embeds=avoided.pooled if avoided else None,
            guidance_scale=self._request.guidance_scale,
            guidance_rescale=self._request.guidance_rescale,
            generator=generator,
            output_type="latent",
            callback_on_step_end=after_step,
            return_dict=False,
            **one.told,
            **self._shown.told(numbers_of(one.pipeline.unet), guided=self._guided),
        )
        self.done += one.steps
        latents: torch.Tensor = found[0]
        return latents

    def _after(self, evaluation: int, evaluations: int, steps: int, latents: torch.Tensor) -> None:
        step = evaluation * steps // evaluations
        # This waits for the device: what is reported as done is done, and a stop comes within a step.
        if not bool(torch.isfinite(latents).all()):
            raise NotANumber(step)
        last = evaluation == evaluations
        wanted = self._teller.is_watched and self._ladder.previews and (evaluation % PREVIEW_EVERY == 0 or last)
        preview = self._previews.picture(self._canvas.seen(latents)) if wanted else None
        self._teller.tell("drawing", self.done + step, self._total, preview)

    def picture(self, seed: int, spoken: Spoken, found: Decoded, rows: int = 1) -> DrawnPicture:
        """Return a decoded picture with what made it; `rows` is with how many others, and itself, it was drawn."""
        pixels = self._beginning.finished(found.pixels)
        made_by = {
            **self._canvas.told,
            "model_fingerprint": self._fingerprint,
            "scheduler_class": type(self._own_scheduler).__name__,
            **spoken.amounts,
            "trained_words": dict(sorted(spoken.trained.items())),
            "ignored": [*spoken.ignored, *self._worn.ignored],
            "hashes": {**self._worn.hashes, **(self._draft.hashes or {})},
            **({"loras_rounded_to": self._worn.rounded_to} if self._worn.rounded_to else {}),
            **({"layers_in_full": self._worn.in_full} if self._worn.in_full else {}),
            "device": self._place.name,
            "dtype": str(self._drawn_in[seed]).removeprefix("torch."),
            "decoded_in": found.numbers,
            "decoded": "tiled" if found.is_tiled else "whole",
            **({"batch": rows} if rows > 1 else {}),
            "rungs": list(found.rungs),
            "versions": self._versions,
        }
        if self._request.scheduler is not None:
            made_by["scheduler_class"] = KINDS[self._request.scheduler].library_class
        told = describe(self._request, seed, made_by)
        height, width, _ = pixels.shape
        return DrawnPicture(pixels.tobytes(), seed, width, height, told)
