"""The kinds of value that a setting may hold, each checked and brought into one form. Knows no setting by name."""

from __future__ import annotations

import ipaddress
import math
import re
import string
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr


def spec(meaning: str, may_hold: str, *, bare: bool = False, path: bool = False) -> dict[str, Any]:
    """Describe a field for people; `bare` ones are also read without the prefix, as the first documents write them."""
    return {"description": meaning, "json_schema_extra": {"may_hold": may_hold, "bare": bare, "path": path}}


def _parts(value: object) -> object:
    return tuple(re.split(r"[,\s]+", value.strip(", \t"))) if isinstance(value, str) else value


def is_address(value: str) -> bool:
    """Return whether `value` is an IP address, of either family."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _host(value: str) -> str:
    # A name whose last label is all digits is an address gone wrong (WHATWG URL, section 3.5).
    name = r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*(?<!\.\d)(?<!\.\d\d)(?<!\.\d\d\d)"
    if not is_address(value) and not re.fullmatch(name, value):
        raise ValueError("neither an address nor a host name")
    return value


def _pattern(value: str) -> str:
    fields = [field[1:] for field in string.Formatter().parse(value) if field[1] is not None]
    plain = [
        name in ("", "0") and not conversion and re.fullmatch(r"0?\d?d?", spec or "")
        for name, spec, conversion in fields
    ]
    if len(plain) != 1 or not plain[0] or "\0" in value:
        raise ValueError("needs exactly one {} or {:02d} for the index")
    return value


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value, strict=False))


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"(https?|capacitor|tauri)://[A-Za-z0-9.\-\[\]:]+", value):
        raise ValueError("not an origin")
    return value.lower()


def _weights(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(math.isfinite(value) and 0 <= value <= 1e9 for value in values) or sum(values) <= 0:
        raise ValueError("weights are numbers from 0 to 1e9, not all zero")
    return values


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != text.strip() or any(ord(mark) < 32 or ord(mark) == 127 for mark in text) or not _is_utf8(text):
        raise ValueError("holds blanks at an end, control characters or bytes that are not UTF-8")
    return value


def _key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("holds something other than visible ASCII characters")
    return value


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("not an http or https address")
    if parts.username is not None or parts.query or parts.fragment or "\\" in value:
        raise ValueError("has a user, a query, a fragment or a backslash")
    _host(parts.hostname)
    if parts.port == 0:
        raise ValueError("port 0")
    return value.rstrip("/")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


Switch = Annotated[bool, BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)]
Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, BeforeValidator(_host)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
Network = Annotated[str, BeforeValidator(_network)]
Origin = Annotated[str, BeforeValidator(_origin)]
Token = Annotated[SecretStr, Field(max_length=4096), AfterValidator(_token)]
Key = Annotated[SecretStr, Field(max_length=4096), AfterValidator(_key)]
BaseUrl = Annotated[str, Field(max_length=2048), AfterValidator(_base_url)]
Weights = Annotated[
    tuple[float, ...], BeforeValidator(_parts), Field(min_length=8, max_length=8), AfterValidator(_weights)
]
Megabytes = Annotated[int, Field(ge=0, le=100_000_000)] | Literal["auto"]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_parts)]
Origins = Annotated[tuple[Origin, ...], BeforeValidator(_parts)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARN", "WARNING", "ERROR"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]
Quantization = Annotated[
    Literal["fp8", "int8", "int4", "fp4", "none"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]
