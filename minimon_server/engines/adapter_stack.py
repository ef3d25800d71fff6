"""The adapters that are merged into a loaded pipeline: put on, kept while they are wanted, taken off to the last bit.

Each weight of the model becomes W + the sum of all changes: W as its file has it, every change defined against W,
summed in float32 in an order that follows from what the adapters are and not from how they were asked for, and rounded
once.
So a drawing takes no longer a step, and a stack leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import torch

from minimon_server.engines.adapter_deltas import BadAdapter, bias_change, extremes, weight_change
from minimon_server.engines.adapter_names import ADAPTED, Layer, LayerNames, sgm_names
from minimon_server.engines.adapter_ranks import numbers_beside
from minimon_server.engines.adapter_reading import Adapter, Change, fitted, read_file
from minimon_server.engines.near_copies import NearCopies
from minimon_server.engines.pristine_weights import Place, PristineWeights
from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.logs import Logger

# One tensor of the largest layer at once, at the least: W, a change, their sum, all float32.
MERGING_TENSORS: Final = 3
TELL_EVERY: Final = 16  # layers
MOST_NAMED: Final = 1 << 14  # bytes of the names, as JSON, of one adapter's tensors that fit nothing


@dataclass(frozen=True, slots=True)
class Wanted:
    """One adapter that a request asks for: its file, the SHA-256 of that, and its weight."""

    name: str
    path: Path
    digest: str
    weight: float


# Called with how many layers of how many have been merged; what it raises stops the merge.
Tell = Callable[[int, int], None]
# Called before a merge with the bytes that it takes at the least, and how many of them are for layers in full.
Expect = Callable[[int, int], None]
# What gives the content of a wanted adapter for these layers; it raises `BadAdapter` where that is none for them.
ReadAdapter = Callable[[Wanted, LayerNames, Mapping[Layer, Any]], Adapter]


def read_adapter(wanted: Wanted, names: LayerNames, layers: Mapping[Layer, Any]) -> Adapter:
    """Read an adapter from its file, and keep nothing; see `fitted`."""
    return fitted(read_file(wanted.path), names, layers)


# Numbers that are to be finite after a merge, [2], and what is raised where they are not.
Claim = tuple[torch.Tensor, BadAdapter]
_NOTHING: Final = torch.empty(0)


class AdapterStack:
    """Of one loaded pipeline. For one thread."""

    def __init__(
        self,
        pipeline: Any,
        files: Mapping[str, list[Path]],
        device: torch.device,
        log: Logger,
        quantised: QuantisedLayers | None = None,
        read: ReadAdapter = read_adapter,
        near: NearCopies | None = None,
    ) -> None:
        """`files` are those that the networks were loaded from; changes are computed on `device`, wherever parts lie.

        So a merge does not depend on what was offloaded. `quantised` are layers of the UNet that hold fewer bits, where
        nothing is merged into them or even then, as it says. `near` keeps what came on `device`.
        """
        self._near = near
        self._reader = read
        self._quantised = quantised
        self._pipeline = pipeline
        self._files = files
        self._device = device
        self._log = log
        self._worn: tuple[tuple[str, float], ...] = ()
        self._changed: set[Place] = set()
        self._unmatched: dict[str, tuple[str, ...]] = {}  # by an adapter's digest
        self._pristine: PristineWeights | None = None
        self._layers: dict[Layer, Any] = {}
        self._names: LayerNames | None = None

    @property
    def worn(self) -> tuple[tuple[str, float], ...]:
        """Digest and weight of each adapter that is merged, in the order of the sum."""
        return self._worn

    def wears(self, wanted: Sequence[Wanted]) -> bool:
        """Return whether these adapters are merged, and no others; no stack is worn by torn weights."""
        return _keys(_order(wanted)) == self._worn and not self.is_torn

    @property
    def is_torn(self) -> bool:
        """Whether weights are changed and by no whole stack: the model is to be given up."""
        return not self._worn and bool(self._changed)

    @property
    def changed(self) -> frozenset[str]:
        """The networks whose weights are not as they came."""
        return frozenset(network for network, _ in self._changed)

    def wear(self, wanted: Sequence[Wanted], expect: Expect, tell: Tell) -> None:
        """Let these adapters be merged, and no others; nothing is done when they are already.

        Raise `BadAdapter`, with the model as it came; so it is after whatever `expect` or `tell` raise. Raise
        `LostWeights` when it cannot be had back.
        """
        order = _order(wanted)
        keys = _keys(order)
        if self.wears(wanted):
            return
        adapters = self._read(order)
        self._worn = ()
        done = False
        try:
            self._merge(adapters, order, expect, tell)
            done = True
        finally:
            if not done:
                self.take_off()
        self._worn = keys
        told = {"in_full": self.in_full} if self.in_full else {}
        self._log.info("adapters merged", adapters=[one.name for one in order], layers=len(self._changed), **told)

    def take_off(self) -> None:
        """Write every weight that was changed as it came; raise `LostWeights` when that cannot be done."""
        self._worn = ()
        if self._pristine is not None:
            self._pristine.restore(sorted(self._changed))
        self._changed.clear()

    @property
    def rounded_to(self) -> str | None:
        """In how few bits layers are held that a merge has changed, to which its changes are rounded; or None."""
        held = self._quantised
        if held is None or not held.quantises_merged:
            return None
        return held.label if any(part == "unet" and held.holds(name) for part, name in self._changed) else None

    @property
    def in_full(self) -> int:
        """How many layers of a quantised UNet hold the model's own numbers, since a merge has changed them."""
        return len(self._quantised.in_full) if self._quantised is not None else 0

    def unmatched(self, digest: str) -> tuple[str, ...]:
        """Return the tensors of a merged adapter that fit no layer of this model."""
        return self._unmatched.get(digest, ())

    def _read(self, order: Sequence[Wanted]) -> dict[str, Adapter]:
        if order and self._names is None:
            self._look_at_layers()
        adapters: dict[str, Adapter] = {}
        for one in order:
            if one.digest in adapters:
                continue
            assert self._names is not None
            try:
                adapter = self._reader(one, self._names, self._layers)
            except BadAdapter as error:
                raise _of(one.name, error) from error
            adapters[one.digest] = adapter
            if adapter.unmatched and one.digest not in self._unmatched:
                counted = {"tensors": len(adapter.unmatched), "names": told_of(adapter.unmatched)}
                self._log.warning("tensors of an adapter fit no layer", adapter=one.name, **counted)
            self._unmatched[one.digest] = adapter.unmatched
        return adapters

    def _look_at_layers(self) -> None:
        for network in ADAPTED:
            for name, module in getattr(self._pipeline, network).named_modules():
                if isinstance(getattr(module, "weight", None), torch.nn.Parameter):
                    self._layers[network, name] = module
        listed = {network: [name for own, name in self._layers if own == network] for network in ADAPTED}
        self._names = LayerNames(listed)
        blocks = dict(sgm_names(listed["unet"]))
        self._pristine = PristineWeights(self._pipeline, self._files, blocks, self._log, self._quantised, self._near)

    def _merge(self, adapters: Mapping[str, Adapter], order: Sequence[Wanted], expect: Expect, tell: Tell) -> None:
        pristine = self._pristine
        if pristine is None:
            return  # nothing was ever merged, and nothing is wanted
        pristine.check()
        layers = sorted({layer for adapter in adapters.values() for layer in adapter.changes})
        uses = {layer: [one for one in order if layer in adapters[one.digest].changes] for layer in layers}
        made = {layer: [adapters[one.digest].changes[layer] for one in uses[layer]] for layer in layers}
        kinds = [(layer, kind) for layer in layers for kind in ("weight", "bias")]
        changed = [(layer, kind) for layer, kind in kinds if any(one.has(kind) for one in made[layer])]
        places = [place for (network, name), kind in changed if self._has(place := (network, f"{name}.{kind}"))]
        pristine.restore(sorted(self._changed - set(places)))  # first: it may free what is needed
        self._changed &= set(places)
        expect(*self._floor(pristine, places, made))
        pristine.expect(places)
        pristine.keep([place for place in places if place not in self._changed])
        claims: list[Claim] = []
        for number, layer in enumerate(layers):
            if number % TELL_EVERY == 0:
                tell(number, len(layers))
            for kind in ("weight", "bias"):
                place = layer[0], f"{layer[1]}.{kind}"
                if self._has(place):
                    changes = [(one, adapters[one.digest].changes[layer]) for one in uses[layer]]
                    claims += self._write(pristine, place, kind, changes)
        _check(claims)
        if layers:
            tell(len(layers), len(layers))

    def _write(
        self, pristine: PristineWeights, place: Place, kind: str, uses: Sequence[tuple[Wanted, Change]]
    ) -> list[Claim]:
        """Write one parameter: what came, and all changes; return what is to be true of it."""
        name = ".".join((place[0], place[1].removesuffix(f".{kind}")))
        parameter, claims = pristine.parameter(place), list[Claim]()
        came, total = _NOTHING, _NOTHING
        for one, change in uses:
            if not change.has(kind):
                continue
            came = pristine.at(place, self._device).float() if came is _NOTHING else came
            make = weight_change if kind == "weight" else bias_change
            made = make(change.wide(self._device), came, one.weight, change.scaling)
            if made is None:
                continue
            claims.append(
                (extremes(made), _of(one.name, BadAdapter(f"{name}: it makes something that is not a number")))
            )
            total = made if total is _NOTHING else total.add_(made)
        if total is _NOTHING:
            if place in self._changed:
                pristine.restore([place])
                self._changed.discard(place)
            return claims
        merged = total.add_(came).to(parameter.dtype)
        overflow = BadAdapter(f"{name} overflows {str(parameter.dtype).removeprefix('torch.')}")
        claims.append((extremes(merged), _of(", ".join(one.name for one, _ in uses), overflow)))
        self._changed.add(place)  # before it is: a copy that is cut off leaves half of it
        with torch.inference_mode():  # as drawing does, which may have made the parameter
            pristine.put(place, merged)
        return claims

    def _has(self, place: Place) -> bool:
        network, name = place
        layer, _, kind = name.rpartition(".")
        return isinstance(getattr(self._layers[network, layer], kind, None), torch.nn.Parameter)

    def _floor(
        self, pristine: PristineWeights, places: Sequence[Place], changes: Mapping[Layer, Sequence[Change]]
    ) -> tuple[int, int]:
        """Return the bytes that a merge takes at the least where it computes, what makes the changes included; and
        how many of them are for layers in full.
        """
        sizes = [pristine.parameter(place) for place in places]
        largest = max((size.numel() for size in sizes), default=0) * 4 * MERGING_TENSORS
        for layer, made in changes.items():
            weight = self._layers[layer].weight.numel() * 2  # what came, and the change
            largest = max([largest, *((weight + numbers_beside(one.factors)) * 4 for one in made)])
        more = pristine.bytes_in_full(places)
        mapped = pristine.mapped_bytes(places) if self._device.type == "cpu" else 0
        return largest + more + mapped, more


def told_of(names: Sequence[str]) -> str:
    """Return the names of tensors for people: all, or the first of `MOST_NAMED` bytes and how many there are beyond."""
    ends = accumulate(len(json.dumps(name)) for name in names)
    shown = names[: sum(end <= MOST_NAMED for end in ends)]
    more = [f"and {len(names) - len(shown)} more"] if len(shown) < len(names) else []
    return " ".join([*[", ".join(shown)][: len(shown)], *more])


def _check(claims: Sequence[Claim]) -> None:
    """Raise for the first claim that is not true. They are looked at together: each look waits for the device."""
    if claims:
        true = torch.isfinite(torch.stack([numbers for numbers, _ in claims])).all(dim=1)
        if not bool(true.all()):
            raise next(error for (_, error), holds in zip(claims, true.tolist(), strict=True) if not holds)


def _order(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return the adapters that count, in the order in which their changes are summed."""
    return sorted((one for one in wanted if one.weight), key=lambda one: (one.digest, one.weight))


def _keys(order: Sequence[Wanted]) -> tuple[tuple[str, float], ...]:
    return tuple((one.digest, one.weight) for one in order)


def _of(name: str, error: BadAdapter) -> BadAdapter:
    return BadAdapter(f"{name}: {error}")
