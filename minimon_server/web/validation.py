"""From a query or JSON to a checked model: every mistake at once, by field, in both languages. Knows no route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.types import Scope

from minimon_server.errors import FieldMistake, InvalidRequest, Text

Model = TypeVar("Model", bound=BaseModel)

MOST_PARAMETERS: Final = 32

_UNKNOWN: Final = Text("champ inconnu", "unknown field")
_REPEATED: Final = Text("donné plusieurs fois", "given more than once")
_UNREADABLE: Final = FieldMistake(
    "query",
    Text(
        "la partie après « ? » n'est pas lisible : nom=valeur, UTF-8, 32 paramètres au plus",
        "the part after '?' cannot be read: name=value, UTF-8, at most 32 parameters",
    ),
)

# pydantic's error types (https://docs.pydantic.dev/latest/errors/validation_errors/) in our two languages.
_MESSAGES: Final[dict[str, Text]] = {
    "missing": Text("manque", "is missing"),
    "extra_forbidden": _UNKNOWN,
    "enum": Text("doit être l'un de : {choices}", "must be one of: {choices}"),
    "literal_error": Text("doit être l'un de : {expected}", "must be one of: {expected}"),
    "int_parsing": Text("doit être un nombre entier", "must be a whole number"),
    "int_parsing_size": Text("trop de chiffres", "has too many digits"),
    "int_type": Text("doit être un nombre entier", "must be a whole number"),
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
    mistakes = [FieldMistake(name, _REPEATED) for name in repeated]
    try:
        read = model.model_validate(values)
    except ValidationError as error:
        mistakes += [_mistake(details) for details in error.errors(include_url=False)]
    if mistakes:
        raise InvalidRequest(fields=mistakes)
    return read


def check_json(body: bytes, model: type[Model]) -> Model:
    """Return JSON as a `model`; raise `InvalidRequest` naming every wrong member, or `body` when it is no object."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        mistakes = [_mistake(details) for details in error.errors(include_url=False, include_input=False)]
        raise InvalidRequest(fields=[one if one.field else replace(one, field="body") for one in mistakes]) from error


def _mistake(details: ErrorDetails) -> FieldMistake:
    field = ".".join(str(part) for part in details["loc"])[:64]
    context: Mapping[str, Any] = details.get("ctx", {})
    message = _MESSAGES.get(details["type"])
    if message is None:
        return FieldMistake(field, Text(details["msg"], details["msg"]))
    if details["type"] == "enum":
        context = {"choices": str(context["expected"]).replace("'", "").replace(" or ", ", ")}
    return FieldMistake(field, Text(message.fr.format(**context), message.en.format(**context)))
