"""From traits to what a person might type: English or French, tags or sentences, never everything. Draws nothing."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tools.artist.traits import TRAIT_KINDS, TRAIT_NAMES, Traits
from tools.tiny.mots import FRENCH, FRENCH_COMPOSITES, FRENCH_NOUNS, FRENCH_PRAISE
from tools.tiny.words import COMPOSITES, ENGLISH, JUNK, NOUNS, PRAISE

# How often a trait is named; what is small in the picture is named more often.
CHANCE: Final = 0.68
CHANCES: Final[Mapping[str, float]] = MappingProxyType(
    {"colour": 0.85, "mouth": 0.72, "tail": 0.78, "pattern": 0.78, "element": 0.8, "ears": 0.75, "rarity": 0.7}
)
ABSENT: Final = 0.3  # of what is not there: "no wings"
ABSENT_VALUES: Final = ("none", "plain", "normal")
SOME: Final = 0.1  # "wings" in place of "bat wings"
FRENCH_SHARE: Final = 0.2
USUAL: Final = 0.45  # the first phrase of a value, before all others
COMPOSITE: Final = 0.5
MOST_WORDS: Final = 46
STRAY: Final = 0.02  # of what is typed names nothing at all
# The eyes of a creature whose caption names none. What is left open is otherwise painted as an even blend of all that
# it may be, which wings and tails bear and a face does not: so they follow the element, or are big where none is named.
MOODS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fire": "angry", "water": "happy", "grass": "big", "electric": "happy", "ghost": "one", "ice": "sleepy",
        "normal": "big",
    }
)  # fmt: skip
MOOD: Final = "big"
MOOD_SHARE: Final = 0.85  # of the creatures with such eyes whose caption leaves them out
STRANGE: Final = "你好世界猫火水こんにちはприветمرحبا🐉🔥⚡👑😀?!*#&"


@dataclass(frozen=True, slots=True)
class Caption:
    """A text, and for each trait that it names the values that would satisfy it."""

    text: str
    named: Mapping[str, frozenset[str]]


@dataclass(slots=True)
class _Parts:
    """Phrases by their place in a sentence."""

    adjectives: list[str]
    nouns: list[str]
    features: list[str]
    alone: list[str]

    def add(self, phrase: str) -> None:
        if phrase.endswith("~"):
            self.adjectives.append(phrase[:-1])
        elif phrase.startswith("="):
            self.nouns.append(phrase[1:])
        elif phrase.startswith("@"):
            self.alone.append(phrase[1:])
        else:
            self.features.append(phrase)


def caption(traits: Traits, rng: random.Random, always: Collection[str] = (), never: Collection[str] = ()) -> Caption:
    """Return a caption of these traits; those in `always` are named, whatever else is, and those in `never` are not."""
    french = rng.random() < FRENCH_SHARE
    parts, named = _Parts([], [], [], []), dict[str, frozenset[str]]()
    fullness = rng.choice((0.45, 0.85, 1.0, 1.0, 1.15, 2.0))
    for name in TRAIT_NAMES:
        value = getattr(traits, name).value
        chance = CHANCES.get(name, CHANCE) * fullness
        if value in ABSENT_VALUES and name != "background":
            chance *= ABSENT
        if name in always or (rng.random() < chance and name not in never):
            _name(name, value, french, parts, named, rng)
    if rng.random() < COMPOSITE:
        _compose(traits, french, parts, rng)
    if rng.random() < 0.1:
        parts.alone += [_junk(rng) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.2:
        parts.adjectives.insert(0, rng.choice(FRENCH_PRAISE if french else PRAISE))
    style = rng.random()
    text = _tags(parts, french, rng) if style < 0.5 else _sentence(parts, french, rng)
    return Caption(_spell(_shorten(text), rng), named)


def typed(traits: Traits, rng: random.Random) -> Caption:
    """Return a caption, or now and then a text that says nothing: any prompt is to give some creature."""
    if rng.random() >= STRAY:
        return _with_mood(traits, rng)
    count = rng.choice((0, 1, 2, 4, 12, 30))
    words = [_junk(rng) if rng.random() < 0.5 else _strange(rng) for _ in range(count)]
    return Caption(" ".join(words), {})


def _with_mood(traits: Traits, rng: random.Random) -> Caption:
    """Return a caption that tells of the eyes, by naming them or by leaving them to what `MOODS` says."""
    eyes = traits.eyes.value
    open_to = (MOODS[traits.element.value], MOOD)
    made = caption(traits, rng, never=("eyes",) if eyes in open_to and rng.random() < MOOD_SHARE else ())
    mood = MOODS[traits.element.value] if "element" in made.named else MOOD
    if "eyes" not in made.named and eyes != mood:
        return caption(traits, rng, always=(*made.named, "eyes"))
    return Caption(made.text, {**made.named, "eyes": frozenset({eyes})})


def _strange(rng: random.Random) -> str:
    return "".join(rng.choice(STRANGE) for _ in range(rng.randint(1, 6)))


def _name(name: str, value: str, french: bool, parts: _Parts, named: dict[str, frozenset[str]],
          rng: random.Random) -> None:  # fmt: skip
    words = (FRENCH if french else ENGLISH)[name]
    if "some" in words and value != "none" and rng.random() < SOME:
        phrases = words["some"].split("|")
        named[name] = frozenset(one.value for one in TRAIT_KINDS[name] if one.value != "none")
    else:
        phrases = words[value].split("|")
        named[name] = frozenset({value})
    usual = phrases[0] if rng.random() < USUAL else rng.choice(phrases)
    if usual.startswith("=") and parts.nouns:  # one noun is enough
        usual = next((phrase for phrase in phrases if not phrase.startswith("=")), usual)
    parts.add(usual)


def _compose(traits: Traits, french: bool, parts: _Parts, rng: random.Random) -> None:
    fitting = [
        word
        for word, needs in COMPOSITES.items()
        if all(getattr(traits, name).value == value for name, value in needs.items())
    ]
    if fitting and not parts.nouns:
        word = rng.choice(fitting)
        parts.nouns.append(FRENCH_COMPOSITES[word] if french else word)


def _junk(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(JUNK)
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 5)))


def _noun(parts: _Parts, french: bool, rng: random.Random) -> str:
    plain = rng.choice(FRENCH_NOUNS if french else NOUNS)
    if not parts.nouns:
        return plain
    own = " ".join(parts.nouns)
    return own if rng.random() < 0.6 else f"{own} {plain}"


def _core(parts: _Parts, french: bool, rng: random.Random) -> str:
    """Return noun and adjectives in the language's order, with an article or without."""
    noun = _noun(parts, french, rng)
    adjectives = list(parts.adjectives)
    if rng.random() < 0.5:
        rng.shuffle(adjectives)
    if french:
        article = rng.choice(("un", "un", "une", "le", ""))
        return " ".join([article, noun, *adjectives]).strip()
    first = (adjectives[0] if adjectives else noun)[0]
    article = rng.choice(("an" if first in "aeiou" else "a",) * 3 + ("the", "", ""))
    return " ".join([article, *adjectives, noun]).strip()


def _tags(parts: _Parts, french: bool, rng: random.Random) -> str:
    """Return phrases parted by commas: a core first, or nothing but tags in any order."""
    rest = [*parts.features, *parts.alone]
    if rng.random() < 0.7:
        rng.shuffle(rest)
        core = _core(parts, french, rng)
        tags = [core, *rest] if rng.random() < 0.85 else [*rest, core]
    else:
        tags = [*rest, *parts.adjectives, _noun(parts, french, rng)]
        rng.shuffle(tags)
    return (", " if rng.random() < 0.85 else " ").join(tags)


def _sentence(parts: _Parts, french: bool, rng: random.Random) -> str:
    """Return a sentence: core, "with" features, then what stands alone."""
    text = _core(parts, french, rng)
    features, alone = list(parts.features), list(parts.alone)
    rng.shuffle(features)
    rng.shuffle(alone)
    if features:
        last = f" {'et' if french else 'and'} ".join(features[-2:])
        listed = ", ".join([*features[:-2], last])
        text += f" {'avec' if french else rng.choice(('with', 'with', 'that has', 'having'))} {listed}"
    if alone:
        text += (" " if rng.random() < 0.3 else ", ") + ", ".join(alone)
    return text


def _shorten(text: str) -> str:
    words = text.split()
    return " ".join(words[:MOST_WORDS])


def _spell(text: str, rng: random.Random) -> str:
    """Return the text as a hurried or a loud person types it, now and then."""
    chance = rng.random()
    if chance < 0.05:
        return text.upper()
    if chance < 0.2:
        return text[:1].upper() + text[1:] + "."
    if chance < 0.28:
        return text.replace(",", "").replace("é", "e").replace("è", "e").replace("ê", "e").replace("œ", "oe")
    return text
