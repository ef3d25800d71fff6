"""From the texts of a request to the chunks of each text encoder, over all steps. Encodes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from minimon_server.engines.prompt_chunks import Chunk, Cutter
from minimon_server.engines.prompt_schedule import Schedule, schedule
from minimon_server.engines.prompt_syntax import Weighed, weigh

# Called with a field of the request, and with what of it has no effect.
Ignore = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Read:
    """One text as chunks of tokens, of each encoder."""

    chunks: tuple[list[Chunk], ...]

    @property
    def count(self) -> int:
        """How many chunks the longer of them has."""
        return max(len(chunks) for chunks in self.chunks)

    @property
    def tokens(self) -> int:
        """How many tokens, at the most."""
        return max(sum(len(chunk.ids) for chunk in chunks) for chunks in self.chunks)


@dataclass(frozen=True, slots=True)
class ReadCourse:
    """A prompt over the steps, and each entry of it as chunks; equal texts are one object."""

    schedule: Schedule
    reads: tuple[Read, ...]


def read_prompts(
    prompts: Sequence[tuple[str, str]], steps: int, cutters: Sequence[Cutter], ignore: Ignore
) -> list[ReadCourse]:
    """Return each of `prompts`, (field, text), over `steps` steps; all are tokenized at once."""
    courses = [schedule(text, steps) for _, text in prompts]
    weighed: dict[str, Weighed] = {}
    for (field, _), course in zip(prompts, courses, strict=True):
        for _, text in course.entries:
            if text not in weighed:
                weighed[text] = weigh(text)
            for why in weighed[text].ignored:
                ignore(field, why)
    pieces = {piece.text: None for one in weighed.values() for section in one.sections for piece in section}
    for cutter in cutters:
        cutter.tokens.learn(pieces)
    known = {text: Read(_cut(one, cutters)) for text, one in weighed.items()}
    return [ReadCourse(course, _reads(course, known)) for course in courses]


def _reads(course: Schedule, known: Mapping[str, Read]) -> tuple[Read, ...]:
    return tuple(known[text] for _, text in course.entries)


def _cut(weighed: Weighed, cutters: Sequence[Cutter]) -> tuple[list[Chunk], ...]:
    first = cutters[0]
    found = [first.cut(weighed.sections)]
    for cutter in cutters[1:]:
        found.append(found[0] if cutter.cuts_like(first, weighed.sections) else cutter.cut(weighed.sections))
    return tuple(found)
