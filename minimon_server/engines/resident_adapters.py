"""The adapters that were read, kept by their content in the room that models leave in main memory. Merges nothing.

A stack that comes back is merged from memory: no adapter's file is read for it. The budget and its order are those of
`residency`, which the models' owner keeps. For one thread, that of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from minimon_server.engines.adapter_deltas import BadAdapter
from minimon_server.engines.adapter_names import Layer, LayerNames
from minimon_server.engines.adapter_reading import Adapter, AdapterFile, fitted, read_file
from minimon_server.engines.adapter_stack import Wanted
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.file_stamps import stamp_of
from minimon_server.engines.host_copies import give_pinned_memory_back, pinned_bytes
from minimon_server.engines.memory_tally import MemoryTally
from minimon_server.engines.peft_folders import digest_of_adapter, files_of_adapter
from minimon_server.engines.residency import HOST, Residency, Tier
from minimon_server.engines.sdxl_memory import is_out_of_memory
from minimon_server.logs import Logger


@dataclass(slots=True, eq=False)
class _Kept:
    """One file's content, and what it is to each loaded model, by the names of that model's layers."""

    file: AdapterFile
    fitted: WeakKeyDictionary[LayerNames, Adapter] = field(default_factory=WeakKeyDictionary)

    def to(self, names: LayerNames, layers: Mapping[Layer, Any]) -> Adapter:
        found = self.fitted.get(names)
        if found is None:
            found = self.fitted[names] = fitted(self.file, names, layers)
        return found


class ResidentAdapters:
    """Of one engine. Tensors that are kept are copies: a file that is overwritten in place changes none of them."""

    def __init__(
        self,
        policy: Residency,
        tier: Tier,
        hashes: FileHashes,
        log: Logger,
        tally: MemoryTally,
        publish: Callable[[], None],
    ) -> None:
        """`tier` is the one of `policy` that is main memory, pinned where the other one is a GPU; `publish` tells what
        memory holds, once that changed.
        """
        self._policy = policy
        self._tier = tier
        self._hashes = hashes
        self._log = log
        self._tally = tally
        self._publish = publish
        self._kept: dict[str, _Kept] = {}  # by the name in the policy

    def take(self, wanted: Wanted, names: LayerNames, layers: Mapping[Layer, Any]) -> Adapter:
        """Return an adapter for these layers, read where its content is not in memory; see `ReadAdapter`."""
        key = f"adapter {wanted.digest}"
        kept = self._kept.get(key)
        if kept is not None:
            adapter = kept.to(names, layers)
            self._put(key, self._size(kept.file))
            self._tally.adapters_kept += 1
            return adapter
        file = self._read(wanted)
        self._tally.adapters_read += 1
        stays = self._put(key, self._size(file))
        done = False
        try:
            kept = _Kept(self._in_memory(file) if stays else file)
            adapter = kept.to(names, layers)
            done = True
        finally:
            if not done:
                self._policy.drop(key)
                self._publish()
        if stays:
            self._kept[key] = kept
        self._log.info("adapter read", adapter=wanted.name, bytes=file.size, kept=stays)
        return adapter

    def let_go(self, names: Iterable[str], reason: str) -> None:
        """Give back what the policy has put out; names of others are passed over."""
        gone = [name for name in names if self._kept.pop(name, None) is not None]
        if gone:
            self._log.info("adapters put out", count=len(gone), reason=reason)
            if self._tier == HOST:
                give_pinned_memory_back()  # other blocks than models have, and nobody knows when they fit again

    def clear(self) -> None:
        """Give everything back."""
        self._kept.clear()

    def _put(self, key: str, size: int) -> bool:
        """Let the policy know that one is used now; return whether it may stay."""
        change = self._policy.keep(key, size, self._tier)
        self.let_go(change.out, "room for the adapter in use")
        self._publish()
        return self._policy.tier(key) is not None

    def _size(self, file: AdapterFile) -> int:
        return pinned_bytes(file.size) if self._tier == HOST else file.size

    def _in_memory(self, file: AdapterFile) -> AdapterFile:
        if self._tier == HOST:
            try:
                return file.in_memory(pinned=True)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._log.warning("adapter not pinned", bytes=file.size, reason=str(error))
        return file.in_memory(pinned=False)

    def _read(self, wanted: Wanted) -> AdapterFile:
        """Return what a file holds that is surely the one whose digest is known; raise `BadAdapter`."""
        try:
            stamps = [stamp_of(one) for one in files_of_adapter(wanted.path)]
            same = digest_of_adapter(wanted.path, self._hashes) == wanted.digest
            file = read_file(wanted.path)
            if same and [stamp_of(one) for one in files_of_adapter(wanted.path)] == stamps:
                return file
        except OSError as error:
            raise BadAdapter(f"it cannot be read ({(error.strerror or 'error').lower()})") from None
        raise BadAdapter("its file changed while it was read")
