"""The IP-Adapters that can be asked for: those of the catalogue, then the folders beside them. Loads none."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson

from minimon_server.catalog import words
from minimon_server.catalog.checkpoint_kinds import BY_CONTEXT, UNKNOWN
from minimon_server.catalog.entries import PartEntry
from minimon_server.catalog.header import NotSafetensors, read_header
from minimon_server.catalog.kept import KeptCatalogue, Stamp, read_bounded, stamp_of
from minimon_server.engines.ip_adapter_files import (
    ENCODER_CONFIG,
    ROOT,
    BadIpAdapter,
    IpAdapterFiles,
    IpAdapterKind,
    encoder_problem,
    files_in,
    kind_of,
)
from minimon_server.engines.model_info import IpAdapterInfo
from minimon_server.logs import Logger

LARGEST_CONFIG: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ()+=@._-]{0,127}")


class IpAdapters:
    """Those of one folder of models. For every thread; whoever asks may wait for the disk."""

    def __init__(self, root: Path, kept: KeptCatalogue, log: Logger) -> None:
        """`root` is the folder of models, `kept` its catalogue."""
        self._root = root
        self._kept = kept
        self._log = log
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[Stamp | None, ...], IpAdapterKind]] = {}
        self._refused: dict[str, str] = {}  # why, as it was told last

    def infos(self) -> Sequence[IpAdapterInfo]:
        """Return every IP-Adapter that is known: those of the catalogue in its order, then folders by name."""
        entries = [part for part in self._kept.now().part if part.kind == ROOT]
        found = [self._info(entry.id, entry) for entry in entries]
        named = {entry.id for entry in entries}
        return found + [self._info(name, None) for name in self._folders() if name not in named]

    def files(self, name: str) -> IpAdapterFiles | None:
        """Return the files of one by its id; None where there is none. Raise `BadIpAdapter`, or `OSError`."""
        folder = self._root / ROOT / name
        return files_in(folder) if _NAME.fullmatch(name) and folder.is_dir() else None

    def _folders(self) -> Iterator[str]:
        place = self._root / ROOT
        try:
            found = sorted(place.iterdir()) if place.is_dir() else []
        except OSError as error:
            self._told("", f"the folder cannot be listed ({(error.strerror or type(error).__name__).lower()})")
            return
        for path in found:
            if path.is_dir() and _NAME.fullmatch(path.name):
                yield path.name

    def _info(self, name: str, entry: PartEntry | None) -> IpAdapterInfo:
        info = IpAdapterInfo(name, name)
        how = None
        if entry is not None:
            how = words.how_to_get(entry)
            pinned = entry.source.is_pinned
            info = replace(info, name=entry.name, base=entry.base, licence=entry.licence, pinned=pinned)
        try:
            files = self.files(name)
            if files is None:
                return replace(info, unavailable=words.MISSING, how=how)
            kind = self._kind(files)
        except (BadIpAdapter, NotSafetensors) as error:
            return replace(info, unavailable=words.unusable(self._told(name, str(error))), how=how)
        except OSError as error:
            problem = f"it cannot be read ({(error.strerror or type(error).__name__).lower()})"
            return replace(info, unavailable=words.unusable(self._told(name, problem)), how=how)
        self._refused.pop(name, None)
        base = BY_CONTEXT.get(kind.context, UNKNOWN)
        if UNKNOWN not in (info.base, base) and info.base != base:
            return replace(info, variant=kind.variant, unavailable=words.bases_differ(info.base, base))
        return replace(info, variant=kind.variant, base=info.base if base == UNKNOWN else base)

    def _kind(self, files: IpAdapterFiles) -> IpAdapterKind:
        """Return what the files hold, by header and settings, read again only when one of them changes."""
        settings = files.encoder / ENCODER_CONFIG
        stamps = tuple(stamp_of(path) for path in (files.weights, settings, files.encoder_weights))
        with self._lock:
            known = self._read.get(files.weights)
            if known is not None and known[0] == stamps:
                return known[1]
            kind = kind_of(read_header(files.weights).shapes)
            read_header(files.encoder_weights)  # whole, and no pickle under another name
            if problem := encoder_problem(kind, _settings(settings)):
                raise BadIpAdapter(problem)
            self._read[files.weights] = stamps, kind
            return kind

    def _told(self, name: str, problem: str) -> str:
        """Return a problem, which the log is told once."""
        if self._refused.get(name) != problem:
            self._refused[name] = problem
            self._log.warning("IP-Adapter cannot be used", folder=f"{ROOT}/{name}", reason=problem)
        return problem


def _settings(path: Path) -> Mapping[str, object]:
    try:
        found = orjson.loads(read_bounded(path, LARGEST_CONFIG))
    except orjson.JSONDecodeError:
        raise BadIpAdapter(f"its image encoder's {ENCODER_CONFIG} is not JSON") from None
    if not isinstance(found, dict):
        raise BadIpAdapter(f"its image encoder's {ENCODER_CONFIG} is no object")
    return found
