"""From what a picture says of itself to the request that would make it again. Reads no file and checks no values.

Whoever made the file chose what it says: the request is checked as any other, and here only that nothing is missing,
and nothing there that we would pass over.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from minimon_server.engines.picture_reading import NotReadable, kind_of, told_in
from minimon_server.engines.prompt_tags import tags
from minimon_server.errors import FieldMistake, InvalidRequest, Text

__all__ = ["MADE_BY", "NotReadable", "body_of", "differences", "kind_of", "told_in"]

# What `picture_metadata.describe` tells of a request, and what a body of `POST /generate` calls it.
CARRIED: Final[Mapping[str, str]] = {
    "model": "model",
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "seed": "seed",
    "width": "width",
    "height": "height",
    "steps": "steps",
    "guidance_scale": "guidance_scale",
    "scheduler": "scheduler",
    "clip_skip": "clip_skip",
    "adapters": "loras",
    "guidance_rescale": "guidance_rescale",
    "format": "format",
    "quality": "quality",
    "hires": "hires",
    "decoder": "decoder",
}
# Null in these says something: the model's own scheduler, layer and decoder, and a format that loses nothing.
MAY_BE_NULL: Final = frozenset({"scheduler", "clip_skip", "quality", "hires", "decoder"})
# What files said before these fields were there; a model's default may have become something else.
BEFORE: Final[Mapping[str, Any]] = {"guidance_rescale": 0.0, "format": "png", "quality": None, "hires": None}
_BEGUN_WITH: Final = Text(
    "l'image dont celle-ci est partie n'est pas dans le fichier : renvoyez-la à /generate",
    "the picture that this one began with is not in the file: send it to /generate again",
)
# What decided a picture and cannot be had from its file, each with the reason.
NOT_REPLAYABLE: Final[Mapping[str, Text]] = {
    "init_image": _BEGUN_WITH,
    "mask": _BEGUN_WITH,
    "strength": _BEGUN_WITH,
    "ip_adapter": Text(
        "l'image de référence n'est pas dans le fichier : renvoyez-la à /generate",
        "the reference picture is not in the file: send it to /generate again",
    ),
}
# What no job does, and no request therefore says.
OF_CREATURES: Final[Mapping[str, Text]] = {
    "background": Text(
        "une tâche ne détoure pas : GET /v1/generate le fait, par background=transparent",
        "a job cuts nothing out: GET /v1/generate does, by background=transparent",
    )
}
# What follows from prompt, LoRAs, seed and model, and what a body says that stands in the prompt of a file already.
DERIVED: Final = frozenset({"trigger_words", "native_size", "exact"})
IN_THE_PROMPT: Final = frozenset({"add_trigger_words"})
# What an engine tells besides: how it went, not what was asked.
MADE_BY: Final = frozenset(
    {
        "schema",
        "scheduler_class",
        "prompt_tokens",
        "prompt_chunks",
        "negative_tokens",
        "negative_chunks",
        "ignored",
        "device",
        "dtype",
        "decoded",
        "decoded_in",
        "drawn_at",
        "rungs",
        "batch",
        "trained_words",
        "versions",
        "engine",
        "model_fingerprint",
        "hashes",
        "loras_rounded_to",
        "layers_in_full",
        *DERIVED,
    }
)
WEIGHT_DIGITS: Final = 9  # what a sum of weights is wrong by, as the numbers of a computer are, is less
MOST_NAMED: Final = 20
NONE_TRAINED: Final[Mapping[str, str]] = MappingProxyType({})
NO_HASHES: Final[Mapping[str, str]] = MappingProxyType({})
NO_DEVICE: Final[Mapping[str, str]] = MappingProxyType({})
LONGEST_NAME: Final = 64

_MISSING: Final = Text("manque dans ce fichier", "is missing in this file")
_UNKNOWN: Final = Text(
    "inconnu ici : une autre version a fait ce fichier", "is unknown here: another version has made this file"
)


def body_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of `POST /generate` that asks for one picture again, with the values as the file holds them.

    Raise `InvalidRequest` naming what is missing, and what is there that could not be carried into a request.
    """
    whole = {**BEFORE, **told}
    mistakes = [FieldMistake(name, _MISSING) for name in CARRIED if whole.get(name) is None and name not in MAY_BE_NULL]
    refused = {**NOT_REPLAYABLE, **OF_CREATURES}
    mistakes += [FieldMistake(name, why) for name, why in refused.items() if whole.get(name)]
    unknown = [name for name in whole if name not in CARRIED and name not in MADE_BY and name not in refused]
    mistakes += [FieldMistake(name[:LONGEST_NAME], _UNKNOWN) for name in unknown[:MOST_NAMED]]
    if mistakes:
        raise InvalidRequest(fields=mistakes)
    whole["adapters"] = _beside_tags(whole["prompt"], whole["adapters"])
    return {said: whole[name] for name, said in CARRIED.items() if whole.get(name) is not None}


def _beside_tags(prompt: object, adapters: object) -> object:
    """Return the adapters without what the tags of the prompt bring, which will bring it again."""
    if not isinstance(prompt, str) or not isinstance(adapters, list):
        return adapters  # to be refused by whoever checks values
    brought: dict[str, float] = {}
    for tag in tags(prompt):
        brought[tag.name] = brought.get(tag.name, 0.0) + (tag.weight or 0.0)
    left = []
    for use in adapters:
        more = brought.get(str(use.get("name"))) if isinstance(use, dict) else None
        if more is not None and isinstance(use.get("weight"), int | float):
            rest = round(use["weight"] - more, WEIGHT_DIGITS)
            if rest:
                left.append({**use, "weight": rest})
        else:
            left.append(use)
    return left


def differences(
    told: Mapping[str, Any],
    here: Mapping[str, str],
    fingerprint: str | None,
    trained: Mapping[str, str] = NONE_TRAINED,
    hashes: Mapping[str, str] = NO_HASHES,
    device: Mapping[str, str] = NO_DEVICE,
) -> list[dict[str, str | None]]:
    """Return what decided the picture and is not the same here, by name: `then`, and `now`; None where it is not.

    `here` are the versions, `fingerprint` is the model's, and `trained` are the words that the prompts may hold, with
    their files' digests; `hashes` are those of the files of model, VAE and LoRAs, and `device` is what computes
    here, with `loras_rounded_to` where LoRAs are. Files of earlier versions told none.
    """
    versions = told.get("versions")
    then = versions if isinstance(versions, dict) else {}
    names = [*here, *(name for name in list(then)[:MOST_NAMED] if name not in here)]
    was = told.get("model_fingerprint")
    changed = [{"what": "model_fingerprint", "then": _shown(was), "now": fingerprint}] if was != fingerprint else []
    if told.get("decoded") == "tiled":  # for want of memory: its seams show where the tiles were
        changed.append({"what": "decoded", "then": "tiled", "now": "whole"})
    changed += [*_computed_elsewhere(told, device), *_rounded_otherwise(told, device)]
    if isinstance(batch := told.get("batch"), int):  # it was drawn beside others, which rounds otherwise
        changed.append({"what": "batch", "then": str(batch)[:LONGEST_NAME], "now": "1"})
    hashed = told_hashes(told)
    changed += [
        {"what": f"hashes.{name}"[:LONGEST_NAME], "then": digest, "now": hashes.get(name)}
        for name, digest in hashed.items()
        if digest != hashes.get(name)
    ]
    words = trained_words(told)
    changed += [
        {"what": f"trained_words.{name}"[:LONGEST_NAME], "then": words.get(name), "now": trained.get(name)}
        for name in sorted(words.keys() | trained.keys())[:MOST_NAMED]
        if words.get(name) != trained.get(name)
    ]
    return changed + [
        {"what": f"versions.{name}"[:LONGEST_NAME], "then": _shown(then.get(name)), "now": here.get(name)}
        for name in names
        if then.get(name) != here.get(name)
    ]


def _computed_elsewhere(told: Mapping[str, Any], here: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Return the device and its numbers where a picture was drawn on another one.

    On the same one the numbers follow from the device; a picture that was drawn again in float32 there will be again.
    """
    if told.get("device") is None or told["device"] == here.get("device"):
        return []
    return [
        {"what": name, "then": _shown(told.get(name)), "now": here.get(name)}
        for name in ("device", "dtype")
        if told.get(name) != here.get(name)
    ]


def _rounded_otherwise(told: Mapping[str, Any], here: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Return to what LoRAs were rounded, where they changed quantised layers that would be held otherwise here.

    Another quantisation is a difference of its own.
    """
    then, now = told.get("loras_rounded_to"), here.get("loras_rounded_to")
    if (then is None) == (now is None) or not (then or told.get("layers_in_full")):
        return []
    return [{"what": "loras_rounded_to", "then": _shown(then), "now": now}]


def trained_words(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the trained words that a file names, each with the digest of what stood for it."""
    found = told.get("trained_words")
    pairs = list(found.items())[:MOST_NAMED] if isinstance(found, dict) else []
    return {name: digest[:LONGEST_NAME] for name, digest in pairs if isinstance(digest, str)}


def told_hashes(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes that a file tells: `model`, `vae`, `draft_decoder`, and `loras.<name>`."""
    found = told.get("hashes")
    if not isinstance(found, dict):
        return {}
    loras = found.get("loras")
    named = {f"loras.{name}": one for name, one in list(loras.items())[:MOST_NAMED]} if isinstance(loras, dict) else {}
    whole = {**{name: found.get(name) for name in ("model", "vae", "draft_decoder")}, **named}
    return {name: digest[:LONGEST_NAME] for name, digest in whole.items() if isinstance(digest, str)}


def _shown(value: object) -> str | None:
    if value is None:
        return None
    return value[:LONGEST_NAME] if isinstance(value, str) else "?"
