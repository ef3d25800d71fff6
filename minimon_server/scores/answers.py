"""What a command answers: a verdict, sentences, and the same as JSON. Judges nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

VALID: Final = 0
NOT_VALID: Final = 1
COULD_NOT_CHECK: Final = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """`valid` is None where nothing could be checked; `facts` are for programs."""

    valid: bool | None
    sentences: Sequence[str]
    facts: Mapping[str, object] = field(default_factory=dict)
    head: str | None = None  # instead of the verdict's own word

    @property
    def status(self) -> int:
        """The exit status."""
        return COULD_NOT_CHECK if self.valid is None else VALID if self.valid else NOT_VALID


def say(answer: Answer, *, as_json: bool) -> int:
    """Print an answer and return its exit status; a verdict goes to standard output, a hindrance to standard error."""
    if as_json:
        print(json.dumps({"valid": answer.valid, "sentences": list(answer.sentences), **answer.facts}))
        return answer.status
    out = sys.stderr if answer.valid is None else sys.stdout
    head = answer.head or {None: "COULD NOT CHECK", True: "VALID", False: "NOT VALID"}[answer.valid]
    first, *others = answer.sentences or [""]
    print("\n".join([f"{head}: {first}", *others]), file=out)
    return answer.status
