"""Weights as they came, kept where merges compute: a stack that changes moves none of them there. Merges nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch


class NearCopies:
    """Of one pipeline, on one device, by network and name of a parameter."""

    def __init__(self, device: torch.device, room: Callable[[int], bool]) -> None:
        """`room` says whether so many bytes may stay, of all copies together."""
        self.device = device
        self._room = room
        self._expected: dict[tuple[str, str], int] = {}  # what there is room for, in bytes
        self._copies: dict[tuple[str, str], torch.Tensor] = {}

    @property
    def held(self) -> int:
        """The bytes that are kept now."""
        return sum(one.nbytes for one in self._copies.values())

    def expect(self, sizes: Mapping[tuple[str, str], int]) -> None:
        """Ask for room before a merge that needs weights of these bytes, beside those of the merges before."""
        wanted = {**self._expected, **sizes}
        if self._room(sum(wanted.values())):
            self._expected = wanted
        else:
            self.clear()

    def get(self, place: tuple[str, str]) -> torch.Tensor | None:
        """Return a copy that is kept."""
        return self._copies.get(place)

    def offer(self, place: tuple[str, str], copy: torch.Tensor) -> None:
        """Keep a copy that nobody else holds or writes to, if it lies here, was expected, and there is room."""
        if place in self._expected and copy.device.type == self.device.type:
            self._copies[place] = copy

    def forget(self, place: tuple[str, str]) -> None:
        """Give one of them back: it is not what came."""
        self._copies.pop(place, None)

    def clear(self) -> None:
        """Give all of them back; the next merge asks for room again."""
        self._expected.clear()
        self._copies.clear()
