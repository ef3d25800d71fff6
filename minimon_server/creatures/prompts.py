"""From dice and a rarity to words: the prompt that draws a creature, by a table that an artist edits. Draws nothing.

The dice choose what a creature is (its traits); its rarity chooses how splendid it looks, and how many more steps it
gets. Each choice reads a hash of the dice and of its own name: a trait that is added changes no other.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from minimon_server.creatures.rarity import RARITIES, Rarity
from minimon_server.errors import StartupError
from minimon_server.toml_lines import Place, line_of, of_syntax, shown

LARGEST: Final = 256 * 1024  # bytes of a table
LONGEST_PROMPT: Final = 2000  # characters, as for a prompt of `POST /generate`
MOST_STEPS: Final = 100
_SLOT: Final = re.compile(r"\{([^{}]*)\}")

PromptLanguage = Literal["fr", "en"]


class Wording(NamedTuple):
    """What a creature is drawn from: two texts, and by how many steps it is drawn longer than the commonest."""

    prompt: str
    negative_prompt: str
    more_steps: int


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _each_rarity(table: Mapping[str, Any]) -> Mapping[str, Any]:
    if missing := [rarity for rarity in RARITIES if rarity not in table]:
        raise ValueError(f"lacks {', '.join(missing)}; it holds each of {', '.join(RARITIES)}")
    if strange := [name for name in table if name not in list(RARITIES)]:
        raise ValueError(f"there is no rarity {shown(strange[0])}; there are {', '.join(RARITIES)}")
    return table


# No tags such as <lora:...>: what is applied is set by the operator, not slipped in. Braces are the template's.
Phrase = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f<>{}]*$")]
Phrases = Annotated[tuple[Phrase, ...], BeforeValidator(_listed), Field(min_length=1, max_length=1000)]
Template = Annotated[str, Field(max_length=LONGEST_PROMPT, pattern=r"^[^\x00-\x1f\x7f<>]*$")]
Slot = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
ByRarity = Annotated[dict[str, Phrases], AfterValidator(_each_rarity)]
Steps = Annotated[dict[str, Annotated[int, Field(ge=0, le=MOST_STEPS)]], AfterValidator(_each_rarity)]


class _Member(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Words(_Member):
    """One language of a table: its templates, and the phrases for the names in their braces."""

    prompt: Annotated[Template, Field(min_length=1)]
    negative_prompt: Template = ""
    sprite_prompt: Template = ""  # the same for a creature that is cut out of its picture; empty: none is
    sprite_negative_prompt: Template = ""
    traits: dict[Slot, Phrases] = Field(default_factory=dict)
    by_rarity: dict[Slot, ByRarity] = Field(default_factory=dict)


class Table(_Member):
    """A whole table as its file has it."""

    schema_number: Annotated[Literal[1], Field(alias="schema")]
    more_steps: Steps
    en: Words
    fr: Words


class Prompts:
    """The words of one language. A pure function from dice and rarity, for every thread."""

    def __init__(self, table: Table, language: PromptLanguage, digest: str = "") -> None:
        """`digest` tells one table from another, for whoever keeps what was drawn from it."""
        self.digest = digest
        self._words: Words = table.fr if language == "fr" else table.en
        self._more_steps = table.more_steps

    @property
    def most_more_steps(self) -> int:
        """The steps of the rarest beyond those of the settings."""
        return max(self._more_steps.values())

    @property
    def has_sprites(self) -> bool:
        """Whether the table has words for a creature that is to be cut out."""
        return bool(self._words.sprite_prompt)

    def of(self, dice: bytes, rarity: Rarity, *, alone: bool = False) -> Wording:
        """Return the words of the creature of these 32 bytes: the same ones for the same bytes.

        `alone`: before an even background, for whoever cuts it out; only where there are words for that.
        """
        words = self._words
        return Wording(
            self._filled(words.sprite_prompt if alone else words.prompt, dice, rarity),
            self._filled(words.sprite_negative_prompt if alone else words.negative_prompt, dice, rarity),
            self._more_steps[rarity],
        )

    def _filled(self, template: str, dice: bytes, rarity: Rarity) -> str:
        """Fill in a template; a part between two commas of which nothing is left goes with its comma."""
        filled = _SLOT.sub(lambda slot: self._phrase(slot[1], dice, rarity), template)
        parts = (" ".join(part.split()) for part in filled.split(","))
        return ", ".join(part for part in parts if part)

    def _phrase(self, slot: str, dice: bytes, rarity: Rarity) -> str:
        words = self._words
        phrases = words.traits[slot] if slot in words.traits else words.by_rarity[slot][rarity]
        # 64 bits times the count, divided by 2^64: even to 1e-16, without the bias of a remainder.
        thrown = int.from_bytes(sha256(b"minimon prompt 1|" + slot.encode("ascii") + b"|" + dice).digest()[:8], "big")
        return phrases[thrown * len(phrases) >> 64]


def load_prompts(path: Path, language: PromptLanguage) -> Prompts:
    """Read the table at `path`; raise `StartupError` with a line for each mistake: where, and what may stand there."""
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "not a file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise StartupError([f"{path}: {(error.strerror or type(error).__name__).lower()}"]) from None
    mistakes, table = _read(data)
    if mistakes or table is None:
        raise StartupError([f"{path}: {line}" for line in mistakes])
    return Prompts(table, language, sha256(data).hexdigest())


def _read(data: bytes) -> tuple[list[str], Table | None]:
    if len(data) > LARGEST:
        return [f"it is larger than {LARGEST} bytes"], None
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        return [f"line {data[: error.start].count(10) + 1}: it is not UTF-8"], None
    try:
        said = tomllib.loads(text)
    except RecursionError:
        return ["it is nested too deeply"], None
    except ValueError as error:
        return [of_syntax(str(error))], None
    try:
        table = Table.model_validate(said)
    except ValidationError as error:
        found = [(one["loc"], str(one["msg"]).removeprefix("Value error, ")) for one in error.errors(include_url=False)]
        return [_told(text, place, message) for place, message in found], None
    return [_told(text, place, message) for place, message in _contradictions(table)], table


def _contradictions(table: Table) -> Iterator[tuple[Place, str]]:
    """Yield what cannot be true together, in either language: one that is not in use now may be tomorrow."""
    for language, words in (("en", table.en), ("fr", table.fr)):
        for slot in sorted(set(words.traits) & set(words.by_rarity)):
            yield (language, "by_rarity", slot), "stands among the traits too; one of them must go"
        for name in ("prompt", "negative_prompt", "sprite_prompt", "sprite_negative_prompt"):
            yield from _of_template(language, name, getattr(words, name), words)


def _of_template(language: str, name: str, template: str, words: Words) -> Iterator[tuple[Place, str]]:
    known = [*words.traits, *words.by_rarity]
    unknown = [slot for slot in _SLOT.findall(template) if slot not in known]
    for slot in unknown:
        yield (language, name), f"{{{shown(slot)}}} is no trait; there are {', '.join(known) or 'none'}"
    if set(_SLOT.sub("", template)) & set("{}"):
        yield (language, name), "holds a brace without its partner"
    elif not unknown and (longest := _longest(template, words)) > LONGEST_PROMPT:
        yield (language, name), f"may become {longest} characters long; at most {LONGEST_PROMPT} are drawn"


def _longest(template: str, words: Words) -> int:
    def width(phrases: Sequence[str]) -> int:
        return max(len(phrase) for phrase in phrases)

    widths = {slot: width(phrases) for slot, phrases in words.traits.items()}
    widths |= {slot: max(width(one) for one in table.values()) for slot, table in words.by_rarity.items()}
    return len(_SLOT.sub("", template)) + sum(widths[slot] for slot in _SLOT.findall(template))


def _told(text: str, place: Place, message: str) -> str:
    """Return `line 12: en.traits.colour, phrase 3: what is wrong`."""
    members = [str(step) for step in place if not isinstance(step, int) and step != "[key]"]
    number = next((f", phrase {step + 1}" for step in place if isinstance(step, int)), "")
    line = line_of(text, tuple(members))
    where = ".".join(shown(one) for one in members) + number
    return (f"line {line}: " if line else "") + (f"{where}: " if where else "") + message
