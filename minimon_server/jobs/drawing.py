"""From what a client asks to what an engine is told: models, adapters, defaults, seeds. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from minimon_server.engines.acceleration_plan import Chosen
from minimon_server.engines.draft_decoder import FULL, Decoder, DraftDecoder
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.messages import AdapterUse, DrawRequest, Engine, InputPicture
from minimon_server.engines.model_info import IpAdapterInfo as IpAdapterInfo  # the web knows jobs, and no engine
from minimon_server.engines.model_info import LoraInfo as LoraInfo
from minimon_server.engines.model_info import ModelInfo as ModelInfo
from minimon_server.engines.picture_formats import FORMATS
from minimon_server.engines.schedulers import named
from minimon_server.errors import FieldMistake, InvalidRequest, Text
from minimon_server.jobs.added_words import prefixed, triggered
from minimon_server.jobs.asked_adapters import adapters_of, lora_mistakes, none_such, trigger_words, unfit
from minimon_server.jobs.asked_decoder import decoder_mistakes
from minimon_server.jobs.asked_reference import NO_IP_ADAPTERS, reference_mistakes, reference_of
from minimon_server.jobs.availability import check_that_one_is_there, check_use
from minimon_server.jobs.input_rules import (
    MOST_PIXELS,
    USUAL_STRENGTH,
    AskedHires,
    hires_after,
    input_mistakes,
    size_after,
)
from minimon_server.jobs.model_bounds import clip_skip_mistakes, scheduler_mistakes, step_mistakes

LARGEST_SEED: Final = 2**53 - 1
USUAL_WEIGHT: Final = 1.0
NO_LORAS: Final[Mapping[str, LoraInfo]] = {}
_TOO_LARGE: Final = Text(
    f"largeur fois hauteur : au plus {MOST_PIXELS} pixels", f"width times height: at most {MOST_PIXELS} pixels"
)
_LOSSLESS: Final = Text("PNG ne perd rien : il n'a pas de qualité", "PNG loses nothing: it has no quality")


@dataclass(frozen=True, slots=True)
class Drawing:
    """Who draws prompts, and with what. `models` is asked at every request, for folders come and go; it may block.

    `models` and `loras` tell those too that are not available, with the reason; the order of models is that in which
    they serve who names none. `facts` is what `/ready` tells of them, and waits for nothing. `schedulers` are the names
    that the engine knows besides a model's own. `unavailable` says why nobody draws here.
    `versions` are those of what decides pixels, by the names under which a picture tells them, and `fingerprint` tells
    a model's weights from others; it may block, too, as may `hashes`, which returns the SHA-256 of a model, its VAE and
    of LoRAs, by their names in a picture's metadata, and `device`, which tells what computes by its names there, or
    nothing where that is not known yet. `memory` counts how often memory ran out.
    `choices` are those of the engine, of how it draws faster or in less memory. `draft` is its draft decoder.
    """

    models: Callable[[], Sequence[ModelInfo]]
    make_engine: Callable[[], Engine]
    schedulers: tuple[str, ...] = ()
    unavailable: Text | None = None
    versions: Callable[[], Mapping[str, str]] = dict
    fingerprint: Callable[[str], str | None] = lambda _model: None
    trained: Callable[[Sequence[str], Collection[str]], Mapping[str, str]] = lambda _texts, _names: {}
    hashes: Callable[[str, Collection[str]], Mapping[str, str]] = lambda _model, _loras: {}
    memory: MemoryTally = field(default_factory=MemoryTally)
    loras: Callable[[], Sequence[LoraInfo]] = tuple
    ip_adapters: Callable[[], Sequence[IpAdapterInfo]] = tuple
    facts: Callable[[], Mapping[str, object]] = field(default=dict)
    device: Callable[[], Mapping[str, str]] = field(default=dict)
    choices: Callable[[], Mapping[str, Chosen]] = field(default=dict)
    draft: DraftDecoder | None = None


def nobody_draws(why: Text) -> Drawing:
    """Return what stands for an engine where there is none."""

    def no_engine() -> Engine:
        raise AssertionError("no job is accepted where nobody draws")

    return Drawing(lambda: (), no_engine, unavailable=why)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for; None is what it leaves to the model.

    `exact`: the words are those of a picture that was drawn; the model's own scheduler and layer are meant where none
    is told, and nothing is put before the prompt.
    """

    prompt: str
    negative_prompt: str = ""
    model: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    scheduler: str | None = None
    clip_skip: int | None = None
    count: int = 1
    guidance_rescale: float | None = None
    format: str = "png"
    quality: int | None = None
    init_image: InputPicture | None = None
    mask: InputPicture | None = None
    strength: float | None = None
    hires: AskedHires | None = None
    add_trigger_words: bool = False
    ip_adapter_image: InputPicture | None = None
    ip_adapter_scale: float | None = None
    ip_adapter: str | None = None
    exact: bool = False
    decoder: Decoder = FULL


def request_for(
    asked: Asked,
    models: Mapping[str, ModelInfo],
    schedulers: Sequence[str],
    draw_seed: Callable[[], int],
    loras: Mapping[str, LoraInfo] = NO_LORAS,
    ip_adapters: Mapping[str, IpAdapterInfo] = NO_IP_ADAPTERS,
    draft: DraftDecoder | None = None,
) -> DrawRequest:
    """Fill in what the client left out; raise `InvalidRequest` naming what there is none of, all at once.

    What cannot be used now raises `ModelNotAvailable`, with what would change that. The prompt is told as it is drawn.
    """
    model = _meant(asked, models, schedulers, loras, ip_adapters, draft)
    adapters = _adapters(asked, model, loras)
    width, height, steps = _extent(asked, model)
    guidance = model.guidance_scale if asked.guidance_scale is None else asked.guidance_scale
    # What rescales guidance is a default only where there is guidance: else every picture would tell it as ignored.
    rescale = model.guidance_rescale if guidance > 1 else 0.0
    prompt, triggers = _worded(asked, model, trigger_words(adapters, loras))
    return DrawRequest(
        model=model.id,
        prompt=prompt,
        negative_prompt=prefixed(asked.negative_prompt, model.negative_prefix),
        seeds=_seeds(draw_seed() if asked.seed is None else asked.seed, asked.count),
        width=width,
        height=height,
        steps=steps,
        guidance_scale=guidance,
        scheduler=_scheduler(asked, model, _there(model, schedulers)),
        clip_skip=model.clip_skip if asked.clip_skip is None else asked.clip_skip,
        adapters=adapters,
        guidance_rescale=rescale if asked.guidance_rescale is None else asked.guidance_rescale,
        format=asked.format,
        quality=FORMATS[asked.format].quality if asked.quality is None else asked.quality,
        init_image=asked.init_image,
        mask=asked.mask,
        strength=(asked.strength or USUAL_STRENGTH) if asked.init_image else None,
        hires=hires_after(asked.hires, width, height, steps) if asked.hires else None,
        native_size=model.native_size,
        trigger_words=triggers,
        ip_adapter=reference_of(asked, model, ip_adapters),
        exact=asked.seed is not None or asked.count == 1,
        decoder=asked.decoder,
    )


def _seeds(first: int, count: int) -> tuple[int, ...]:
    return tuple((first + number) % (LARGEST_SEED + 1) for number in range(count))


def _worded(asked: Asked, model: ModelInfo, words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the prompt with what is put around it, and those of the trigger words that stand in it."""
    adding = asked.add_trigger_words and not asked.exact
    return triggered(prefixed(asked.prompt, model.prompt_prefix), words, add=adding)


def _adapters(asked: Asked, model: ModelInfo, loras: Mapping[str, LoraInfo]) -> tuple[AdapterUse, ...]:
    """Return the adapters of a request without mistakes; raise `ModelNotAvailable` where one cannot be used now."""
    adapters, _ = adapters_of(asked.prompt, asked.loras, model.supported_loras)
    for use in adapters:
        if use.name in loras:
            check_use(loras[use.name])
    return adapters


def _meant(
    asked: Asked,
    models: Mapping[str, ModelInfo],
    schedulers: Sequence[str],
    loras: Mapping[str, LoraInfo],
    ip_adapters: Mapping[str, IpAdapterInfo],
    draft: DraftDecoder | None,
) -> ModelInfo:
    """Return the model that is asked for, with the defaults that count for this request; raise as `request_for`."""
    check_that_one_is_there(asked.model, models)
    mistakes = mistakes_in(asked, models, schedulers, loras=loras, ip_adapters=ip_adapters, draft=draft)
    if mistakes:
        raise InvalidRequest(fields=mistakes)
    model = models[_name(asked, models)]
    check_use(model)
    if not asked.exact:
        return model
    return replace(model, prompt_prefix="", negative_prefix="", scheduler=None, clip_skip=None)


def weight_of(lora: LoraInfo | None, asked: float | None) -> float:
    """Return the weight of one LoRA of a request: what is asked for, else its own, else 1."""
    if asked is not None:
        return asked
    return lora.default_weight if lora else USUAL_WEIGHT


def mistakes_in(
    asked: Asked,
    models: Mapping[str, ModelInfo],
    schedulers: Sequence[str],
    wrong: Collection[str] = (),
    loras: Mapping[str, LoraInfo] = NO_LORAS,
    ip_adapters: Mapping[str, IpAdapterInfo] = NO_IP_ADAPTERS,
    draft: DraftDecoder | None = None,
) -> list[FieldMistake]:
    """Return what a request names that there is none of among `models`, which are some, and how it is too large.

    `wrong` are fields that were found wrong in themselves: nothing is said of them, nor of what depends on them.
    """
    mistakes = []
    name = _name(asked, models)
    model = None if "model" in wrong else models.get(name)
    if model is not None:
        others = unfit(model, loras)
        _, wrong_tags = adapters_of(asked.prompt, asked.loras, model.supported_loras, others)
        named = [
            *lora_mistakes(asked.loras, model.supported_loras, others),
            *wrong_tags,
            *clip_skip_mistakes(model, asked.clip_skip),
        ]
        mistakes += [one for one in named if not _tells(one.field, wrong)]
    elif "model" not in wrong:
        mistakes.append(FieldMistake("model", none_such(name for name in models if models[name].unavailable is None)))
    if "scheduler" not in wrong and asked.scheduler is not None:
        mistakes += scheduler_mistakes(asked.scheduler, _there(model, schedulers), schedulers)
    if not {"format", "quality"} & set(wrong) and asked.quality is not None and FORMATS[asked.format].quality is None:
        mistakes.append(FieldMistake("quality", _LOSSLESS))
    width, height, steps = _extent(asked, model)
    if not {"width", "height", "init_image"} & set(wrong) and width * height > MOST_PIXELS:
        mistakes.append(FieldMistake("width", _TOO_LARGE))
    hires = hires_after(asked.hires, width, height, steps) if asked.hires else None
    if model is not None and "scheduler" not in wrong:
        scheduler = _scheduler(asked, model, _there(model, schedulers))
        mistakes += [one for one in step_mistakes(model, scheduler, steps, hires) if not _tells(one.field, wrong)]
    native = model.native_size if model else None
    more = [*input_mistakes(asked, steps, hires, native), *reference_mistakes(asked, model, ip_adapters)]
    more += decoder_mistakes(asked.decoder, model, draft)
    return mistakes + [one for one in more if not _tells(one.field, wrong)]


def _extent(asked: Asked, model: ModelInfo | None) -> tuple[int, int, int]:
    """Return the width, the height and the steps of the first pass."""
    steps = asked.steps or (model.steps if model else 1)
    if asked.init_image is not None:
        return *size_after(asked.init_image, asked.width, asked.height), steps
    if model is not None and model.native_size and bool(asked.width) is not bool(asked.height):
        # What is not square is cut out of a square picture: who gives one side wants to see all of it.
        side = asked.width or asked.height or 0
        return side, side, steps
    return asked.width or (model.width if model else 0), asked.height or (model.height if model else 0), steps


def _scheduler(asked: Asked, model: ModelInfo, there: Sequence[str]) -> str | None:
    """Return the name that is meant, or None: the model's own."""
    usual = None if asked.exact else model.scheduler
    wished = usual if asked.scheduler is None else asked.scheduler
    return None if wished is None else named(wished, there)


def _there(model: ModelInfo | None, schedulers: Sequence[str]) -> Sequence[str]:
    """Return the names that go with a model, or all, where nobody knows which model it is."""
    return schedulers if model is None or model.schedulers is None else model.schedulers


def _name(asked: Asked, models: Mapping[str, ModelInfo]) -> str:
    """Return the model that is meant: without a name, the first that is available."""
    return asked.model or next((name for name, model in models.items() if model.unavailable is None), "")


def _tells(field: str, wrong: Collection[str]) -> bool:
    """Return whether a field, or what it is part of, was told as wrong."""
    parts = field.split(".")
    return any(".".join(parts[: number + 1]) in wrong for number in range(len(parts)))
