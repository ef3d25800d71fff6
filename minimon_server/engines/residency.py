"""Which models stay in memory, and which go first: least recently used, by bytes and tier. Moves nothing, and no torch.

A model is a set of parts, each named by what it holds: a part that two models share is there once and counts once. It
lies on the device as long as one of its models does, else in main memory. What is light beside a model, and had again
in a hundredth of the time, stays in the room that models leave: it goes before any of them, and none goes for it; it
stays in the tier that it was made for, or nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

# Where the weights of a model lie: where they are computed with, or in main memory as a copy that comes back fast.
Tier = Literal["device", "host"]
DEVICE: Final[Tier] = "device"
HOST: Final[Tier] = "host"


class PutOut(Protocol):
    """Puts models out that are not in use, of the device or else of main memory; returns whether any went.

    `copies_only`: nothing but what models keep on the device beside themselves.
    """

    def __call__(self, on_device: bool, reason: str, *, copies_only: bool = False) -> bool: ...


def nobody_else(on_device: bool, reason: str, *, copies_only: bool = False) -> bool:
    """Say that there is nobody to put out, as where one model is held at a time."""
    return False


@dataclass(frozen=True, slots=True)
class Budgets:
    """Bytes of models that may stay on a GPU and in main memory, as a person sets them; None: what the machine has."""

    gpu: int | None = None
    host: int | None = None


AS_THE_MACHINE_HAS_IT: Final = Budgets()


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done so that memory is as the policy has it, in this order.

    `out` are the models that leave memory, the least recently used first; `gone` the parts that nobody holds any more;
    `down` those that go from the device to main memory.
    """

    out: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    down: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.out or self.gone or self.down)


@dataclass(slots=True)
class _Kept:
    parts: dict[str, int]
    tier: Tier
    light: bool = False


class Residency:
    """Of one engine. Above a budget lies at the most the model in use, which is never put out."""

    def __init__(self, device: int, host: int) -> None:
        """`device` and `host` are the bytes that parts may take there; 0: none but those of the model in use."""
        self._budgets: dict[Tier, int] = {DEVICE: device, HOST: host}
        self._kept: dict[str, _Kept] = {}  # the least recently used first
        self._used: str | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """What is in memory, the least recently used first."""
        return tuple(self._kept)

    @property
    def in_use(self) -> str | None:
        """The model that was used last, which stays."""
        return self._used

    def tier(self, model: str) -> Tier | None:
        """Return where a model lies; None: it is not in memory."""
        found = self._kept.get(model)
        return found.tier if found else None

    def parts(self) -> dict[str, Tier]:
        """Return every part that is held, and where."""
        found: dict[str, Tier] = {}
        for kept in self._kept.values():
            for part in kept.parts:
                if found.get(part) != DEVICE:
                    found[part] = kept.tier
        return found

    def held(self, tier: Tier) -> int:
        """Return the bytes of the parts in a tier, each counted once."""
        tiers = self.parts()
        sizes = {part: size for kept in self._kept.values() for part, size in kept.parts.items()}
        return sum(size for part, size in sizes.items() if tiers[part] == tier)

    def use(self, model: str, parts: Mapping[str, int], tier: Tier = DEVICE) -> Change:
        """Let a model with these parts (bytes by name) be the one in use, in `tier`; return what makes room for it."""
        before = self.parts()
        self._kept.pop(model, None)
        self._kept[model] = _Kept(dict(parts), tier)
        self._used = model
        return self._settled(before)

    def keep(self, light: str, size: int, tier: Tier) -> Change:
        """Let something light, of `size` bytes, be the one of its kind that was used last; return what goes for it.

        Others of its kind go, the least recently used first. Where all of them would not make room enough they stay,
        and it is not kept: `tier` tells.
        """
        before = self.parts()
        was_there = self._kept.pop(light, None) is not None
        others = sum(sum(one.parts.values()) for one in self._kept.values() if one.light and one.tier == tier)
        if self.held(tier) - others + size > self._budgets[tier]:
            return self._settled(before, [light] if was_there else [])
        self._kept[light] = _Kept({light: size}, tier, light=True)
        return self._settled(before)

    def make_room(self, tier: Tier) -> Change:
        """Let everything but the model in use leave a tier: the device's go to main memory as far as its budget has it.

        So little is known of what would be enough that all of them go.
        """
        before, out = self.parts(), list[str]()
        for model in [one for one, kept in self._kept.items() if kept.tier == tier and one != self._used]:
            self._moved_down(model, out)
        return self._settled(before, out)

    def drop(self, model: str) -> Change:
        """Let one model leave memory, in use or not; one that is not there is no mistake."""
        before = self.parts()
        if self._kept.pop(model, None) is None:
            return Change()
        self._used = None if self._used == model else self._used
        return self._settled(before, [model])

    def _settled(self, before: Mapping[str, Tier], out: list[str] | None = None) -> Change:
        """Put out the least recently used until the budgets hold, what is light first; return what has changed."""
        out = out or []
        while self.held(DEVICE) > self._budgets[DEVICE] and (last := self._first_idle(DEVICE)):
            self._moved_down(last, out)
        while self.held(HOST) > self._budgets[HOST] and (last := self._first_idle(HOST)):
            self._moved_down(last, out)
        after = self.parts()
        gone = frozenset(before.keys() - after.keys())
        down = frozenset(part for part, tier in before.items() if tier == DEVICE and after.get(part) == HOST)
        return Change(tuple(out), gone, down)

    def _moved_down(self, name: str, out: list[str]) -> None:
        """Let something go one tier down, or out of memory, which `out` is told."""
        kept = self._kept[name]
        if kept.tier == DEVICE and not kept.light:
            kept.tier = HOST
            return
        del self._kept[name]
        out.append(name)

    def _first_idle(self, tier: Tier) -> str | None:
        idle = [model for model, kept in self._kept.items() if kept.tier == tier and model != self._used]
        return next((one for one in idle if self._kept[one].light), next(iter(idle), None))
