"""From a query or JSON to a checked model: every mistake at once, by field, in both languages. Knows no route."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from json import JSONDecoder
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.types import Scope

from minimon_server.errors import FieldMistake, InvalidRequest, Text
from minimon_server.json_mistakes import BODY, REPEATED, Repeated, read_object

Model = TypeVar("Model", bound=BaseModel)

MOST_PARAMETERS: Final = 32
LONGEST_FIELD: Final = 64
MOST_VALUES: Final = 1024  # of a body; the largest that means something holds a few dozen

_UNKNOWN: Final = Text("champ inconnu", "unknown field")
_TOO_MANY: Final = Text(f"au plus {MOST_VALUES} valeurs", f"at most {MOST_VALUES} values")
_UNREADABLE: Final = FieldMistake(
    "query",
    Text(
        "la partie après « ? » n'est pas lisible : nom=valeur, UTF-8, 32 paramètres au plus",
        "the part after '?' cannot be read: name=value, UTF-8, at most 32 parameters",
    ),
)

# A text of JSON, to its end or to the end of all: each byte is looked at once.
_TEXTS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# Numbers of any length are read at once, as doubles: nobody counts with them here.
_DECODER: Final = JSONDecoder(object_pairs_hook=read_object, parse_int=float, strict=False)

# pydantic's error types (https://docs.pydantic.dev/latest/errors/validation_errors/) in our two languages.
_MESSAGES: Final[dict[str, Text]] = {
    "missing": Text("manque", "is missing"),
    "extra_forbidden": _UNKNOWN,
    "enum": Text("doit être l'un de : {choices}", "must be one of: {choices}"),
    "literal_error": Text("doit être l'un de : {choices}", "must be one of: {choices}"),
    "int_parsing": Text("doit être un nombre entier", "must be a whole number"),
    "int_parsing_size": Text("trop de chiffres", "has too many digits"),
    "int_type": Text("doit être un nombre entier", "must be a whole number"),
    "greater_than": Text("doit dépasser {gt}", "must be above {gt}"),
    "greater_than_equal": Text("doit valoir au moins {ge}", "must be at least {ge}"),
    "less_than_equal": Text("doit valoir au plus {le}", "must be at most {le}"),
    "string_too_long": Text("au plus {max_length} caractères", "at most {max_length} characters"),
    "string_too_short": Text("au moins {min_length} caractère", "at least {min_length} character"),
    "string_type": Text("doit être un texte", "must be a text"),
    "string_pattern_mismatch": Text("contient un caractère interdit", "holds a character that is forbidden there"),
    "string_unicode": Text("n'est pas de l'UTF-8", "is not UTF-8"),
    "int_from_float": Text("doit être un nombre entier", "must be a whole number"),
    "float_type": Text("doit être un nombre", "must be a number"),
    "float_parsing": Text("doit être un nombre", "must be a number"),
    "finite_number": Text("doit être un nombre fini", "must be a finite number"),
    "multiple_of": Text("doit être un multiple de {multiple_of}", "must be a multiple of {multiple_of}"),
    "tuple_type": Text("doit être une liste", "must be a list"),
    "too_long": Text("au plus {max_length} éléments", "at most {max_length} items"),
    "model_type": Text("doit être un objet JSON", "must be a JSON object"),
    "json_invalid": Text("n'est pas du JSON lisible", "is not readable JSON"),
}


def read_query(scope: Scope, model: type[Model]) -> Model:
    """Return the query of this request as a `model`; raise `InvalidRequest` naming every wrong parameter."""
    raw: bytes = scope["query_string"]
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError as error:  # UnicodeDecodeError, too many fields, a parameter without "="
        raise InvalidRequest(fields=[_UNREADABLE]) from error
    values = dict(pairs)
    repeated = sorted({name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1})
    mistakes = [FieldMistake(name, REPEATED) for name in repeated]
    try:
        read = model.model_validate(values)
    except ValidationError as error:
        mistakes += [_mistake(details) for details in error.errors(include_url=False)]
    if mistakes:
        raise InvalidRequest(fields=mistakes)
    return read


@dataclass(frozen=True, slots=True)
class Examined(Generic[Model]):
    """A body of JSON: `read`, or its `mistakes`.

    `members` is what it says, unchecked, for who may find more mistakes in it; empty where nothing could be read.
    """

    read: Model | None
    mistakes: tuple[FieldMistake, ...] = ()
    members: Mapping[str, Any] = field(default_factory=dict)


def examine_json(body: bytes, model: type[Model]) -> Examined[Model]:
    """Read JSON as a `model`, or find every wrong member; a name that stands twice in an object is one.

    pydantic takes the last of them, another reader the first: what it means nobody can say.
    """
    if _has_too_many_values(body):
        return Examined(None, (FieldMistake(BODY, _TOO_MANY),))
    read, mistakes = None, []
    try:
        read = model.model_validate_json(body)
    except ValidationError as error:
        mistakes = [_mistake(details) for details in error.errors(include_url=False, include_input=False)]
        if not all(one.field for one in mistakes):  # no JSON, or no object
            return Examined(None, tuple(replace(one, field=one.field or BODY) for one in mistakes))
    members, repeated = _members(body)
    if repeated:
        read = None
    return Examined(read, (*repeated, *mistakes), members)


def _members(body: bytes) -> tuple[dict[str, Any], list[FieldMistake]]:
    """Return what an object that pydantic could read says, and each member that stands twice, of inner ones too."""
    mistakes: list[FieldMistake] = []
    members = _plain(_DECODER.decode(body.decode()), "", mistakes)
    return cast("dict[str, Any]", members), mistakes


def _has_too_many_values(body: bytes) -> bool:
    """Return whether there are so many that to read them all would hold up others; commas of texts are none."""
    return body.count(b",") >= MOST_VALUES and _TEXTS.sub(b"", body).count(b",") >= MOST_VALUES


def _plain(value: object, path: str, mistakes: list[FieldMistake]) -> object:
    if isinstance(value, Repeated):
        mistakes += [FieldMistake(_joined(path, name), REPEATED) for name in value.names()]
        value = dict(value.pairs)
    if isinstance(value, dict):
        return {name: _plain(one, _joined(path, name), mistakes) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, _joined(path, number), mistakes) for number, one in enumerate(value)]
    return value


def _joined(path: str, part: object) -> str:
    return (f"{path}.{part}" if path else str(part))[:LONGEST_FIELD]


def _mistake(details: ErrorDetails) -> FieldMistake:
    name = ".".join(str(part) for part in details["loc"])[:LONGEST_FIELD]
    context: Mapping[str, Any] = details.get("ctx", {})
    message = _MESSAGES.get(details["type"])
    if message is None:
        return FieldMistake(name, Text(details["msg"], details["msg"]))
    if "expected" in context:  # 'a', 'b' or 'c'
        context = {"choices": str(context["expected"]).replace("'", "").replace(" or ", ", ")}
    return FieldMistake(name, Text(message.fr.format(**context), message.en.format(**context)))
