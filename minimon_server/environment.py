"""From environment variables to settings: names, paths, mistakes told one a line. The environment is an argument."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr, ValidationError

from minimon_server.errors import StartupError
from minimon_server.settings import Settings

PREFIX: Final = "MINIMON_"
MOST_PICTURES: Final = 10_000
_FILES_OF_ONE_PURPOSE: Final = (
    "tls_cert_path",
    "tls_key_path",
    "signing_key_path",
    "signing_cert_path",
    "signing_key_passphrase_file",
    "checkpoint_key_path",
    "score_ledger_path",
    "jobs_path",
    "hashes_path",
)


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable as `--help` and the documents show it; `bare` is its name without the prefix."""

    name: str
    field: str
    default: str
    meaning: str
    may_hold: str
    bare: str | None
    is_path: bool
    is_secret: bool


def variables() -> Iterator[Variable]:
    """Yield every variable in the order of the documents."""
    for field, info in Settings.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        yield Variable(
            name=PREFIX + field.upper(),
            field=field,
            default=_shown(info.default),
            meaning=info.description or "",
            may_hold=str(extra["may_hold"]),
            bare=field.upper() if extra["bare"] else None,
            is_path=bool(extra["path"]),
            is_secret=isinstance(info.default, SecretStr),
        )


def read_settings(environ: Mapping[str, str], *, home: Path, here: Path) -> Settings:
    """Return the settings that `environ` asks for.

    Default paths start at `home` (the program's folder), paths that a variable names at `here` (the working
    directory). An empty variable counts as absent. Raise `StartupError` with one line per mistake.
    """
    known = list(variables())
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for variable in known:
        name = next((name for name in (variable.name, variable.bare) if name and environ.get(name)), variable.name)
        origin[variable.field] = name
        if text := environ.get(name):
            values[variable.field] = here / text if variable.is_path else text
        elif variable.is_path and variable.default:
            values[variable.field] = home / variable.default
    try:
        settings, mistaken, lines = Settings.model_validate(values), frozenset[str](), list[str]()
    except ValidationError as error:
        lines = _mistakes(error, {v.field: v for v in known}, origin, values)
        mistaken = frozenset(str(mistake["loc"][0]) for mistake in error.errors())
        settings = Settings.model_validate({field: held for field, held in values.items() if field not in mistaken})
    # What is wrong by itself contradicts nothing: what it should have held is not known.
    lines += [line for fields, line in _contradictions(settings) if mistaken.isdisjoint(fields)]
    if lines:
        raise StartupError(lines)
    return settings


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return one line for every variable that bears our prefix but means nothing to us."""
    known = [variable.name for variable in variables()]
    lines = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            lines.append(f"{name} is not a setting and has no effect" + (f"; did you mean {near[0]}?" if near else ""))
    return lines


def _mistakes(
    error: ValidationError, known: Mapping[str, Variable], origin: Mapping[str, str], values: Mapping[str, Any]
) -> list[str]:
    lines: dict[str, str] = {}
    for mistake in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(mistake["loc"][0])
        # An address with a user before its "@" may hold a password.
        secret = known[field].is_secret or (field.endswith("_url") and "@" in values.get(field, ""))
        held = "a secret that is not shown" if secret else ascii(str(values.get(field, "")))
        reason = mistake["msg"].removeprefix("Value error, ")
        lines.setdefault(field, f"{origin[field]} holds {held}; it may hold {known[field].may_hold} ({reason})")
    return list(lines.values())


def _contradictions(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """Yield what cannot be true together: the fields, and the line that tells it."""
    if settings.http_port == settings.port:
        yield (
            {"http_port", "port"},
            f"MINIMON_HTTP_PORT holds {settings.http_port}, as MINIMON_PORT does; it may hold another port, or 0",
        )
    yield from _shared_paths(settings)
    if settings.signing_key_passphrase.get_secret_value() and settings.signing_key_passphrase_file:
        yield (
            {"signing_key_passphrase", "signing_key_passphrase_file"},
            "MINIMON_SIGNING_KEY_PASSPHRASE_FILE names a file, but MINIMON_SIGNING_KEY_PASSPHRASE holds a passphrase "
            "too; set one of them",
        )
    count = settings.max_index - settings.min_index + 1
    if not 1 <= count <= MOST_PICTURES:
        yield (
            {"max_index", "min_index"},
            f"MINIMON_MAX_INDEX holds {settings.max_index}; with MINIMON_MIN_INDEX at {settings.min_index} "
            f"it may hold {settings.min_index} to {settings.min_index + MOST_PICTURES - 1}",
        )
    tokens = {"play_token", "bearer_token"}
    if settings.play_token.get_secret_value():
        if not settings.bearer_token.get_secret_value():
            yield (
                tokens,
                "MINIMON_PLAY_TOKEN holds a secret that is not shown, but MINIMON_BEARER_TOKEN is empty, "
                "which would leave every other route open; set both, or neither",
            )
        elif settings.play_token == settings.bearer_token:
            yield tokens, "MINIMON_PLAY_TOKEN holds the same text as MINIMON_BEARER_TOKEN; it may hold any other"


def _shared_paths(settings: Settings) -> Iterator[tuple[set[str], str]]:
    """Tell of two settings that name one file: each of these files has one purpose."""
    first: dict[Path, str] = {}
    for field in _FILES_OF_ONE_PURPOSE:
        path = getattr(settings, field)
        if path is not None and (other := first.setdefault(path, field)) != field:
            told = f"{PREFIX}{field.upper()} holds the path that {PREFIX}{other.upper()} holds; it may hold any other"
            yield {field, other}, told


def _shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(int(default))
    if isinstance(default, tuple):
        return " ".join(format(item, "g") for item in default)
    return str(default)
