"""The page at `/docs`: an OpenAPI document as HTML for people, without a script. Knows no route but through it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

from minimon_server.errors import Language, Text

Json = dict[str, Any]

STYLE: Final = Path(__file__).with_name("reference.css").read_text("utf-8")

_WORDS: Final = {
    "access": Text("accès :", "access:"),
    "allowance": Text("limite :", "limit:"),
    "copy": Text("À copier", "To copy"),
    "parameters": Text("Paramètres", "Parameters"),
    "name": Text("nom", "name"),
    "type": Text("forme", "form"),
    "meaning": Text("sens", "meaning"),
    "required": Text("obligatoire", "required"),
    "answers": Text("Réponses", "Answers"),
    "errors": Text("Erreurs", "Errors"),
    "headers": Text("En-têtes", "Headers"),
    "body": Text("Corps", "Body"),
    "routes": Text("Les routes", "The routes"),
    "problem": Text("La forme d'une erreur", "The form of an error"),
    "tokens": Text("Les jetons", "Tokens"),
    "machine": Text("Le même document pour les machines :", "The same document for machines:"),
    "from": Text("de", "from"),
    "to": Text("à", "to"),
    "same": Text("Même forme que", "The same form as"),
    "text": Text("texte", "text"),
    "integer": Text("entier", "whole number"),
    "number": Text("nombre", "number"),
    "boolean": Text("vrai ou faux", "true or false"),
    "list": Text("liste", "list"),
    "object": Text("objet", "object"),
}


def page(document: Json, language: Language) -> str:
    """Return the whole page."""
    return _Page(document, language).html()


class _Page:
    def __init__(self, document: Json, language: Language) -> None:
        self._document = document
        self._schemas: Mapping[str, Json] = document["components"]["schemas"]
        self._language = language
        self._routes = [
            (method.upper(), path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ]

    def html(self) -> str:
        info = self._document["info"]
        links = "".join(
            f'<li><a href="#{_anchor(method, path)}"><b>{method}</b> <code>{escape(path)}</code></a> '
            f"<span>{_prose(operation['summary'])}</span></li>"
            for method, path, operation in self._routes
        )
        schemes = "".join(
            f"<dt><code>{escape(name)}</code></dt><dd>{_prose(scheme['description'])}</dd>"
            for name, scheme in self._document["components"]["securitySchemes"].items()
        )
        return (
            f'<!doctype html><html lang="{self._language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body>"
            f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
            f"<p>{_prose(info['description'])}</p>"
            f'<p class="quiet">{self._say("machine")} <a href="/openapi.json"><code>/openapi.json</code></a></p>'
            "</header>"
            f'<nav aria-label="{self._say("routes")}"><ul>{links}</ul></nav>'
            f"<main>{''.join(self._route(*route) for route in self._routes)}"
            f'<section id="problem"><h2>{self._say("problem")}</h2>'
            f"<p><code>application/problem+json</code> (RFC 9457)</p>{self._fields('ProblemAnswer')}</section>"
            f'<section id="tokens"><h2>{self._say("tokens")}</h2><dl>{schemes}</dl></section>'
            "</main></body></html>"
        )

    def _say(self, word: str) -> str:
        return escape(_WORDS[word].spoken(self._language))

    def _route(self, method: str, path: str, operation: Json) -> str:
        detail = f"<p>{_prose(operation['description'])}</p>" if "description" in operation else ""
        samples = "".join(f"<pre><code>{escape(one['source'])}</code></pre>" for one in operation["x-codeSamples"])
        good = {status: told for status, told in operation["responses"].items() if not _is_problem(told)}
        bad = {status: told for status, told in operation["responses"].items() if _is_problem(told)}
        errors = self._table([f"<code>{status}</code>", _prose(told["description"])] for status, told in bad.items())
        shown: dict[str, str] = {}
        answers = "".join(self._answer(*one, shown) for one in good.items())
        return (
            f'<section id="{_anchor(method, path)}"><h2><b>{method}</b> <code>{escape(path)}</code></h2>'
            f'<p class="lead">{_prose(operation["summary"])}</p>{detail}'
            f'<p class="quiet">{self._say("access")} {_prose(operation["x-access"])}'
            f" · {self._say('allowance')} {_prose(operation['x-allowance'])}</p>"
            f"<h3>{self._say('copy')}</h3>{samples}"
            f"{self._parameters(operation.get('parameters', []))}{self._body(operation)}"
            f"<h3>{self._say('answers')}</h3>{answers}"
            f"<h3>{self._say('errors')}</h3>{errors}</section>"
        )

    def _parameters(self, parameters: Iterable[Json]) -> str:
        rows = []
        for one in parameters:
            required = f" <i>{self._say('required')}</i>" if one["required"] else ""
            meaning = _prose(one.get("description", ""))
            rows.append([f"<code>{escape(one['name'])}</code>{required}", self._form(one["schema"]), meaning])
        head = [self._say("name"), self._say("type"), self._say("meaning")]
        return f"<h3>{self._say('parameters')}</h3>{self._table(rows, head)}" if rows else ""

    def _body(self, operation: Json) -> str:
        if "requestBody" not in operation:
            return ""
        content = operation["requestBody"]["content"]
        title = f"<h3>{self._say('body')}</h3>"
        if "application/json" not in content:
            return title + "<p>" + ", ".join(f"<code>{escape(kind)}</code>" for kind in content) + "</p>"
        name = _target(content["application/json"]["schema"])
        return title + self._table(self._rows(name, "", self._schemas[name].get("required", ())))

    def _answer(self, status: str, told: Json, shown: dict[str, str]) -> str:
        """Return one answer; `shown` holds the shapes that were shown already, and the status of each."""
        content = told.get("content", {})
        names = {_target(one["schema"]): None for one in content.values() if "$ref" in one.get("schema", {})}
        media = ", ".join(f"<code>{escape(media_type)}</code>" for media_type in content)
        headers = self._table(
            [f"<code>{escape(name)}</code>", _prose(one["description"])] for name, one in told["headers"].items()
        )
        fields = "".join(
            f'<p class="quiet">{self._say("same")} <code>{shown[name]}</code></p>'
            if name in shown
            else self._fields(name)
            for name in names
        )
        shown.update(dict.fromkeys(names, status))
        return (
            f'<p><code class="status">{status}</code> {_prose(told["description"])} <span class="quiet">{media}</span>'
            f"</p>{fields}"
            f"<details><summary>{self._say('headers')}</summary>{headers}</details>"
        )

    def _fields(self, name: str, before: str = "") -> str:
        """Return the members of a named schema as a table, those of its members among them."""
        return self._table(self._rows(name, before))

    def _rows(self, name: str, before: str, required: Iterable[str] = ()) -> list[list[str]]:
        rows = []
        for member, told in self._schemas[name].get("properties", {}).items():
            schema = _without_null(told)
            must = f" <i>{self._say('required')}</i>" if member in required else ""
            meaning = _prose(told.get("description", ""))
            rows.append([f"<code>{escape(before + member)}</code>{must}", self._form(schema), meaning])
            inner, mark = schema, "."
            if "items" in schema:
                inner, mark = schema["items"], "[]."
            elif isinstance(schema.get("additionalProperties"), dict):
                inner, mark = schema["additionalProperties"], ".*."
            if "properties" in self._schemas.get(_target(inner), {}):
                rows += self._rows(_target(inner), before + member + mark)
        return rows

    def _form(self, schema: Json) -> str:
        if "$ref" in schema:
            return self._form(self._schemas[_target(schema)])
        if "const" in schema:
            return f"<code>{escape(str(schema['const']))}</code>"
        if "enum" in schema:
            return " ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
        kinds = {"string": "text", "array": "list"}
        kind = str(schema.get("type", "object"))
        form = self._say(kinds.get(kind, kind))
        if "pattern" in schema:
            form += f" <code>{escape(schema['pattern'])}</code>"
        if "minimum" in schema and "maximum" in schema:
            form += f" {self._say('from')} {schema['minimum']} {self._say('to')} {schema['maximum']}"
        return form

    def _table(self, rows: Iterable[Iterable[str]], head: Iterable[str] = ()) -> str:
        top = "".join(f"<th>{cell}</th>" for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        return f'<div class="wide"><table>{f"<thead><tr>{top}</tr></thead>" if top else ""}{body}</table></div>'


def _without_null(schema: Json) -> Json:
    """Return what a member holds that may also be null, or simply not be there."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return choices[0] if len(choices) == 1 else schema


def _anchor(method: str, path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{method} {path}".lower()).strip("-")


def _is_problem(told: Json) -> bool:
    return "application/problem+json" in told.get("content", {})


def _target(schema: Json) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _prose(text: str) -> str:
    """Return plain text as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
