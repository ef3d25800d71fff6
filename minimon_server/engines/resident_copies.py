"""The weights as they came that models keep on the device beside themselves, in the room that models leave there.

They are as light as adapters to the policy (`residency`): they go before any model, and without them a merge reads the
model's own files. Holds no tensor itself. For one thread, that of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import torch

from minimon_server.engines.near_copies import NearCopies
from minimon_server.engines.residency import DEVICE, Change, Residency
from minimon_server.engines.sdxl_memory import give_memory_back
from minimon_server.logs import Logger

_PREFIX: Final = "weights before merges of "  # in the policy's names


class ResidentCopies:
    """Of one engine."""

    def __init__(
        self, policy: Residency, device: torch.device | None, log: Logger, apply: Callable[[Change, str], None]
    ) -> None:
        """`device` is one with memory of its own, or None. `apply` does what the policy has decided, for a reason."""
        self._policy = policy
        self._device = device
        self._log = log
        self._apply = apply
        self._copies: dict[str, NearCopies] = {}  # by the name of the model
        self._refused: set[str] = set()

    def of(self, model: str) -> NearCopies | None:
        """Return the copies of a model that was loaded just now: none yet. None where the files lie as near."""
        if self._device is None:
            return None
        self._refused.discard(model)
        self._copies[model] = NearCopies(self._device, lambda size: self._fits(model, size))
        return self._copies[model]

    def let_go(self, names: Iterable[str], reason: str) -> None:
        """Give back what the policy has put out: copies, and those of models."""
        for name in names:
            model = name.removeprefix(_PREFIX)
            copies = self._copies.get(model)
            if copies is None:
                continue
            if held := copies.held:
                self._log.info("weights on the device put out", model=model, bytes=held, reason=reason)
            copies.clear()
            if model == name:
                del self._copies[model]
                self._policy.drop(_PREFIX + model)

    def refuse(self, reason: str) -> bool:
        """Give all back, and keep none for the models that are loaded now; return whether there were any."""
        self._refused.update(self._copies)
        held = [_PREFIX + model for model, copies in self._copies.items() if copies.held]
        for key in held:
            self._apply(self._policy.drop(key), reason)
        if held:
            give_memory_back()
        return bool(held)

    def clear(self) -> None:
        """Give everything back."""
        for copies in self._copies.values():
            copies.clear()
        self._copies.clear()

    def _fits(self, model: str, size: int) -> bool:
        """Let the policy know of these bytes; a model that does not lie on the device has no copies there either."""
        key = _PREFIX + model
        before = self._policy.tier(key) is not None
        if not size or model in self._refused or self._policy.tier(model) != DEVICE:
            change = self._policy.drop(key)
        else:
            change = self._policy.keep(key, size, DEVICE)
        self._apply(change, "room for the weights of the model in use")
        stays = self._policy.tier(key) is not None
        if stays != before:
            self._log.info("weights stay on the device" if stays else "weights do not stay on the device", bytes=size)
        return stays
