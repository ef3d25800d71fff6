"""Which text is drawn at which step: A1111's `[from:to:when]` and `[a|b]`. Knows no weight and no token.

The rule is that of `get_learned_conditioning_prompt_schedules` in AUTOMATIC1111/stable-diffusion-webui 1.10, the one
without its setting for old schedules: a `when` with a point is a fraction of the steps, one without is a step. Its
documented examples are in the tests. Steps count from 1, as its manual says: "after step 16, it will switch". (Its
sampler looks them up counting from 0, and so switches one step later.)

A "|" outside of `[a|b]`, or a backslash at the very end, is text; there either turns off all editing of the prompt.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

_TOKEN: Final = re.compile(r"(?:[^\\\[\]():|]+|\\.)+|[\[\]():|]|\\", re.DOTALL)
_WHEN: Final = re.compile(
    r"\s*([+-]?(?:[0-9]+[eE][+-]?[0-9]+|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+))\s*"
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The texts of a prompt, each with the last step, counted from 1, that it is for."""

    entries: tuple[tuple[int, str], ...]

    def at(self, step: int) -> int:
        """Return which entry is drawn at `step`, from 1."""
        ends = [end for end, _ in self.entries]
        return min(bisect_left(ends, step), len(ends) - 1)


@dataclass(slots=True)
class _Bracket:
    """An open bracket: where it stands, and what stands in it at its own level."""

    at: int
    kind: str
    colons: list[int] = field(default_factory=list)
    bars: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Something in brackets that is one of several stretches of tokens, by the step; `end` is the closing bracket."""

    stretches: tuple[tuple[int, int], ...]
    end: int
    when: int | None = None  # the last step of the first stretch; None: one after the other, again and again

    def stretch(self, step: int) -> tuple[int, int]:
        if self.when is None:
            return self.stretches[(step - 1) % len(self.stretches)]
        return self.stretches[0 if step <= self.when else 1]


def schedule(prompt: str, steps: int) -> Schedule:
    """Return what to draw at each of `steps` steps. Never raises; costs the length once for each different step."""
    tokens: list[str] = _TOKEN.findall(prompt) if "[" in prompt else []
    choices = _choices(tokens, steps)
    if not choices:
        return Schedule(((steps, prompt),))
    ends = {steps}
    for choice in choices.values():
        if choice.when is None:
            ends.update(range(1, steps + 1))
        elif choice.when >= 1:
            ends.add(choice.when)
    known: dict[tuple[tuple[int, int], ...], str] = {}  # by what is chosen: alternatives come again and again
    entries = []
    for end in sorted(ends):
        chosen = tuple(choice.stretch(end) for choice in choices.values())
        if chosen not in known:
            known[chosen] = _text(tokens, choices, end)
        entries.append((end, known[chosen]))
    return Schedule(tuple(entries))


def _choices(tokens: list[str], steps: int) -> dict[int, _Choice]:
    """Return what is edited, by the place of its opening bracket.

    A bracket may stand in another only if it is closed and means something: else all that are open are text.
    """
    found: dict[int, _Choice] = {}
    brackets: list[_Bracket] = []
    for at, mark in enumerate(tokens):
        if mark in ("(", "["):
            brackets.append(_Bracket(at, mark))
        elif not brackets:
            continue
        elif mark == ":":
            brackets[-1].colons.append(at)
        elif mark == "|":
            brackets[-1].bars.append(at)
        elif mark in (")", "]"):
            bracket = brackets.pop()
            choice = _choice(tokens, bracket, at, steps) if mark == "]" else None
            if choice is not None:
                found[bracket.at] = choice
            elif not _is_emphasis(bracket, mark):
                brackets.clear()
    return found


def _is_emphasis(bracket: _Bracket, closing: str) -> bool:
    """Return whether a pair is one that weighs: `(a)`, `(a:1.2)` or `[a]`."""
    if bracket.kind + closing == "()":
        return len(bracket.colons) <= 1
    return bracket.kind + closing == "[]" and not bracket.colons


def _choice(tokens: list[str], bracket: _Bracket, end: int, steps: int) -> _Choice | None:
    if bracket.kind != "[":
        return None
    start, colons = bracket.at + 1, bracket.colons
    if not colons and bracket.bars:
        starts = [start, *(bar + 1 for bar in bracket.bars)]
        return _Choice(tuple(zip(starts, [*bracket.bars, end], strict=True)), end)
    # What follows the last colon is one run of plain characters, or it is no number.
    if len(colons) not in (1, 2) or colons[-1] + 2 != end:
        return None
    number = _WHEN.fullmatch(tokens[end - 1])
    if number is None:
        return None
    before = (start, colons[0]) if len(colons) == 2 else (start, start)
    after = (colons[-2] + 1 if len(colons) == 2 else start, colons[-1])
    return _Choice((before, after), end, _step(number[1], steps))


def _step(written: str, steps: int) -> int:
    when = float(written) * (steps if "." in written else 1)
    return int(max(-1.0, min(float(steps), when)))  # bounded first: it may be infinite


def _text(tokens: list[str], choices: dict[int, _Choice], step: int) -> str:
    said: list[str] = []
    inside: list[tuple[int, int]] = []  # where a stretch ends, and where to go on after it
    at = 0
    while True:
        while inside and inside[-1][0] == at:
            at = inside.pop()[1]
        if at >= len(tokens):
            return "".join(said)
        if at in choices:
            start, end = choices[at].stretch(step)
            inside.append((end, choices[at].end + 1))
            at = start
        else:
            said.append(tokens[at])
            at += 1
