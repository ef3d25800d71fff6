"""What is said to an engine and what it answers: plain data with a schema number. Holds no lock, tensor or picture.

So an engine could live in another process, or on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from minimon_server.errors import Text

SCHEMA: Final = 1
NO_INPUTS: Final[Mapping[str, bytes]] = MappingProxyType({})

Phase = Literal["loading", "drawing", "decoding"]


@dataclass(frozen=True, slots=True)
class AdapterUse:
    """One adapter of a stack (LoRA and its kin), by its id, and its weight."""

    name: str
    weight: float


@dataclass(frozen=True, slots=True)
class Stack:
    """What must be loaded to draw: a model, and the adapters that are merged, by name; none has the weight 0.

    As text it is for people alone: ids may hold "+" and ":", and weights are rounded to six digits.
    """

    model: str
    adapters: tuple[AdapterUse, ...] = ()

    def __str__(self) -> str:
        """Return `model+adapter:0.8`."""
        return "+".join([self.model, *sorted(f"{one.name}:{one.weight:g}" for one in self.adapters)])


@dataclass(frozen=True, slots=True)
class InputPicture:
    """A picture that a request begins with: the SHA-256 of its file, in lower-case hex, and its size in pixels."""

    digest: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Hires:
    """A second pass over the finished first one at another size in pixels; `strength` is that of image-to-image."""

    width: int
    height: int
    steps: int
    strength: float


@dataclass(frozen=True, slots=True)
class IpAdapterUse:
    """A reference picture, read by the IP-Adapter of this id; `scale` is how much it counts beside the prompt."""

    name: str
    picture: InputPicture
    scale: float


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """All that decides a job's pictures; every default has been filled in before it is made.

    One picture is drawn for each of `seeds`. `width` and `height` are pixels. `scheduler` and `clip_skip` are None
        where the model's own are meant. With `init_image` the drawing begins with that picture, and `strength` (0 to 1]
    says how much of it is drawn anew; `mask` is white where that may happen. `hires` follows as a second pass.
    `ip_adapter` shows every pass a picture beside the prompt.

    `native_size` is the side at which the model draws whatever `width` and `height` are, as far as was known when this
    was made: for estimates alone, for the engine asks the model itself. None: it draws the size that is asked for.
    `trigger_words` are those of the adapters that stand in the prompt; they decide nothing beyond it.

    `exact`: each picture is bit for bit what its seed gives alone. Without it several may be computed as one batch,
    which rounds otherwise: nothing else differs. `decoder`: the model's own autoencoder, or the draft decoder of the
    settings, whose pixels are others.

    `guidance_rescale` is 0 to 1. `format` is one of `picture_formats.FORMATS`, and
    `quality`, 1 to 100, is None for the formats that lose nothing.
    """

    model: str
    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    width: int
    height: int
    steps: int
    guidance_scale: float
    scheduler: str | None = None
    clip_skip: int | None = None
    adapters: tuple[AdapterUse, ...] = ()
    guidance_rescale: float = 0.0
    format: str = "png"
    quality: int | None = None
    schema: int = SCHEMA
    init_image: InputPicture | None = None
    mask: InputPicture | None = None
    strength: float | None = None
    hires: Hires | None = None
    native_size: int | None = None
    trigger_words: tuple[str, ...] = ()
    ip_adapter: IpAdapterUse | None = None
    exact: bool = True
    decoder: Literal["full", "draft"] = "full"

    @property
    def company(self) -> tuple[Stack, int, int, str] | None:
        """Requests of which this is the same can be drawn side by side; None: this one is drawn alone."""
        begun_otherwise = self.init_image is not None or self.hires is not None
        if begun_otherwise or self.ip_adapter is not None or len(self.seeds) != 1:
            return None
        return self.stack, self.width, self.height, self.decoder

    @property
    def inputs(self) -> tuple[InputPicture, ...]:
        """The pictures that must be at hand to draw this."""
        shown = self.ip_adapter.picture if self.ip_adapter else None
        return tuple(picture for picture in (self.init_image, self.mask, shown) if picture is not None)

    @property
    def passes(self) -> tuple[tuple[int, int], ...]:
        """The denoising steps of each pass over one picture, and the pixels that it has."""
        pixels = self.native_size**2 if self.native_size else self.width * self.height
        first = (drawn_steps(self.steps, self.strength), pixels)
        if self.hires is None:
            return (first,)
        again = self.hires
        return first, (drawn_steps(again.steps, again.strength), again.width * again.height)

    @property
    def total_steps(self) -> int:
        """The denoising steps of all passes over all pictures: what `Progress.total` is while drawing."""
        return sum(steps for steps, _ in self.passes) * len(self.seeds)

    @property
    def stack(self) -> Stack:
        """What must be loaded to draw this; jobs of one stack follow each other without a load between them."""
        used = [adapter for adapter in self.adapters if adapter.weight]
        return Stack(self.model, tuple(sorted(used, key=attrgetter("name", "weight"))))


def drawn_steps(steps: int, strength: float | None) -> int:
    """Return how many of `steps` are drawn at a strength: as diffusers' image-to-image counts, rounded down."""
    return steps if strength is None else min(int(steps * strength), steps)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a request is: `current` of `total` in its phase; `preview` is a small picture file, if asked for."""

    phase: Phase
    current: int
    total: int
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """One picture and what made it. `pixels` are `height` rows of `width` times red, green, blue, 0 to 255.

    No file: whoever stores it packs it, while the engine draws the next.
    """

    pixels: bytes = field(repr=False)
    seed: int
    width: int
    height: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drawn:
    """All pictures of one request, in the order of its seeds."""

    pictures: tuple[DrawnPicture, ...]


class Stopped(Exception):
    """The request was given up because `report` said so."""


class EngineFault(Exception):
    """The engine could not draw this request; the text is for the client, without paths or secrets.

    `retry` says whether the same request may succeed at another time.
    """

    def __init__(self, text: str, *, retry: bool = False) -> None:
        self.text = text
        self.retry = retry
        super().__init__(text)


class EngineLost(Exception):
    """No engine draws in this process any more, such as after an error that poisons its CUDA context.

    The request may be one that causes it: it is tried once more, in another process. The text is for the client.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


class BadPicture(Exception):
    """A picture that a client sent and that is not taken; the text says why, and the limit."""

    def __init__(self, text: Text) -> None:
        self.text = text
        super().__init__(text.en)


class NoCutout(Exception):
    """A drawn picture of which the creature cannot be cut out; the text says why, for the client."""

    def __init__(self, text: Text) -> None:
        self.text = text
        super().__init__(text.en)


@dataclass(frozen=True, slots=True)
class NormalPicture:
    """A client's picture as it is kept: a PNG file of 8-bit red, green, blue, upright and without anything else."""

    picture: InputPicture
    png: bytes = field(repr=False)


class Reply(IntEnum):
    """What an engine is told when it reports: stop within this step, go on, or go on and show previews.

    Previews cost time, so they are made while somebody looks.
    """

    STOP = 0
    GO_ON = 1
    SHOW = 2


class NotNow(Exception):
    """This one is to be drawn when nothing else is: there is no room for it beside the others."""


# What becomes of one of several requests that are drawn side by side.
Outcome = DrawnPicture | EngineFault | Stopped | NotNow
# Called on the engine's thread with a request's place among the others, as soon as it has ended.
Deliver = Callable[[int, Outcome], None]
# Called on the engine's thread after every step. False and True are STOP and GO_ON.
Report = Callable[[Progress], Reply | bool]


class Engine(Protocol):
    """Who draws. Every method is called on one and the same thread, one call at a time, and may block."""

    @property
    def loaded(self) -> Stack | None:
        """The stack that could draw at once (`DrawRequest.stack`), or None."""

    def draw(self, request: DrawRequest, report: Report, inputs: Mapping[str, bytes] = NO_INPUTS) -> Drawn:
        """Load what the request needs, then draw all its pictures.

        `inputs` holds the PNG file of each of `request.inputs`, by its digest.
        Report `loading` while it loads; `drawing` with `current=0` when all is loaded, before the first denoising step,
        then after every step, `total` being the steps of all pictures; `decoding` at the end. Raises `Stopped` after
        `report` answered STOP, `EngineFault` when this request cannot be drawn, `EngineLost` when none can be.
        """

    def draw_together(self, requests: Sequence[DrawRequest], reports: Sequence[Report], deliver: Deliver) -> None:
        """Draw requests of one `company`, or a single one, each told by its own report as `draw` does.

        `deliver` hears of each of them once. What one cannot have costs no other anything; raises `EngineLost`.
        Within a report of `draw` it may be called after `has_room_for`; what turns out not to fit is `NotNow`.
        """

    def has_room_for(self, requests: Sequence[DrawRequest]) -> bool:
        """Whether these can be drawn together within a report of what is being drawn, which changes nothing of it."""

    def close(self) -> None:
        """Give everything back."""
