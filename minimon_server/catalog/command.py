"""The command `python download_models.py`: its options, what it says, its exit status. Fetches by `bringing`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from minimon_server.catalog.asking import Asker, Patience, Refused, Token, origin_of
from minimon_server.catalog.bringing import WORKSHOP, Bringer
from minimon_server.catalog.entries import Catalogue
from minimon_server.catalog.fetching import Fetcher
from minimon_server.catalog.hashing import NotKept
from minimon_server.catalog.hub import Hub
from minimon_server.catalog.kept import read_bounded
from minimon_server.catalog.plans import Item, items_of, lies_at, plan_of, said_source, with_parts
from minimon_server.catalog.progress import Shown, size_of
from minimon_server.catalog.reading import LARGEST, CatalogMistakes, read_catalogue
from minimon_server.catalog.stock import CATALOGUE
from minimon_server.catalog.verifying import subjects_of, verify
from minimon_server.catalog.words import LOCAL

WRONG_USE: Final = 2
INTERRUPTED: Final = 130
HUB: Final = "https://huggingface.co"
CIVITAI: Final = "https://civitai.com"
STATUSES: Final = """exit status: 0 all is there; 1 something could not be had or is not what it should be, or what
--verify named is not there or not verified; 2 a wrong option or catalogue; 3 the disk is too full; 4 a token is missing
or does not open it; 130 interrupted.
environment: HF_TOKEN, HF_ENDPOINT, CIVITAI_TOKEN, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE;
MINIMON_MODELS_DIR is the folder of the models."""

T = TypeVar("T")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; `--help` ends the program, as does anything unknown (status 2)."""
    parser = argparse.ArgumentParser(
        prog="download_models.py",
        description="Fetch what models/catalog.toml names: continued after a cut, checked, whole or not at all.",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", action="append", default=[], metavar="ID", help="fetch this model")
    parser.add_argument("--lora", action="append", default=[], metavar="ID", help="fetch this LoRA")
    parser.add_argument("--part", action="append", default=[], metavar="ID", help="fetch this VAE or IP-Adapter")
    parser.add_argument("--all", action="store_true", help="fetch everything that has a source")
    parser.add_argument("--list", action="store_true", help="tell what there is: size, licence, on the disk or not")
    parser.add_argument("--verify", action="store_true", help="compare every byte of what is there by its hash")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str], environ: Mapping[str, str], root: Path, patience: Patience | None = None) -> int:
    """Run the command over the folder of models `root`; return the exit status."""
    options = parse(arguments)
    shown = Shown(sys.stderr)
    try:
        catalogue = read_catalogue(read_bounded(root / CATALOGUE, LARGEST))
    except (CatalogMistakes, OSError) as error:
        lines = error.lines if isinstance(error, CatalogMistakes) else [str(error.strerror or error).lower()]
        for line in lines:
            shown.say(f"{root / CATALOGUE}: {line}")
        return WRONG_USE
    if options.verify:
        return _verify(options, catalogue, root, shown)
    named = _named(options, {(item.kind, item.entry.id): item for item in items_of(catalogue)}, shown)
    if named is None:
        return WRONG_USE
    if options.list:
        return _list(named or items_of(catalogue), root)
    chosen = items_of(catalogue) if options.all else named
    if not chosen:
        shown.say("Say what to fetch: --model ID, --lora ID, --part ID or --all; --list tells what there is.")
        return WRONG_USE
    try:
        return _fetch_all(chosen, catalogue, environ, root, shown, patience or Patience(), named=not options.all)
    except KeyboardInterrupt as interrupt:
        lost = interrupt.__cause__
        if isinstance(lost, NotKept):
            why = (lost.strerror or "error").lower()
            shown.say(f"Interrupted; what came of the last file did not reach the disk ({why}) and is thrown away.")
        else:
            shown.say("Interrupted; what has come is kept, and the same command continues it.")
        return INTERRUPTED


def _named(
    options: argparse.Namespace, there: Mapping[tuple[str, str], T], shown: Shown, place: str = "in the catalogue"
) -> list[T] | None:
    """Return what the options name of what is `there`, by kind and id; None after telling what there is none of."""
    wanted: list[tuple[str, str]] = [("model", name) for name in options.model]
    wanted += [("lora", name) for name in options.lora] + [("part", name) for name in options.part]
    unknown = [(kind, name) for kind, name in dict.fromkeys(wanted) if (kind, name) not in there]
    for kind, name in unknown:
        known = ", ".join(one for other, one in there if other == kind) or "none"
        shown.say(f"There is no {kind} {name!a} {place}; there are: {known}.")
    return None if unknown else [there[one] for one in dict.fromkeys(wanted)]


def _verify(options: argparse.Namespace, catalogue: Catalogue, root: Path, shown: Shown) -> int:
    """Verify what is named, or all that is there; return the status."""
    try:
        there = subjects_of(catalogue, root)
    except OSError as error:
        shown.say(f"{error.filename}: cannot be listed ({(error.strerror or 'error').lower()})")
        return 1
    named = _named(options, there, shown, "in the catalogue or beside it")
    if named is None:
        return WRONG_USE
    return verify(named or there.values(), root, shown.say, named=bool(named))


def _fetch_all(
    chosen: Sequence[Item],
    catalogue: Catalogue,
    environ: Mapping[str, str],
    root: Path,
    shown: Shown,
    patience: Patience,
    *,
    named: bool,
) -> int:
    """Fetch what was chosen, each whatever becomes of the others; return the first status that is not 0."""
    endpoint = environ.get("HF_ENDPOINT") or HUB
    tokens = {origin_of(CIVITAI): Token("CIVITAI_TOKEN", environ.get("CIVITAI_TOKEN", "").strip())}
    tokens[origin_of(endpoint)] = Token("HF_TOKEN", environ.get("HF_TOKEN", "").strip())
    asker = Asker(tokens, patience, shown.say)
    try:
        hub, bringer = Hub(endpoint, asker), Bringer(root, Fetcher(asker, shown), shown.say)
        status = 0
        needed = [part for item in chosen for part in with_parts(item, catalogue)]
        for item in {one.name: one for one in needed}.values():
            fetched = _fetch(item, catalogue, root, hub, bringer, shown, named=named)
            status = status or fetched
        return status
    finally:
        asker.close()


def _fetch(
    item: Item, catalogue: Catalogue, root: Path, hub: Hub, bringer: Bringer, shown: Shown, *, named: bool
) -> int:
    """Fetch one item; return its status. What has no source is no failure unless it was `named`."""
    entry, place = item.entry, lies_at(item, root)
    there = (root / place).exists()
    if not entry.source.is_known:
        why = LOCAL.en if entry.source.local else "no source is known"
        shown.say(f"{item.name}: " + ("there" if there else f"{why}; put it at models/{entry.place}"))
        return 0 if there or not named else 1
    if place != entry.place:  # a file would be taken in the folder's place
        shown.say(f"{item.name}: there, not by this command: the folder models/{place}")
        return 0
    try:
        shown.say(f"{item.name}: {said_source(entry.source)}, licence: {entry.licence or 'not known'}")
        if not entry.source.is_pinned:
            shown.say(f"{item.name}: unpinned: what comes today may be something else tomorrow")
        with bringer.alone(item):
            shown.say(f"{item.name}: {bringer.bring(plan_of(item, catalogue, root, hub))}")
    except Refused as error:
        shown.say(f"{item.name}: not fetched: {error}")
        return error.status
    except OSError as error:
        shown.say(f"{item.name}: not fetched: the disk: {error.strerror or error}")
        return 1
    return 0


def _list(items: Sequence[Item], root: Path) -> int:
    """Print a line for each: name, size, licence, on the disk or not, pinned or not."""
    rows = []
    for item in items:
        entry, target = item.entry, root / lies_at(item, root)
        size = _size_on_disk(target)
        known = entry.source.size_bytes or (entry.about_gb and int(entry.about_gb * 1e9))
        told = size_of(size) if size else (f"about {size_of(known)}" if known else "size not known")
        begun = any((root / WORKSHOP).glob(f"{item.kind}-{entry.id}@*"))
        half = begun or target.with_name(f"{target.name}.part").exists()
        state = "on the disk" if size else "in part" if half else "not there"
        pinned = "pinned" if entry.source.is_pinned else "unpinned"
        rows.append((item.kind, entry.id, told, state, pinned, entry.licence or "licence not known"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[5]]) + "\n")
    return 0


def _size_on_disk(target: Path) -> int:
    """Return how many bytes a file or folder holds, 0 where there is none."""
    if target.is_file():
        return target.stat().st_size
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
