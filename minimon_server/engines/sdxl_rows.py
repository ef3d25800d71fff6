"""Pictures on their way through the UNet side by side: one row each, which comes and goes without the others.

Words, noise, steps and scheduler of a row are its own, and are computed as the library's pipeline does for one picture
(`StableDiffusionXLPipeline.__call__`, diffusers 0.42.1); the UNet alone sees several at once. Loads nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import rescale_noise_cfg
from diffusers.utils.torch_utils import randn_tensor

from minimon_server.engines.compiled_unet import CompiledUnet
from minimon_server.engines.messages import DrawRequest, EngineFault, Stopped
from minimon_server.engines.sdxl_graphs import CapturedUnet
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_memory import pixels_of_a_latent
from minimon_server.engines.sdxl_numbers import NotANumber
from minimon_server.engines.sdxl_prompts import Spoken
from minimon_server.engines.sdxl_schedulers import fresh

RESCALED: Final[Any] = rescale_noise_cfg  # the library says no types


def can_stand_in_rows(pipeline: Any) -> bool:
    """Return whether pictures of this model can be drawn side by side.

    Not where the UNet wants more than noise and words: a model that repaints, or one that guides itself.
    """
    settings = pipeline.unet.config
    return settings.in_channels == pipeline.vae.config.latent_channels and settings.time_cond_proj_dim is None


@dataclass(frozen=True, slots=True)
class Question:
    """What the UNet is asked for one row: one line of each tensor, or two with guidance, the avoided words first."""

    sample: torch.Tensor
    timestep: torch.Tensor
    words: torch.Tensor
    pooled: torch.Tensor
    sizes: torch.Tensor


class Row:
    """One picture: all of its state. `told` is called after every evaluation of the UNet, and may raise."""

    def __init__(
        self,
        pipeline: Any,
        own_scheduler: Any,
        request: DrawRequest,
        seed: int,
        spoken: Spoken,
        size: tuple[int, int],
        device: torch.device,
        told: Callable[[Row], None],
    ) -> None:
        """`size` is width and height in pixels as they are drawn; `device` is where the UNet computes."""
        self.request, self.seed, self.spoken = request, seed, spoken
        self.most = 1  # rows that the UNet saw at once with this one
        self._own_scheduler = own_scheduler
        self._scale = pixels_of_a_latent(pipeline.vae)
        self._channels = int(pipeline.unet.config.in_channels)
        self._size = size
        self._device = device
        self._told = told
        self.begin()

    def begin(self) -> None:
        """Stand before the first step, whatever was drawn before."""
        self._scheduler = fresh(self._own_scheduler, self.request.scheduler)
        self._scheduler.set_timesteps(self.request.steps, device=self._device)
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)
        generator = torch.Generator("cpu").manual_seed(self.seed)
        known = inspect.signature(self._scheduler.step).parameters
        options = {"eta": 0.0, "generator": generator}
        self._options = {name: value for name, value in options.items() if name in known}
        width, height = (side // self._scale for side in self._size)
        shape = (1, self._channels, height, width)
        dtype = self.spoken.prompt.dtype
        noise = randn_tensor(shape, generator=generator, device=self._device, dtype=dtype)
        self.latents: torch.Tensor = noise * self._scheduler.init_noise_sigma
        self.evaluation = 0
        self._torn = False

    @property
    def evaluations(self) -> int:
        """How often the UNet is asked: twice a step by schedulers of second order."""
        return len(self._scheduler.timesteps)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.evaluation * self.request.steps // self.evaluations

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return self.evaluation == self.evaluations

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows of one shape can be evaluated together."""
        avoided = self.spoken.avoided is not None
        return (*self.latents.shape, self.spoken.prompt.shape[1], avoided)

    def mend(self) -> None:
        """Begin anew if an error came in the middle of a step, which leaves a scheduler with half of it."""
        if self._torn:
            self.begin()

    def question(self) -> Question:
        """Return what the UNet is asked next; asking twice changes nothing."""
        spoken, step = self.spoken, self.step + 1
        courses = [course for course in (spoken.avoided, spoken.asked) if course is not None]
        said = [course.at(step) for course in courses]
        timestep = self._scheduler.timesteps[self.evaluation]
        sample = self._scheduler.scale_model_input(torch.cat([self.latents] * len(said)), timestep)
        words = torch.cat([one.words for one in said]).to(self._device)
        pooled = torch.cat([one.pooled for one in said]).to(self._device)
        width, height = self._size
        sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(said), dtype=words.dtype)
        return Question(sample, timestep, words, pooled, sizes.to(self._device))

    def advance(self, noise: torch.Tensor) -> None:
        """Take the UNet's answer to `question`, and tell of it."""
        request, timestep = self.request, self._scheduler.timesteps[self.evaluation]
        if self.spoken.avoided is not None:
            avoided, asked = noise.chunk(2)
            noise = avoided + request.guidance_scale * (asked - avoided)
            if request.guidance_rescale > 0.0:
                noise = RESCALED(noise, asked, guidance_rescale=request.guidance_rescale)
        self._torn = True
        self.latents = self._scheduler.step(noise, timestep, self.latents, **self._options, return_dict=False)[0]
        self._torn = False
        self.evaluation += 1
        self._told(self)


class Rows:
    """Rows of one model, drawn until some are finished; those of requests that are exact are evaluated alone."""

    def __init__(self, unet: Any, ladder: Ladder, rows: Sequence[Row], lose: Callable[[Row, Exception], None]) -> None:
        """`ladder.width` rows are evaluated at once. `lose` hears of one that is not drawn any further: somebody
        stopped it, or it is not a number; what `lose` raises ends them all.
        """
        self.left = list(rows)
        self._unet = unet
        self._ladder = ladder
        self._lose = lose

    def some(self) -> list[Row]:
        """Draw until some are finished, and return those. After an error the next call goes on where it came."""
        for row in self.left:
            row.mend()
        finished: list[Row] = []
        while self.left and not finished:
            for group in self._groups():
                self._evaluate(group)
            finished = [row for row in self.left if row.is_finished]
        self.left = [row for row in self.left if not row.is_finished]
        return finished

    def _groups(self) -> Iterator[list[Row]]:
        """Yield the rows that are evaluated at once."""
        unfinished = [row for row in self.left if not row.is_finished]
        yield from ([row] for row in unfinished if row.request.exact)
        free = sorted((row for row in unfinished if not row.request.exact), key=lambda row: row.shape)
        for _, alike in groupby(free, key=lambda row: row.shape):
            group = list(alike)
            while group:
                width = self._width(min(len(group), self._ladder.width))
                yield group[:width]
                group = group[width:]

    def _width(self, most: int) -> int:
        forward = vars(self._unet).get("forward")
        return forward.width(most) if isinstance(forward, CompiledUnet | CapturedUnet) else most

    def _evaluate(self, group: list[Row]) -> None:
        asked = [row.question() for row in group]
        found: torch.Tensor = self._unet(
            _joined([one.sample for one in asked]),
            asked[0].timestep if len(asked) == 1 else torch.cat([_each(one) for one in asked]),
            encoder_hidden_states=_joined([one.words for one in asked]),
            added_cond_kwargs={
                "text_embeds": _joined([one.pooled for one in asked]),
                "time_ids": _joined([one.sizes for one in asked]),
            },
            return_dict=False,
        )[0]
        for row, noise in zip(group, found.split_with_sizes([len(one.sample) for one in asked]), strict=True):
            row.most = max(row.most, len(group))
            try:
                row.advance(noise)
            except (Stopped, NotANumber, EngineFault) as error:
                self.left.remove(row)
                self._lose(row, error)


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _each(asked: Question) -> torch.Tensor:
    """Return the timestep of every line of a row."""
    return asked.timestep.reshape(1).expand(len(asked.sample))
