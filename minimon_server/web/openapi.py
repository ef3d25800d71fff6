"""The OpenAPI 3.1 document, made from the routes and the models that validate. Knows no single route."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from minimon_server import __version__
from minimon_server.errors import (
    BadRequest,
    Forbidden,
    InvalidRequest,
    Language,
    MinimonError,
    QueueFull,
    RateLimited,
    Text,
    Unauthorized,
)
from minimon_server.jobs.errors import JobsUnavailable, NoRoom
from minimon_server.settings import Settings
from minimon_server.web.gate import Access, Cost, Face, allowance
from minimon_server.web.guide import Answer, Guide, Shape
from minimon_server.web.problems import MEDIA_TYPE
from minimon_server.web.schemas import ProblemAnswer

Json = dict[str, Any]

_INTRODUCTION: Final = Text(
    "Des créatures pour les jeux, depuis votre machine : une image, un nom, une rareté de F à S+.",
    "Creatures for games, from your own machine: a picture, a name, a rarity from F to S+.",
)
_BEARER: Final = Text("MINIMON_BEARER_TOKEN : ouvre tout.", "MINIMON_BEARER_TOKEN: opens everything.")
_PLAY: Final = Text(
    "MINIMON_PLAY_TOKEN : peut être livré dans un jeu, n'ouvre que la route nue, sans paramètre.",
    "MINIMON_PLAY_TOKEN: may be shipped in a game, opens the bare route alone, without parameters.",
)
_ACCESS: Final = {
    Access.OPEN: Text("ouverte à tous", "open to all"),
    Access.PLAY: Text("le jeton, ou le jeton de jeu sans paramètre", "the token, or the play token without parameters"),
    Access.FULL: Text("le jeton", "the token"),
}
_ALL_OPEN: Final = Text("ouverte à tous, faute de jeton réglé", "open to all, as no token is set")
_UNLIMITED: Final = Text("jamais limitée", "never limited")
_REQUEST_ID: Final = Text("Le nom de cette requête dans le journal.", "What the log calls this request.")
_RETRY_AFTER: Final = Text("Combien de secondes attendre.", "How many seconds to wait.")
_CHALLENGE: Final = Text("Quel jeton manque (RFC 6750).", "Which token is missing (RFC 6750).")


def document(faces: Sequence[Face], settings: Settings, language: Language) -> Json:
    """Return the document of all faces that have a guide, in one language."""
    guided = [(face, face.guide) for face in faces if face.guide]
    models = _models(guide for _, guide in guided)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_reference("{model}"))
    paths: dict[str, Json] = {}
    for face, guide in guided:
        for method in sorted((face.methods or set()) - {"HEAD"}):
            paths.setdefault(face.path_format, {})[method.lower()] = _operation(
                face, guide, method, settings, language, schemas["$defs"]
            )
    queries = {guide.query.__name__ for _, guide in guided if guide.query}
    shapes = {name: _bare(schema) for name, schema in schemas["$defs"].items() if name not in queries}
    found: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Minimon server",
            "version": __version__,
            "description": _INTRODUCTION.spoken(language),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": shapes,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": _BEARER.spoken(language)},
                "play": {"type": "http", "scheme": "bearer", "description": _PLAY.spoken(language)},
            },
        },
    }
    spoken: Json = _spoken(found, language)
    return spoken


def _models(guides: Iterable[Guide]) -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {ProblemAnswer: None}
    for guide in guides:
        shapes = [shape for answer in guide.answers for shape in answer.content.values()]
        for model in (guide.query, guide.body, guide.form, *shapes):
            if isinstance(model, type):
                found[model] = None
    return list(found)


def _operation(
    face: Face, guide: Guide, method: str, settings: Settings, language: Language, schemas: Mapping[str, Json]
) -> Json:
    operation: Json = {
        "operationId": "_".join([method.lower(), *re.findall(r"[A-Za-z0-9]+", face.path_format)]),
        "summary": guide.summary.spoken(language),
        "x-access": (_ACCESS[face.access] if settings.has_token else _ALL_OPEN).spoken(language),
        "x-allowance": _allowance(face.cost, settings).spoken(language),
        "security": _security(face.access, settings),
        "responses": {
            **{str(answer.status): _answer(answer, language) for answer in guide.answers},
            **_errors(face, guide, settings, language),
        },
        "x-codeSamples": [
            {"lang": "Shell", "source": _sample(arguments, face, settings)} for arguments in guide.samples
        ],
    }
    if guide.detail:
        operation["description"] = guide.detail.spoken(language)
    parameters = _path_parameters(face, guide, language)
    for name, meaning in guide.headers.items():
        shape = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        told = meaning.spoken(language)
        parameters.append({"name": name, "in": "header", "required": False, "description": told, "schema": shape})
    if guide.query:
        parameters += _query_parameters(schemas[guide.query.__name__])
    if parameters:
        operation["parameters"] = parameters
    if guide.body:
        content = {"application/json": {"schema": {"$ref": _reference(guide.body.__name__)}}}
        if guide.form:
            content["multipart/form-data"] = {"schema": {"$ref": _reference(guide.form.__name__)}}
        operation["requestBody"] = {"required": True, "content": content}
    if guide.files:
        operation["requestBody"] = {"required": True, "content": {kind: {} for kind in guide.files}}
    return operation


def _allowance(cost: Cost, settings: Settings) -> Text:
    limit = allowance(cost, settings.rate_limit_per_min)
    if not limit:
        return _UNLIMITED
    return Text(f"{limit} par minute et par adresse", f"{limit} a minute and address")


def _security(access: Access, settings: Settings) -> list[Json]:
    if access is Access.OPEN:
        return []
    # Without a token set everything is open: a client may still send one, and need not.
    wanted: list[Json] = [{"bearer": []}] if settings.has_token else [{}, {"bearer": []}]
    if access is Access.PLAY and settings.play_token.get_secret_value():
        wanted.append({"play": []})
    return wanted


def _path_parameters(face: Face, guide: Guide, language: Language) -> list[Json]:
    found = []
    for name in face.param_convertors:
        schema = {"type": "string", "pattern": "^[A-Za-z0-9._~-]+$"}  # RFC 3986, section 2.3: what means itself
        parameter: Json = {"name": name, "in": "path", "required": True, "schema": schema}
        if name in guide.path:
            parameter["description"] = guide.path[name].spoken(language)
        if name in guide.patterns:
            parameter["schema"]["pattern"] = guide.patterns[name]
        found.append(parameter)
    return found


def _query_parameters(schema: Json) -> list[Json]:
    required = schema.get("required", [])
    found = []
    for name, held in schema["properties"].items():
        told = {key: held[key] for key in ("description", "x-fr") if key in held}
        # A query cannot say null: a parameter that may be absent simply is.
        choices = [one for one in held.get("anyOf", ()) if one != {"type": "null"}]
        hidden = {"description", "x-fr", "title"} | ({"anyOf", "default"} if choices else set())
        shape = {key: value for key, value in held.items() if key not in hidden}
        if len(choices) == 1:
            shape |= choices[0]
        elif choices:
            shape["anyOf"] = choices
        found.append({"name": name, "in": "query", "required": name in required, **told, "schema": shape})
    return found


def _answer(answer: Answer, language: Language) -> Json:
    headers = {"X-Request-ID": _REQUEST_ID, **answer.headers}
    told: Json = {
        "description": answer.meaning.spoken(language),
        "headers": {name: _header(name, meaning, language) for name, meaning in headers.items()},
    }
    if answer.content:
        told["content"] = {media_type: _media(shape) for media_type, shape in answer.content.items()}
    return told


def _media(shape: Shape) -> Json:
    if isinstance(shape, type):
        return {"schema": {"$ref": _reference(shape.__name__)}}
    return {"text": {"schema": {"type": "string"}}, "object": {"schema": {"type": "object"}}, "bytes": {}}[shape]


def _errors(face: Face, guide: Guide, settings: Settings, language: Language) -> Json:
    """Return what the gate, the validation and the handler may refuse, by status; one status may have several codes."""
    kinds: list[type[MinimonError]] = [*guide.errors, MinimonError]
    if face.access is not Access.OPEN and settings.has_token:
        kinds += [Unauthorized, Forbidden]
    if face.cost is not Cost.FREE and settings.rate_limit_per_min:
        kinds.append(RateLimited)
    if guide.query or guide.body or guide.files:
        kinds.append(InvalidRequest)
    if face.param_convertors:
        kinds.append(BadRequest)  # the edge takes no control characters in a path
    found: Json = {}
    for kind in sorted(kinds, key=lambda kind: (kind.status, kind.code)):
        told = f"{kind.title.spoken(language)} (`{kind.code}`)"
        if same := found.get(str(kind.status)):
            same["description"] += f", {told}"
            continue
        headers = {"X-Request-ID": _REQUEST_ID}
        if kind in (JobsUnavailable, NoRoom, QueueFull, RateLimited):
            headers["Retry-After"] = _RETRY_AFTER
        if kind in (Unauthorized, Forbidden):
            headers["WWW-Authenticate"] = _CHALLENGE
        answer = Answer(Text(told, told), {MEDIA_TYPE: ProblemAnswer}, headers=headers)
        found[str(kind.status)] = _answer(answer, language)
    return found


def _header(name: str, meaning: Text, language: Language) -> Json:
    schema = {"type": "integer", "minimum": 1} if name == "Retry-After" else {"type": "string"}
    return {"description": meaning.spoken(language), "schema": schema}


def _sample(arguments: str, face: Face, settings: Settings) -> str:
    wanted = settings.has_token and face.access is not Access.OPEN
    token = '-H "Authorization: Bearer $MINIMON_BEARER_TOKEN" ' if wanted else ""
    return "curl " + arguments.format(base=f"https://localhost:{settings.port}", token=token)


def _reference(name: str) -> str:
    return f"#/components/schemas/{name}"


def _bare(schema: Json) -> Json:
    # A model's docstring speaks to whoever reads the code, in English alone.
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


def _spoken(value: Any, language: Language) -> Any:
    """Leave of what the models say in two languages the one that is asked for."""
    if isinstance(value, list):
        return [_spoken(one, language) for one in value]
    if not isinstance(value, dict):
        return value
    said = {key: _spoken(one, language) for key, one in value.items() if key != "x-fr"}
    if language == "fr" and "x-fr" in value:
        said["description"] = value["x-fr"]
    return said
