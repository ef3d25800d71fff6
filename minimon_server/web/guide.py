"""What a route says about itself for the documents: words, shapes, samples. Renders nothing, checks nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from minimon_server.errors import MinimonError, Text

# A model that describes JSON, or what else the bytes are.
Shape = type[BaseModel] | Literal["text", "bytes", "object"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that is no error: its meaning, its forms by media type, the headers that belong to it."""

    meaning: Text
    content: Mapping[str, Shape]
    status: int = 200
    headers: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Guide:
    """What a reader needs to call a route; what its gate refuses need not be said again.

    `samples` are the arguments of curl lines, where `{base}` is the server's address and `{token}` the option that
    carries the token, if this server wants one.
    """

    summary: Text
    answers: tuple[Answer, ...]
    detail: Text | None = None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    form: type[BaseModel] | None = None  # the same as multipart/form-data
    files: tuple[str, ...] = ()  # media types of a body that is a file
    path: Mapping[str, Text] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)  # of parameters in the path
    headers: Mapping[str, Text] = field(default_factory=dict)  # of the request, none of them required
    errors: tuple[type[MinimonError], ...] = ()
    samples: tuple[str, ...] = ()
