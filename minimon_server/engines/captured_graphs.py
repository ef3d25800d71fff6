"""Calls that are recorded once a shape and replayed: one launch instead of thousands. Knows no pipeline and no queue.

A graph reads its inputs and writes its answer at fixed places, and keeps pointers to the weights that it computes with.
So inputs are copied in, answers are copied out before anything else is replayed, and graphs are dropped when weights
have moved; weights that change where they are, as by a merge, keep them. For one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final
from weakref import WeakSet

import torch

from minimon_server.engines.messages import EngineFault, Stopped
from minimon_server.engines.sdxl_memory import is_out_of_memory
from minimon_server.engines.weight_places import WeightPlaces
from minimon_server.logs import Logger

ATTRIBUTE: Final = "minimon_graphs"
MOST_SHAPES: Final = 16
MOST_SEEN: Final = 256  # shapes that are remembered until they are asked for again
MOST_MOVES: Final = 8  # of the weights, after which recording costs more than it saves
WARM_UP: Final = 3  # calls before a capture, which may allocate, choose kernels and compile (torch.cuda.graph)

Tensors = tuple[torch.Tensor, ...]
Call = Callable[..., Tensors]
# What records: takes a call and the inputs that it will read, returns what computes anew, and where the answer is then.
Record = Callable[[Callable[..., Tensors], Tensors], tuple[Callable[[], object], Tensors]]
Key = tuple[Hashable, ...]

_LIVING: Final[WeakSet[Any]] = WeakSet()  # CUDA graphs


def recorded_on_cuda(call: Callable[..., Tensors], inputs: Tensors) -> tuple[Callable[[], object], Tensors]:
    """Record a CUDA graph; all share one pool of memory, for they are replayed one after the other. Not yet run."""
    own, aside = torch.cuda.current_stream(), stream_of_captures(inputs[0].device)
    aside.wait_stream(own)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            call(*inputs)
    own.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # A pool lives as long as one of its graphs. What other threads do on the card is no part of this.
    pool = next((one.pool() for one in _LIVING), None)
    recording = torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local")
    # A capture that failed raises where it ends, before torch.cuda.graph is back on the stream of before (torch 2.13),
    # and what followed would be computed on the stream of captures: the outer one leads back.
    with torch.cuda.stream(own), recording:
        answer = call(*inputs)
    _LIVING.add(graph)
    return graph.replay, answer


@cache
def stream_of_captures(device: torch.device) -> Any:
    """Return the one stream of captures on a device: each stream more would be a workspace more of cuBLAS."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # as the library has it


def recorded_by_calling(call: Callable[..., Tensors], inputs: Tensors) -> tuple[Callable[[], object], Tensors]:
    """Do on any device what a graph does, by calling: read these very inputs, write to the same places each time."""
    answer = tuple(one.clone() for one in call(*inputs))

    def replay() -> None:
        for place, found in zip(answer, call(*inputs), strict=True):
            place.copy_(found)

    return replay, answer


class CapturedGraphs:
    """One call of one network. The first time that a shape is seen it is called, the second time recorded."""

    def __init__(
        self,
        what: str,
        network: torch.nn.Module,
        call: Call,
        log: Logger,
        record: Record,
        most: int = MOST_SHAPES,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`call` takes tensors, and named values that are part of the shape; it answers with tensors and asks the
        device nothing. `failed` hears why no more is recorded. `what` is for the log.
        """
        self._what, self._network, self._call = what, network, call
        self._log, self._record, self._most, self._failed = log, record, most, failed
        self._graphs: dict[Key, tuple[Tensors, Callable[[], object], Tensors]] = {}
        self._seen: dict[Key, bool] = {}  # and whether there was no memory for it; the last seen stands last
        self._weights: WeightPlaces | None = None
        self._first = _first_place(network)
        self._moves = self._pauses = 0
        self._gave_up = self._told_full = False

    @property
    def is_paused(self) -> bool:
        """Whether nothing is recorded or replayed, because somebody asked for that."""
        return self._pauses > 0

    @property
    def shapes(self) -> int:
        """How many shapes are recorded."""
        return len(self._graphs)

    def __call__(self, *inputs: torch.Tensor, **named: Hashable) -> Tensors:
        """Return what the call does, in tensors that nobody writes over."""
        if self._gave_up or self.is_paused:
            return self._call(*inputs, **named)
        # What moves in the middle of a stage moves as a whole, and whoever casts drops the graphs: one weight tells.
        if _first_place(self._network) != self._first:
            self.look()
        key = (*((one.shape, one.dtype, one.device) for one in inputs), *sorted(named.items()))
        with torch.inference_mode():
            if key not in self._graphs and not self._recorded(key, inputs, named):
                found = self._call(*inputs, **named)
                self._see(key)
                return found
            places, replay, answer = self._graphs[key] = self._graphs.pop(key)  # the last used stands last
            for place, given in zip(places, inputs, strict=True):
                place.copy_(given)
            replay()
            return tuple(one.clone() for one in answer)

    def look(self) -> None:
        """Drop what was recorded with weights that are elsewhere now. To be called before every stage."""
        if self.is_paused:  # what is elsewhere meanwhile, or beside the weights, may be gone when it is over
            return
        self._first = _first_place(self._network)
        if self._weights is None or not self._weights.are_left():
            return
        self.drop()
        self._moves += 1
        if self._moves >= MOST_MOVES:
            self._give_up("its weights move too often")

    def drop(self) -> None:
        """Forget all graphs, and let their memory go; what is asked for again is recorded again. Counts as no move."""
        self._graphs.clear()
        self._seen.clear()
        self._weights = None

    def pause(self) -> None:
        """Record and replay nothing until `go_on` was called as often as this."""
        self._pauses += 1

    def go_on(self) -> None:
        """End one pause."""
        self._pauses -= 1

    def _recorded(self, key: Key, inputs: Tensors, named: dict[str, Hashable]) -> bool:
        if self._seen.get(key, True):  # for the first time, or known not to fit
            return False
        self._make_room()
        try:
            places = tuple(one.clone() for one in inputs)
            replay, answer = self._record(partial(self._call, **named), places)
        except (EngineFault, Stopped):  # of what is called: nobody waits any more, or nothing may be compiled now
            self._seen.pop(key, None)
            raise
        except Exception as error:  # whatever a driver, a kernel or a library raises that cannot be recorded
            # What ends a capture raises, too, and tells of nothing but that it was cut off.
            if is_out_of_memory(error) or (error.__context__ and is_out_of_memory(error.__context__)):
                # It may be there another time; whoever computes without a graph needs less, and has a ladder.
                self._seen[key] = True
                self._log.warning("no memory for a graph: computed without", network=self._what, problem=str(error))
                return False
            self.drop()
            self._give_up(f"{type(error).__name__}: {str(error)[:500]}")
            return False
        self._seen.pop(key, None)
        self._graphs[key] = places, replay, answer
        if self._weights is None:
            self._weights = WeightPlaces(self._network)
        self._log.info("graph captured", network=self._what, shapes=len(self._graphs))
        return True

    def _make_room(self) -> None:
        """Let the graph go that was not used for longest, if there is no room for one more."""
        if len(self._graphs) < self._most:
            return
        del self._graphs[next(iter(self._graphs))]
        if not self._told_full:
            self._told_full = True
            self._log.warning(
                "more shapes than graphs: the least recently used go", network=self._what, most=self._most
            )

    def _see(self, key: Key) -> None:
        self._seen[key] = self._seen.pop(key, False)
        if len(self._seen) > MOST_SEEN:
            del self._seen[next(iter(self._seen))]

    def _give_up(self, why: str) -> None:
        self._gave_up = True
        self._log.warning("no graphs: drawing goes on without", network=self._what, reason=why)
        self._failed(why)


def captured_of(network: Any) -> CapturedGraphs | None:
    """Return the graphs of a network's main call, if it has any."""
    found = vars(network).get(ATTRIBUTE) if isinstance(network, torch.nn.Module) else None
    return found if isinstance(found, CapturedGraphs) else None


def drop_graphs(network: Any) -> None:
    """Let go of the graphs of a network that moves, or of their memory."""
    if (graphs := captured_of(network)) is not None:
        graphs.drop()


@contextmanager
def graphs_paused(network: Any) -> Iterator[None]:
    """Let a network be computed without graphs, of which it keeps what it has; it may have none."""
    graphs = captured_of(network)
    if graphs is None:
        yield
        return
    graphs.pause()
    try:
        yield
    finally:
        graphs.go_on()


def _first_place(network: torch.nn.Module) -> tuple[int, ...]:
    """Return where the first of the weights is, and what it is: by what costs next to nothing."""
    first = next(network.parameters(), None)
    return () if first is None else (id(first), first.data_ptr(), hash(first.dtype))
