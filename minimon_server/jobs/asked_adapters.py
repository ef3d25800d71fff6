"""From the `loras` of a request and the tags in its prompt to adapters with weights. Looks at no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from minimon_server.engines.messages import AdapterUse
from minimon_server.engines.model_info import LoraInfo, ModelInfo
from minimon_server.engines.prompt_tags import Tag, tags
from minimon_server.errors import FieldMistake, Text

MOST_LORAS: Final = 4
LARGEST_WEIGHT: Final = 2.0
MOST_TOLD: Final = 8  # wrong tags
_HYPERNET: Final = Text("il n'y a pas d'hyperréseaux ici", "there are no hypernetworks here")
_ONE_WEIGHT: Final = Text(
    f"un seul poids, de -{LARGEST_WEIGHT:g} à {LARGEST_WEIGHT:g}",
    f"one weight, from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}",
)
_TOO_MANY: Final = Text(
    f"au plus {MOST_LORAS} LoRA, ceux de « loras » compris", f"at most {MOST_LORAS} LoRAs, those of 'loras' included"
)


_ALL_FIT: Final[Mapping[str, Text]] = {}


def adapters_of(
    prompt: str, loras: Sequence[tuple[str, float]], there: Sequence[str], others: Mapping[str, Text] = _ALL_FIT
) -> tuple[tuple[AdapterUse, ...], list[FieldMistake]]:
    """Return the adapters that `loras` and the tags of `prompt` ask for, in this order, and what is wrong with tags.

    A tag that names an adapter once more adds its weight: the effect of a LoRA is linear in it. `there` are the names
    that exist; those of `loras` have been checked. `others` says of names that exist too why they do not fit.
    """
    weights: dict[str, float] = {}
    wrong: dict[str, Text] = {}  # by the tag as it is written: the same mistake is told once
    found = tags(prompt)
    for tag in found:
        problem = _problem(tag, there, others)
        if problem is None and tag.weight is not None:
            weights[tag.name] = weights.get(tag.name, 0.0) + tag.weight
        else:
            wrong[tag.written] = problem or _ONE_WEIGHT
    uses = []
    for name, weight in loras:
        uses.append(AdapterUse(name, weight + weights.pop(name, 0.0)))
    uses += [AdapterUse(name, weight) for name, weight in weights.items()]
    named = {tag.name: tag.written for tag in found}
    for use in uses:
        if use.name in named and abs(use.weight) > LARGEST_WEIGHT:
            wrong.setdefault(named[use.name], _ONE_WEIGHT)
    mistakes = [_told(written, problem) for written, problem in list(wrong.items())[:MOST_TOLD]]
    if len(uses) > MOST_LORAS:
        mistakes.append(FieldMistake("prompt", _TOO_MANY))
    return tuple(uses), mistakes


def none_such(there: Iterable[str]) -> Text:
    """Return what is said of a name that is not here."""
    names = ", ".join(there)
    return Text(f"n'existe pas ici ; il y a : {names or 'rien'}", f"is not here; there are: {names or 'none'}")


def trigger_words(uses: Iterable[AdapterUse], loras: Mapping[str, LoraInfo]) -> list[str]:
    """Return the trigger words of the adapters that count, in their order."""
    return [word for use in uses if use.weight and use.name in loras for word in loras[use.name].trigger_words or ()]


def unfit(model: ModelInfo, loras: Mapping[str, LoraInfo]) -> dict[str, Text]:
    """Return, for each LoRA that is known and cannot go with a model, why not: its base, or what is wrong with it."""
    found = {}
    for name, lora in loras.items():
        if "unknown" not in (lora.base, model.base) and lora.base != model.base:
            found[name] = Text(
                f"est fait pour {lora.base} ; {model.id} est un modèle {model.base}",
                f"is made for {lora.base}; {model.id} is a model of {model.base}",
            )
        elif lora.network == "unknown" and lora.base == "unknown" and lora.unavailable:
            found[name] = lora.unavailable
    return found


def lora_mistakes(
    loras: Sequence[tuple[str, float]], there: Sequence[str], others: Mapping[str, Text]
) -> list[FieldMistake]:
    """Return what is wrong with the names in `loras`: unknown, of another base, or of too large a weight together.

    A name that stands there twice adds its weight, as in the prompt.
    """
    mistakes, weights = [], dict[str, float]()
    for number, (name, weight) in enumerate(loras):
        before = weights.get(name)
        weights[name] = weight + (before or 0.0)
        if name not in there:
            mistakes.append(FieldMistake(f"loras.{number}.name", others.get(name) or none_such(there)))
        elif before is not None and abs(weights[name]) > LARGEST_WEIGHT:
            mistakes.append(FieldMistake(f"loras.{number}.weight", _ONE_WEIGHT))
    return mistakes


def _problem(tag: Tag, there: Sequence[str], others: Mapping[str, Text]) -> Text | None:
    if tag.kind == "hypernet":
        return _HYPERNET
    if tag.name not in there:
        return others.get(tag.name) or none_such(there)
    return None if tag.weight is not None and abs(tag.weight) <= LARGEST_WEIGHT else _ONE_WEIGHT


def _told(written: str, problem: Text) -> FieldMistake:
    shown = written if len(written) <= 100 else f"{written[:99]}…"
    return FieldMistake("prompt", Text(f"{shown} : {problem.fr}", f"{shown}: {problem.en}"))
