"""What a drawing begins with: noise, a picture, a picture with a mask, or its own first pass. Draws nothing itself.

Each kind of pass is one of the library's own pipelines, made of the very parts that are loaded: nothing is copied or
cast. What the picture is on the way in is decided here; `sdxl_drawing` calls the pipeline that a `Pass` names.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion_xl import (
    pipeline_stable_diffusion_xl_img2img as library_img2img,
)
from diffusers.pipelines.stable_diffusion_xl import (
    pipeline_stable_diffusion_xl_inpaint as library_inpaint,
)
from PIL import Image

from minimon_server.engines.messages import DrawRequest, EngineFault, InputPicture, drawn_steps
from minimon_server.engines.native_size import Canvas
from minimon_server.engines.sdxl_decoding import decode, in_32_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARED: Final = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")


@dataclass(frozen=True, slots=True)
class Pass:
    """One call of a pipeline: what it is told besides words, guidance and noise, and how many steps it draws."""

    pipeline: Any
    told: Mapping[str, Any]
    steps: int


class Repainting(library_inpaint.StableDiffusionXLInpaintPipeline):
    """The library's inpainting, but that a picture is encoded without casting the autoencoder to other numbers."""

    def _encode_vae_image(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return encode(self.vae, image, generator).to(image.dtype)


class Beginning:
    """How the pictures of one request begin, over a loaded pipeline."""

    def __init__(self, request: DrawRequest, pipeline: Any, inputs: Mapping[str, bytes], canvas: Canvas) -> None:
        """Raise `EngineFault` for what this model cannot begin with."""
        _refuse_what_cannot_begin(request, pipeline)
        self._request = request
        self._pipeline = pipeline
        self._canvas = canvas
        self._given = _opened(request.init_image, inputs, "RGB", canvas.asked)
        self._given_mask = _opened(request.mask, inputs, "L", canvas.asked)
        self._image, self._mask = canvas.fitted(self._given), canvas.fitted(self._given_mask)
        self._over_a_picture = None
        if request.hires is not None or (self._image is not None and self._mask is None):
            self._over_a_picture = shared(library_img2img.StableDiffusionXLImg2ImgPipeline, pipeline)
        self._repainting = None if self._mask is None else shared(Repainting, pipeline)

    @property
    def pipelines(self) -> Sequence[Any]:
        """All that may be called for this request."""
        made = (self._pipeline, self._over_a_picture, self._repainting)
        return [pipeline for pipeline in made if pipeline is not None]

    def first(self, generator: torch.Generator) -> Pass:
        """Return the first pass of one picture."""
        request = self._request
        steps = drawn_steps(request.steps, request.strength)
        told: dict[str, Any] = {"num_inference_steps": request.steps}
        size = dict(zip(("width", "height"), self._canvas.drawn, strict=True))
        if self._image is None:
            return Pass(self._pipeline, told | size, steps)
        told["strength"] = request.strength
        if self._mask is not None:
            return Pass(self._repainting, told | size | {"image": self._image, "mask_image": self._mask}, steps)
        return Pass(self._over_a_picture, told | {"image": self._encoded(self._image, generator)}, steps)

    def again(self, latents: torch.Tensor, generator: torch.Generator) -> Pass | None:
        """Return the second pass over what the first one has drawn, at its own size, if one is asked for."""
        hires = self._request.hires
        if hires is None:
            return None
        pixels, _ = decode(self._pipeline.vae, latents)
        larger = Image.fromarray(pixels).resize((hires.width, hires.height), Image.Resampling.LANCZOS)
        told = {
            "num_inference_steps": hires.steps,
            "strength": hires.strength,
            "image": self._encoded(larger, generator),
        }
        return Pass(self._over_a_picture, told, drawn_steps(hires.steps, hires.strength))

    def finished(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture at the asked size, with the given one's pixels where the mask is black, mixed where grey.

        An autoencoder changes every pixel that passes through it, those that nobody wanted changed among them.
        """
        pixels = self._canvas.finished(pixels)
        if self._repainting is None:
            return pixels
        image = Image.fromarray(pixels)
        return np.asarray(self._repainting.image_processor.apply_overlay(self._given_mask, self._given, image))

    def _encoded(self, image: Image.Image, generator: torch.Generator) -> torch.Tensor:
        """Return latents, which the pipeline takes as they are; its own way would cast the autoencoder."""
        return encode(self._pipeline.vae, self._pipeline.image_processor.preprocess(image), generator)


def shared(kind: Any, pipeline: Any) -> Any:
    """Return a pipeline of another kind around the same parts; its scheduler is to be set before it is called."""
    zeros = bool(pipeline.config["force_zeros_for_empty_prompt"])
    parts = {name: getattr(pipeline, name) for name in SHARED}
    made = kind(**parts, force_zeros_for_empty_prompt=zeros, add_watermarker=False)
    made.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def encode(vae: Any, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the latents of pixels (1 x 3 x height x width, -1 to 1), a sample that `generator` decides.

    In the autoencoder's own numbers, and in 32-bit floats where 16 bits do not hold. One whose settings ask for 32 bits
    (`force_upcast`) where all else is float16 was loaded in them: see `sdxl_loading.dtype_of`.
    """
    found = vae.encode(pixels.to(vae.device, vae.dtype))
    # Looked at before a sample is taken: the generator gives the same noise either way.
    if vae.dtype != torch.float32 and not bool(torch.isfinite(found.latent_dist.parameters).all()):
        logging.getLogger(__name__).warning("a picture was encoded again in float32: %s does not hold", vae.dtype)
        with in_32_bits(vae):
            found = vae.encode(pixels.to(vae.device, vae.dtype))
    latents: torch.Tensor = library_img2img.retrieve_latents(found, generator=generator)
    if not bool(torch.isfinite(latents).all()):
        raise EngineFault("The model cannot encode this picture: what it computed is not a number.")
    mean, deviation = vae.config.latents_mean, vae.config.latents_std
    if mean is not None and deviation is not None:
        latents = (latents - _row(mean, latents)) / _row(deviation, latents)
    return latents * float(vae.config.scaling_factor)


def _row(values: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values).view(1, -1, 1, 1).to(like)


def _opened(
    picture: InputPicture | None, inputs: Mapping[str, bytes], mode: str, size: tuple[int, int]
) -> Image.Image | None:
    """Return one of a request's pictures at the size at which it is drawn."""
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(inputs[picture.digest]), formats=["PNG"]) as opened:
            return opened.convert(mode).resize(size, Image.Resampling.LANCZOS)
    except (KeyError, OSError, SyntaxError, ValueError) as error:
        raise EngineFault(f"A picture that the request begins with cannot be read ({type(error).__name__}).") from None


def _refuse_what_cannot_begin(request: DrawRequest, pipeline: Any) -> None:
    if request.mask is not None and request.init_image is None:
        raise EngineFault("A mask needs an init_image.")
    if (request.init_image is None) is not (request.strength is None):
        raise EngineFault("An init_image and its strength come together.")
    if any(steps < 1 for steps, _ in request.passes):
        raise EngineFault("Steps times strength leave no step to draw.")
    if request.hires is not None and (request.mask is not None or request.hires.width % 8 or request.hires.height % 8):
        raise EngineFault("A second pass (hires) goes without a mask, and its sides are multiples of 8.")
    if pipeline.unet.config.in_channels != pipeline.vae.config.latent_channels and request.mask is None:
        raise EngineFault("This model only repaints: it needs an init_image and a mask.")
