"""A new folder in the place of a former one, at once, with what in that one is somebody's own. Fetches nothing."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from minimon_server.catalog.fetching import hash_of
from minimon_server.catalog.receipts import IN_FOLDER, Receipt, found_in
from minimon_server.disk import make_folder, sync_folder

# linux/fcntl.h and linux/fs.h; see renameat2(2).
_HERE: Final = -100
_EXCHANGE: Final = 2
_CANNOT: Final = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def take_place(new: Path, target: Path, between: Path) -> bool:
    """Give `new` the name of `target`, which then has the name of `new`; return whether that was done at once.

    Where the system cannot exchange two names it is three renames, the former folder being `between` meanwhile: after
    an end in the middle it is put back from there. Raise `OSError`.
    """
    at_once = _exchange(new, target)
    if not at_once:
        target.replace(between)
        try:
            new.replace(target)
        except OSError:
            between.replace(target)
            raise
        between.replace(new)
    sync_folder(target.parent)
    sync_folder(new.parent)
    return at_once


def _exchange(one: Path, other: Path) -> bool:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))


def own_files(target: Path, receipt: Receipt) -> Iterator[tuple[str, bool]]:
    """Yield the paths in a folder of what this command did not bring, each with whether it has a fetched file's name.

    Such a file was edited or is damaged, which nobody can tell apart. Links are not followed. Raise `OSError`.
    """
    for name in found_in(target, follow=False):
        brought = receipt.files.get(name)
        path = target / name
        if brought is not None:
            if path.is_symlink() or not path.is_file() or hash_of(path) != brought:
                yield name, True
        elif name != IN_FOLDER:
            yield name, False


def fits_beside(name: str, planned: Collection[str]) -> bool:
    """Return whether a path can be had in a folder beside the `planned` ones."""
    above = {str(one) for one in Path(name).parents}
    return name not in planned and not above & set(planned) and not any(one.startswith(f"{name}/") for one in planned)


def keep(path: Path, folder: Path, name: str) -> Path:
    """Let what lies at `path` also lie in `folder`, under its content's hash and `name`; return where.

    It is one file with two names where the disk can do that. Raise `OSError`.
    """
    place = folder / _mark(path) / name
    if not os.path.lexists(place):
        also_at(path, place)
    return place


def also_at(path: Path, place: Path) -> None:
    """Let a file, or a link, have another name; a copy does where the disk has one name a file. Raise `OSError`."""
    make_folder(place.parent)
    try:
        os.link(path, place, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
            raise
        shutil.copy2(path, place, follow_symlinks=False)
        os.sync()
    sync_folder(place.parent)


def clear_of_others(folder: Path, planned: Collection[str]) -> None:
    """Remove from a folder of the workshop what a fetch of the `planned` files does not continue. Raise `OSError`."""
    kept = {f"{name}{ending}" for name in planned for ending in ("", ".part", ".part.json")}
    for name in list(found_in(folder, follow=False)):
        if name not in kept:
            (folder / name).unlink()


def _mark(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()[:12]
    return hash_of(path).sha256[:12] if path.is_file() else str(path.lstat().st_ino)
