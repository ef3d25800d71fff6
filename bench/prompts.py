"""What reading a prompt costs beyond the text encoders, beside the library and compel as they come. Draws nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.utils import logging as library_logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from bench.plan import Stage
from bench.report import Figure, Part, Row, Target
from minimon_server.engines.checkpoint_loading import LONGEST, PADDING
from minimon_server.engines.clip_words import clip_words
from minimon_server.engines.sdxl_prompts import encode
from tests import small_pipeline

OURS, LIBRARY, COMPEL = "ours", "diffusers, cut at 77 tokens", "compel"
BARE = "nothing but calls and copies"
WIDTHS: Final = (768, 1280)  # SDXL's own text encoders; of their layers two are enough, as their time is taken off
LAYERS: Final = 2
STEPS: Final = 30
GOAL: Final = Target(2.0, at_most=True)  # ms

_TAGS: Final = "1girl, solo, (masterpiece:1.2), ((best quality)), [sketch], red hair \\(short\\), (smile:0.9), "
PROMPTS: Final[Mapping[str, tuple[str, str]]] = {
    "plain": ("a small lighthouse under two moons", "blurry"),
    "weights": (_TAGS, "(worst quality:1.4), lowres"),
    "weights, 5 chunks": (f"{_TAGS}BREAK {_TAGS * 12}", "(worst quality:1.4), lowres"),
    "edited, 30 steps": (f"{_TAGS}[a [red|blue] cat:a dog:0.5] in the rain", "(worst quality:1.4), lowres"),
}
Reading = Callable[[str, str], object]


@dataclass(slots=True)
class Inside:
    """The processor's seconds that were spent inside the encoders."""

    seconds: float = 0.0
    _began: list[float] = field(default_factory=list)

    @contextmanager
    def of(self, *networks: torch.nn.Module) -> Iterator[None]:
        """Count what these networks take."""
        hooks = [hook for network in networks for hook in self._hooks(network)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hooks(self, network: torch.nn.Module) -> Iterator[Any]:
        def begin(*_: Any) -> None:
            self._began.append(time.process_time())

        def end(*_: Any) -> None:
            self.seconds += time.process_time() - self._began.pop()

        yield network.register_forward_pre_hook(begin)
        yield network.register_forward_hook(end)


def measure(stage: Stage) -> Part:
    """Read every prompt in turns, and take off what the encoders took."""
    library_logging.set_verbosity_error()  # it warns of every prompt that it cuts
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = tuple(_rows(pipeline(), stage.plan.prompt_rounds))
    finally:
        torch.set_num_threads(threads)
    notes = [
        "prompts: processor's ms to read a prompt and its negative, less what runs inside the text encoders; "
        f"{stage.plan.prompt_rounds} rounds in turn after one that does not count.",
        "Encoders as wide as SDXL's, with two layers each, and SDXL's own two tokenizers.",
        "diffusers and compel know none of A1111's syntax: they read the same characters as plain words, and diffusers "
        "drops all beyond 77 tokens.",
        f"{BARE}: our calls of the encoders with tokens that are there, and one copy of what they make into its place; "
        "it reads nothing and weighs nothing: what is above it is ours to save.",
    ]
    if not find_spec("compel"):
        notes.append("compel is not installed here, and no part of this server: its column is empty.")
    return Part(rows, tuple(notes), contenders=(OURS, BARE, LIBRARY, COMPEL))


def pipeline() -> Any:
    """Return a pipeline whose text encoders are as wide as SDXL's."""
    words, merges = clip_words()
    kind: Any = CLIPTokenizer  # which says that it takes texts, and takes pairs
    first, second = (
        kind(words, merges, pad_token=PADDING[part], model_max_length=LONGEST) for part in ("tokenizer", "tokenizer_2")
    )
    return StableDiffusionXLPipeline(
        vae=small_pipeline.autoencoder(),
        text_encoder=small_pipeline.text_encoder(CLIPTextModel, LAYERS, WIDTHS[0], len(words)),
        text_encoder_2=small_pipeline.text_encoder(CLIPTextModelWithProjection, LAYERS, WIDTHS[1], len(words)),
        tokenizer=first,
        tokenizer_2=second,
        unet=small_pipeline.unet(),
        scheduler=small_pipeline.scheduler(),
        add_watermarker=False,
    )


def _rows(made: Any, rounds: int) -> Iterator[Row]:
    readers = _readers(made)
    for name, (prompt, negative) in PROMPTS.items():
        costs: dict[str, list[float]] = {reader: [] for reader in readers}
        for number in range(rounds + 1):
            for reader, read in readers.items():
                inside = Inside()
                with inside.of(made.text_encoder, made.text_encoder_2):
                    began = time.process_time()
                    read(prompt, negative)
                    spent = time.process_time() - began - inside.seconds
                if number:
                    costs[reader].append(spent * 1e3)
        cells = {reader: Figure.of(values, 2) for reader, values in costs.items()}
        yield Row(f"prompt, {name}, processor's ms beyond the encoders", cells, compared=True, target=GOAL)


def _readers(made: Any) -> Mapping[str, Reading]:
    found: dict[str, Reading] = {
        OURS: lambda prompt, negative: encode(made, prompt, negative, None, steps=STEPS),
        BARE: _Bare(made),
        LIBRARY: lambda prompt, negative: _by_the_library(made, prompt, negative),
    }
    if find_spec("compel"):
        found[COMPEL] = _by_compel(made)
    return found


class _Bare:
    """The calls and the copies that a prompt cannot do without; ours tells which those are."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self._known: dict[str, tuple[list[tuple[Any, torch.Tensor]], int, int]] = {}

    @torch.no_grad()
    def __call__(self, prompt: str, negative: str) -> torch.Tensor:
        """Run the encoders, and return what they made in the order and the size of our embeddings."""
        if prompt not in self._known:
            self._known[prompt] = self._learn(prompt, negative)
        calls, texts, chunks = self._known[prompt]
        rows: dict[Any, list[torch.Tensor]] = {network: [] for network, _ in calls}
        for network, ids in calls:
            rows[network].append(network(ids, output_hidden_states=True).hidden_states[-2])
        tokens, width = calls[0][1].shape[1], sum(WIDTHS)
        whole = torch.empty((texts * chunks, tokens, width))
        parts = [torch.split(part, 1) for part in torch.split(whole, list(WIDTHS), dim=2)]
        for part, found in zip(parts, rows.values(), strict=True):
            for at, slot in enumerate(part):
                slot.copy_(found[at % len(found)])
        return whole

    def _learn(self, prompt: str, negative: str) -> tuple[list[tuple[Any, torch.Tensor]], int, int]:
        calls: list[tuple[Any, torch.Tensor]] = []

        def heard(network: Any, given: tuple[torch.Tensor]) -> None:
            calls.append((network, given[0].clone()))

        hooks = [one.register_forward_pre_hook(heard) for one in (self._made.text_encoder, self._made.text_encoder_2)]
        try:
            spoken = encode(self._made, prompt, negative, None, steps=STEPS)
        finally:
            for hook in hooks:
                hook.remove()
        courses = [course for course in (spoken.asked, spoken.avoided) if course]
        texts = sum(len({id(one) for one in course.said}) for course in courses)
        return calls, texts, max(course.chunks for course in courses)


@torch.no_grad()
def _by_the_library(made: Any, prompt: str, negative: str) -> object:
    return made.encode_prompt(prompt, device=torch.device("cpu"), negative_prompt=negative)


def _by_compel(made: Any) -> Reading:
    compel: Any = import_module("compel")
    kind = compel.ReturnedEmbeddingsType.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
    reader = compel.Compel(
        tokenizer=[made.tokenizer, made.tokenizer_2],
        text_encoder=[made.text_encoder, made.text_encoder_2],
        returned_embeddings_type=kind,
        requires_pooled=[False, True],
        truncate_long_prompts=False,
    )
    return lambda prompt, negative: (reader(prompt), reader(negative))
