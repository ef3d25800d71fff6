"""The SHA-256 of files: right, computed once, and anew when a file is another one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pytest

from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.file_stamps import stamp_of
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.weight_files import by_stem, hashed_parts, hashes_here, weight_files
from minimon_server.logs import Logger

PATIENCE = 20.0


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def test_a_file_is_read_once_and_again_when_it_is_another(
    tmp_path: Path, quiet: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(file: Any, kind: str) -> Any:
        read.append(file.name)
        return file_digest(file, kind)

    monkeypatch.setattr("minimon_server.engines.file_hashes.file_digest", counted)
    hashes, path = FileHashes(quiet), tmp_path / "a"
    path.write_bytes(b"one")
    assert [hashes.of(path) for _ in range(3)] == [digest(b"one")] * 3
    assert len(read) == 1
    stamp = path.stat()
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "b").replace(path)  # as long, and as old: another inode
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert hashes.of(path) == digest(b"two")
    path.write_bytes(b"three")
    assert hashes.of(path) == digest(b"three")
    assert len(read) == 3
    path.unlink()
    with pytest.raises(FileNotFoundError):
        hashes.of(path)


def test_who_asks_meanwhile_waits_for_the_same(tmp_path: Path, quiet: Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on, read = threading.Event(), threading.Event(), list[int]()

    def slow(file: Any, kind: str) -> Any:
        read.append(1)
        reading.set()
        assert go_on.wait(PATIENCE)
        return file_digest(file, kind)

    monkeypatch.setattr("minimon_server.engines.file_hashes.file_digest", slow)
    path = tmp_path / "a"
    path.write_bytes(b"one")
    hashes = FileHashes(quiet)
    begun = hashes.begin({"model": [path], "vae": []}, {path: stamp_of(path)})
    assert reading.wait(PATIENCE)
    assert not begun.wait(0)
    assert begun.found == {"model": None, "vae": None}
    other = threading.Thread(target=hashes.of, args=(path,))
    other.start()
    go_on.set()
    other.join(PATIENCE)
    assert begun.wait(PATIENCE)
    assert begun.found == {"model": digest(b"one"), "vae": None}
    assert len(read) == 1


def test_several_files_have_one_hash_and_one_that_cannot_be_read_none(
    tmp_path: Path, log: Logger, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    hashes = FileHashes(log)
    (tmp_path / "unet").mkdir()
    for name in ("x", "y", "unet/x"):
        (tmp_path / name).write_bytes(name.encode())
    paths = [tmp_path / "y", tmp_path / "x"]
    lines = "".join(f"{digest(name.encode())}  {name}\n" for name in ("x", "y"))  # a folder's name is no content
    assert hashes.of_all(paths) == hashes.of_all(paths[::-1]) == digest(lines.encode())
    lines = f"{digest(b'unet/x')}  unet/x\n{digest(b'x')}  {tmp_path.name}/x\n"
    parted = [tmp_path / "x", tmp_path / "unet" / "x"]
    assert hashes.of_all(parted) == hashes.of_all(parted[::-1]) == digest(lines.encode())
    assert hashes.of_all([]) is None
    assert hashes.of_all([tmp_path / "x", tmp_path / "gone"]) is None
    assert [line["reason"] for line in logged() if line["event"] == "file has no hash"] == ["no such file or directory"]


def test_the_files_of_a_model_and_of_adapters_are_found(models: Path, tmp_path: Path, quiet: Logger) -> None:
    folders = ModelFolders(models, quiet)
    folder = folders.find("small")
    assert {part: [file.name for file in files] for part, files in weight_files(folder).items()} == {
        "unet": ["diffusion_pytorch_model.safetensors"],
        "vae": ["diffusion_pytorch_model.safetensors"],
        "text_encoder": ["model.safetensors"],
        "text_encoder_2": ["model.safetensors"],
    }
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "neon.safetensors").write_bytes(b"neon")
    find, hashes = by_stem(tmp_path), FileHashes(quiet)
    assert (find("neon"), find("ink")) == (tmp_path / "loras" / "neon.safetensors", None)
    found = hashes_here(folders, find, hashes, "small", ["neon", "ink"])
    assert found == {
        **{name: hashes.of_all(files) for name, files in hashed_parts(folder).items()},
        "loras.neon": digest(b"neon"),
    }
    assert hashes_here(folders, find, hashes, "nowhere", []) == {}
