"""From words to what the UNet is told, step by step: both text encoders, weights, trained words. Cuts nothing.

A plain prompt of one chunk gives exactly what the library's `encode_prompt` gives. Chunks are encoded one by one and
laid end to end, the pooled embedding is the first chunk's, and weights are applied as A1111 does (`prompt_emphasis`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch

from minimon_server.engines.messages import EngineFault
from minimon_server.engines.prompt_chunks import Chunk, Cutter
from minimon_server.engines.prompt_emphasis import place, weights_of
from minimon_server.engines.prompt_encoders import NO_CHUNK, Encoder, Key, Row
from minimon_server.engines.prompt_reading import Read, ReadCourse, read_prompts
from minimon_server.engines.prompt_schedule import Schedule
from minimon_server.engines.prompt_tags import tags, without_tags
from minimon_server.engines.prompt_tokens import tokens_of
from minimon_server.engines.textual_inversion import Find, TrainedWords, nothing_trained

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

PENULTIMATE: Final = 2  # the layer that SDXL was trained on, counted from the end
TELL_EVERY: Final = 8  # encoded chunks
# What is told of a prompt goes into records and files: so many reasons, of so many characters.
MOST_REASONS: Final = 16
LONGEST_REASON: Final = 200

# Called while many chunks are encoded, with how many are done and how many there are; may raise to end it.
Tell = Callable[[int, int], None]
# Called before anything is encoded, with the bytes that it takes at the least; may raise to refuse it.
Expect = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Said:
    """One text as embeddings: [1, 77 * chunks, both widths], and [1, projection]."""

    words: torch.Tensor
    pooled: torch.Tensor


@dataclass(frozen=True, slots=True)
class Course:
    """A prompt over the steps, and how much of it there was at the most."""

    schedule: Schedule
    said: tuple[Said, ...]  # one an entry
    tokens: int
    chunks: int

    def at(self, step: int) -> Said:
        """Return what is told at `step`, from 1."""
        return self.said[self.schedule.at(step)]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A prompt and its negative, None without guidance; `ignored` says what of them has no effect, and why.

    `trained` are the trained words that were used, each with the SHA-256 of its file.
    """

    asked: Course
    avoided: Course | None
    ignored: tuple[str, ...]
    trained: Mapping[str, str] = field(default_factory=dict)

    @property
    def prompt(self) -> torch.Tensor:
        """The prompt's embeddings at the first step."""
        return self.asked.at(1).words

    @property
    def pooled(self) -> torch.Tensor:
        """The prompt's pooled embedding at the first step."""
        return self.asked.at(1).pooled

    @property
    def negative(self) -> torch.Tensor | None:
        """The negative prompt's embeddings at the first step, or None."""
        return self.avoided.at(1).words if self.avoided else None

    @property
    def negative_pooled(self) -> torch.Tensor | None:
        """The negative prompt's pooled embedding at the first step, or None."""
        return self.avoided.at(1).pooled if self.avoided else None

    @property
    def amounts(self) -> dict[str, int]:
        """How many tokens and chunks were read, at the most over all steps; of the negative prompt where it is used."""
        told = {"prompt_tokens": self.asked.tokens, "prompt_chunks": self.asked.chunks}
        if self.avoided:
            told |= {"negative_tokens": self.avoided.tokens, "negative_chunks": self.avoided.chunks}
        return told

    def change(self, before: int, step: int) -> dict[str, torch.Tensor]:
        """Return what the library's loop must be told when `step` follows `before`: nothing where nothing changes.

        Its names, and its order: the negative goes first.
        """
        courses = [course for course in (self.avoided, self.asked) if course]
        both = [course.at(step) for course in courses]
        if all(one is course.at(before) for one, course in zip(both, courses, strict=True)):
            return {}
        return {
            "prompt_embeds": torch.cat([one.words for one in both]),
            "add_text_embeds": torch.cat([one.pooled for one in both]),
        }


@torch.no_grad()
def encode(
    pipeline: StableDiffusionXLPipeline,
    prompt: str,
    negative: str | None,
    clip_skip: int | None,
    *,
    steps: int = 1,
    trained: TrainedWords | None = None,
    tell: Tell | None = None,
    expect: Expect | None = None,
) -> Spoken:
    """Return the embeddings of `prompt` over `steps` steps, and of `negative` unless it is None: then there is no
    guidance.

    `clip_skip` counts as A1111 does: 1 is the last layer, 2 the one before, which is SDXL's own and what None means. It
    holds for both prompts. An empty negative prompt is all zeros where the model's settings say so.
    """
    encoders = [
        Encoder(0, pipeline.tokenizer, pipeline.text_encoder),
        Encoder(1, pipeline.tokenizer_2, pipeline.text_encoder_2),
    ]
    layer = PENULTIMATE if clip_skip is None else clip_skip
    layers = min(encoder.layers for encoder in encoders)
    if not 1 <= layer <= layers:
        raise EngineFault(f"clip_skip may be 1 to {layers} with this model.")
    studio = _Studio(encoders, layer, trained)
    texts = [("prompt", without_tags(prompt)), *([] if negative is None else [("negative_prompt", negative)])]
    courses = studio.read(texts, steps)
    for tag in tags(negative or ""):
        studio.ignore("negative_prompt", f"{tag.written} is words there: LoRAs stand in the prompt")
    zeros = negative == "" and pipeline.config["force_zeros_for_empty_prompt"]
    used = [read for course in (courses[:1] if zeros else courses) for read in course.reads]
    count = max(read.count for read in used)
    studio.encode(used, count, tell, expect)
    course, *rest = studio.courses(courses[:1] if zeros else courses, count)
    against = rest[0] if rest else None
    if zeros:
        plain = course.said[0]
        nothing = Said(torch.zeros_like(plain.words), torch.zeros_like(plain.pooled))
        against = Course(courses[1].schedule, (nothing,), 0, 1)
    return Spoken(course, against, tuple(studio.reasons), studio.trained)


@dataclass(slots=True)
class _Wanted:
    """A chunk that an encoder is to read, and what it made of it."""

    encoder: Encoder
    chunk: Chunk
    row: Row | None = None


class _Studio:
    """What one request encodes with: each different chunk once."""

    def __init__(self, encoders: Sequence[Encoder], layer: int, trained: TrainedWords | None) -> None:
        self._encoders = encoders
        self._layer = layer
        self._wanted: dict[Key, _Wanted] = {}
        self._of: dict[tuple[int, int], _Wanted] = {}  # by the encoder's number, and a chunk's `id`
        self.reasons: list[str] = []
        self.trained: dict[str, str] = {}
        self._cutters = [
            Cutter(tokens, encoder.room, find)
            for tokens, encoder, find in zip(
                tokens_of([encoder.tokenizer for encoder in encoders]), encoders, self._finders(trained), strict=True
            )
        ]

    def _finders(self, trained: TrainedWords | None) -> list[Find]:
        names = trained.names() if trained else {}
        if trained is None or not names:
            return [nothing_trained for _ in self._encoders]
        first, second = self._encoders
        widths, room = (first.width, second.width), min(first.room, second.room)
        return [trained.finder(names, one.tokenizer, widths, room, self._ignore_word) for one in self._encoders]

    def ignore(self, field: str, why: str) -> None:
        """Remember what of a field has no effect."""
        reason = f"{field}: {why}"
        if len(reason) > LONGEST_REASON:
            reason = reason[: LONGEST_REASON - 1] + "…"
        if len(self.reasons) == MOST_REASONS:
            reason = "and more"
        if len(self.reasons) <= MOST_REASONS and reason not in self.reasons:
            self.reasons.append(reason)

    def _ignore_word(self, name: str, why: str) -> None:
        self.ignore(f"embedding {name}", why)

    def read(self, prompts: Sequence[tuple[str, str]], steps: int) -> list[ReadCourse]:
        """Return each of the prompts, (field, text), as chunks over the steps."""
        return read_prompts(prompts, steps, self._cutters, self.ignore)

    def encode(self, reads: Sequence[Read], count: int, tell: Tell | None, expect: Expect | None) -> None:
        """Run the encoders over all chunks, and over an empty one where a text is shorter than `count`."""
        for read in reads:
            for encoder, chunks in zip(self._encoders, read.chunks, strict=True):
                for chunk in _filled(chunks, count):
                    self._want(encoder, chunk)
        wanted = list(self._wanted.values())
        if expect is not None:
            texts = len({id(read) for read in reads})
            whole = texts * count * sum(encoder.row_bytes for encoder in self._encoders)
            expect(whole + sum(one.encoder.row_bytes for one in wanted))
        # All that can be made ready is, before any encoder runs: what follows one finds nothing in the caches.
        rows = [
            iter(encoder.rows([one.chunk for one in wanted if one.encoder is encoder])) for encoder in self._encoders
        ]
        for done, one in enumerate(wanted):
            if tell is not None and done and done % TELL_EVERY == 0:
                tell(done, len(wanted))
            one.row = one.encoder.run(one.chunk, next(rows[one.encoder.number]), self._layer)

    def _want(self, encoder: Encoder, chunk: Chunk) -> None:
        here = encoder.number, id(chunk)
        if here in self._of:
            return
        key = encoder.key(chunk)
        if key not in self._wanted:
            self._wanted[key] = _Wanted(encoder, chunk)
        self._of[here] = self._wanted[key]
        self.trained.update((word.name, word.digest) for _, word in chunk.words)

    def courses(self, courses: Sequence[ReadCourse], count: int) -> list[Course]:
        """Return prompts as embeddings of `count` chunks each.

        They are parts of one tensor: memory for all is asked for once.
        """
        different = [list({id(one): one for one in course.reads}.values()) for course in courses]
        second = self._encoders[-1]
        tokens, width = second.room + 2, sum(encoder.width for encoder in self._encoders)
        shape = sum(map(len, different)), count * tokens, width
        whole = torch.empty(shape, dtype=second.dtype, device=second.device)
        parts = torch.split(whole, [len(reads) for reads in different])
        return [
            self._course(course, reads, words) for course, reads, words in zip(courses, different, parts, strict=True)
        ]

    def _course(self, course: ReadCourse, different: Sequence[Read], whole: torch.Tensor) -> Course:
        """Return a prompt as embeddings, written into `whole`, [different texts, 77 * chunks, both widths].

        A1111 encodes the texts of one schedule as one batch, and the mean that it restores is the whole batch's.
        """
        often = [sum(one is other for other in course.reads) for one in different]
        second = self._encoders[-1]
        tokens = second.room + 2
        count = whole.shape[1] // tokens
        # Every number is written once, into its place: chunks lie end to end, the encoders side by side.
        rows_of = whole.view(len(different) * count, tokens, -1)
        places = torch.split(rows_of, [one.width for one in self._encoders], dim=2)
        for encoder, part in zip(self._encoders, places, strict=True):
            slots = torch.split(part, 1)
            chunks = [_filled(one.chunks[encoder.number], count) for one in different]
            weights = weights_of([chunk for one in chunks for chunk in one], tokens, encoder.device)
            for at in range(count):
                here = [one[at] for one in chunks]
                rows = [self._row(encoder, chunk).hidden for chunk in here]
                if not place(rows, [weights.get(id(chunk)) for chunk in here], often, slots[at::count]):
                    self.ignore("weights", "they cancel each other out, so there is no mean to restore")
        said = {
            # The pooled embedding is the second encoder's, as in SDXL's training.
            id(one): Said(words, self._row(second, one.chunks[-1][0]).pooled)
            for one, words in zip(different, torch.split(whole, 1), strict=True)
        }
        return Course(
            course.schedule,
            tuple(said[id(one)] for one in course.reads),
            max(one.tokens for one in different),
            max(one.count for one in different),
        )

    def _row(self, encoder: Encoder, chunk: Chunk) -> Row:
        row = self._of[encoder.number, id(chunk)].row
        assert row is not None, "every chunk is encoded before it is placed"
        return row


def _filled(chunks: list[Chunk], count: int) -> list[Chunk]:
    return chunks if len(chunks) == count else chunks + [NO_CHUNK] * (count - len(chunks))
