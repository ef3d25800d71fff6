"""From the adapters that a request names to a pipeline that wears them, and what is told of it. Computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from minimon_server.engines.adapter_deltas import BadAdapter
from minimon_server.engines.adapter_stack import AdapterStack, Wanted, told_of
from minimon_server.engines.file_hashes import FileHashes, Hashing
from minimon_server.engines.messages import AdapterUse, DrawRequest, EngineFault
from minimon_server.engines.peft_folders import digest_of_adapter
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.weight_files import FindAdapter

WAIT_SECONDS = 5.0  # for hashes, between two reports


@dataclass(frozen=True, slots=True)
class Worn:
    """What a picture tells of the model and the adapters that drew it; `model` and `parts` may still be computed.

    `rounded_to`: in how few bits weights are held that the adapters have changed; or `in_full`: how many layers are not
    held in few bits, since they have.
    """

    model: Hashing | None = None
    parts: Hashing | None = None  # what drew beside the model: an IP-Adapter, its image encoder
    adapters: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    rounded_to: str | None = None
    in_full: int = 0

    def await_hashes(self, tell: Callable[[], None]) -> None:
        """Wait until the files of the model and its parts are hashed, and call `tell` meanwhile."""
        for hashing in (self.model, self.parts):
            while hashing is not None and not hashing.wait(WAIT_SECONDS):
                tell()

    @property
    def hashes(self) -> dict[str, object]:
        """The SHA-256 of the model, of its VAE, of every adapter and of other parts; None where a file could not be
        read, or changed after it was loaded.
        """
        known = dict(self.model.found) if self.model else {}
        parts = dict(self.parts.found) if self.parts else {}
        loras = dict(sorted(self.adapters.items()))
        return {"model": known.get("model"), "vae": known.get("vae"), "loras": loras, **parts}


def put_on(
    stack: AdapterStack,
    request: DrawRequest,
    find: FindAdapter,
    hashes: FileHashes,
    ladder: Ladder,
    tell: Callable[[int, int], None],
    count: Callable[[int], None],
) -> Worn:
    """Let the pipeline of `stack` wear the adapters of a request and no others; return what is told of them.

    `count` lets the model have so many bytes more than it takes. Raise `EngineFault` where one of them cannot be used,
    with the model as it came; `LostWeights` as the stack does.
    """
    wanted = [_wanted(use, find, hashes) for use in request.adapters]

    def expect(needed: int, in_full: int) -> None:
        count(in_full)
        ladder.look_at_need("merging", needed, in_full)

    try:
        if not stack.wears(wanted):
            ladder.run("merging", partial(stack.wear, wanted, expect, tell))
    except BadAdapter as error:
        raise EngineFault(f"An adapter (LoRA) cannot be used with {request.model}: {error}.") from None
    count(0)
    ignored = [told for one in wanted for told in _ignored(one, stack)]
    digests = {one.name: one.digest for one in wanted}
    return Worn(adapters=digests, ignored=tuple(ignored), rounded_to=stack.rounded_to, in_full=stack.in_full)


def _wanted(use: AdapterUse, find: FindAdapter, hashes: FileHashes) -> Wanted:
    path = find(use.name)
    if path is None:
        raise EngineFault(f"There is no adapter (LoRA) {use.name} here.")
    try:
        return Wanted(use.name, path, digest_of_adapter(path, hashes), use.weight)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise EngineFault(f"The adapter (LoRA) {use.name} cannot be read: {reason}.") from None


def _ignored(one: Wanted, stack: AdapterStack) -> list[str]:
    if not one.weight:
        return [f"loras.{one.name}: its weight is 0"]
    names = stack.unmatched(one.digest)
    if not names:
        return []
    return [f"loras.{one.name}: {len(names)} tensors fit no layer: {told_of(names)}"]
