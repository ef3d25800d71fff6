"""What a hub repository holds, by the hub's HTTP API, and which of its files a model needs. Fetches none of them.

The API is documented at https://huggingface.co/docs/hub/api: `/api/models/{repo}/revision/{revision}` names the commit,
`/api/models/{repo}/tree/{commit}?recursive=true` lists files, in pages that a `Link` header joins. A large file is told
with the SHA-256 of its content, a small one with git's SHA-1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from minimon_server.catalog.asking import Asker, Refused
from minimon_server.catalog.entries import COMMIT, sound_path
from minimon_server.catalog.fetching import Wanted
from minimon_server.engines.model_folders import NETWORKS, TOKENIZERS

MOST_PAGES: Final = 50
_TOKENIZER_FILES: Final = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


@dataclass(frozen=True, slots=True)
class Repository:
    """The files of one commit, by path."""

    commit: str
    files: Mapping[str, Wanted]


class Hub:
    """One endpoint."""

    def __init__(self, endpoint: str, asker: Asker) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._asker = asker
        self._known: dict[tuple[str, str], Repository] = {}

    def repository(self, name: str, revision: str) -> Repository:
        """Return what a repository holds; raise `Refused` when it cannot be had or makes no sense."""
        if (name, revision) not in self._known:
            commit = revision if COMMIT.fullmatch(revision) else self._commit(name, revision or "main")
            self._known[name, revision] = Repository(commit, dict(self._files(name, commit)))
        return self._known[name, revision]

    def address(self, name: str, revision: str, path: str) -> str:
        """Return where one file is."""
        return f"{self.endpoint}/{name}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def _commit(self, name: str, revision: str) -> str:
        told, _ = self._asker.get_json(f"{self.endpoint}/api/models/{name}/revision/{quote(revision, safe='')}")
        commit = told.get("sha") if isinstance(told, dict) else None
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise Refused(f"{name}: the hub does not say which commit {revision} is")
        return commit

    def _files(self, name: str, commit: str) -> Iterator[tuple[str, Wanted]]:
        url: str | None = f"{self.endpoint}/api/models/{name}/tree/{commit}?recursive=true"
        for _ in range(MOST_PAGES):
            assert url
            told, url = self._asker.get_json(url)
            if not isinstance(told, list):
                raise Refused(f"{name}: the hub's list of files is none")
            for entry in told:
                if wanted := self._wanted(name, commit, entry):
                    yield wanted.name, wanted
            if url is None:
                return
        raise Refused(f"{name}: the hub's list of files has no end")

    def _wanted(self, name: str, commit: str, entry: Any) -> Wanted | None:
        """Return one file of the list; None for a folder, and for what has no name that a file may have here."""
        if not isinstance(entry, dict) or entry.get("type") != "file":
            return None
        path, size, oid, large = (entry.get(key) for key in ("path", "size", "oid", "lfs"))
        if not isinstance(path, str) or not sound_path(path):
            return None
        sha256 = large.get("oid") if isinstance(large, dict) else None
        git_oid = oid if sha256 is None else None
        if not _is_hash(sha256 or git_oid) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise Refused(f"{name}: the hub does not say what {path} is")
        return Wanted(self.address(name, commit, path), path, size, sha256, git_oid)


def _is_hash(told: object) -> bool:
    return isinstance(told, str) and bool(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", told))


def pipeline_files(files: Mapping[str, Wanted], variant: str, *, without_vae: bool) -> list[str]:
    """Return the paths of a pipeline in the diffusers layout: one variant of the weights, as safetensors, no more.

    Raise `Refused` when one that is needed is not there.
    """
    wanted = ["model_index.json", "scheduler/scheduler_config.json"]
    for part, kind in NETWORKS.items():
        if part == "vae" and without_vae:
            continue
        stem = "diffusion_pytorch_model" if kind.startswith(("UNet", "Auto")) else "model"
        wanted += [f"{part}/config.json", *_weights(files, part, stem, variant)]
    for part in TOKENIZERS:
        wanted += [path for name in _TOKENIZER_FILES if (path := f"{part}/{name}") in files]
    for path in wanted:
        if path not in files:
            raise Refused(f"the repository has no {path}")
    return wanted


def _weights(files: Mapping[str, Wanted], part: str, stem: str, variant: str) -> list[str]:
    for name in dict.fromkeys((variant, "")):
        dotted = f".{name}" if name else ""
        whole = f"{part}/{stem}{dotted}.safetensors"
        if whole in files:
            return [whole]
        index = f"{part}/{stem}.safetensors.index{dotted}.json"
        shard = re.compile(rf"{re.escape(f'{part}/{stem}{dotted}')}-\d{{5}}-of-\d{{5}}\.safetensors")
        if index in files:
            return [index, *sorted(filter(shard.fullmatch, files))]
    if any(path.startswith(f"{part}/") and path.endswith((".bin", ".ckpt", ".msgpack")) for path in files):
        raise Refused(f"{part}/ holds its weights as a pickle only, which could run anything: safetensors only")
    raise Refused(f"the repository has no {part}/{stem}.safetensors")
