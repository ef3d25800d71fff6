"""Calls that are recorded once a shape and replayed: one launch instead of thousands. Knows no pipeline and no queue.

A graph reads its inputs and writes its answer at fixed places, and keeps pointers to the weights that it computes with.
So inputs are copied in, answers are copied out before anything else is replayed, and graphs are dropped when weights
have moved; weights that change where they are, as by a merge, keep them. For one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, Final
from weakref import WeakSet

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from minimon_server.engines.messages import EngineFault, Stopped
from minimon_server.engines.sdxl_memory import is_out_of_memory
from minimon_server.logs import Logger

MOST_SHAPES: Final = 16
MOST_MOVES: Final = 8  # of the weights, after which recording costs more than it saves
WARM_UP: Final = 3  # calls before a capture, which may allocate, choose kernels and compile (torch.cuda.graph)

Tensors = tuple[torch.Tensor, ...]
Call = Callable[..., Tensors]
# What records: takes a call and the inputs that it will read, returns what computes anew, and where the answer is then.
Record = Callable[[Callable[..., Tensors], Tensors], tuple[Callable[[], object], Tensors]]
Key = tuple[Hashable, ...]


def recorded_on_cuda(call: Callable[..., Tensors], inputs: Tensors) -> tuple[Callable[[], object], Tensors]:
    """Record a CUDA graph; all share one pool of memory, for they are replayed one after the other. Not yet run."""
    aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call] # as the library has it
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            call(*inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # A pool lives as long as one of its graphs. What other threads do on the card is no part of this.
    pool = next((one.pool() for one in _LIVING), None)
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        answer = call(*inputs)
    _LIVING.add(graph)
    return graph.replay, answer


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
        self._seen: set[Key] = set()
        self._refused: set[Key] = set()  # for want of memory
        self._weights: tuple[int, ...] = ()
        self._first = _first_place(network)
        self._moves = 0
        self._gave_up = False
        self.is_paused = False  # nothing is recorded or replayed meanwhile, such as where memory is short

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
                return self._call(*inputs, **named)
            places, replay, answer = self._graphs[key]
            for place, given in zip(places, inputs, strict=True):
                place.copy_(given)
            replay()
            return tuple(one.clone() for one in answer)

    def look(self) -> None:
        """Drop what was recorded with weights that are elsewhere now. To be called before every stage."""
        self._first = _first_place(self._network)
        if not self._graphs or tuple(_places_of(self._network)) == self._weights:
            return
        self.drop()
        self._moves += 1
        if self._moves >= MOST_MOVES:
            self._give_up("its weights move too often")

    def drop(self) -> None:
        """Forget all graphs, and let their memory go; what is asked for again is recorded again."""
        self._graphs.clear()
        self._seen.clear()
        self._refused.clear()

    def _recorded(self, key: Key, inputs: Tensors, named: dict[str, Hashable]) -> bool:
        if key not in self._seen:
            self._seen.add(key)
            return False
        if key in self._refused or len(self._graphs) >= self._most:
            return False
        try:
            places = tuple(one.clone() for one in inputs)
            replay, answer = self._record(partial(self._call, **named), places)
        except (EngineFault, Stopped):  # of what is called: nobody waits any more, or nothing may be compiled now
            self._seen.discard(key)
            raise
        except Exception as error:  # whatever a driver, a kernel or a library raises that cannot be recorded
            # What ends a capture raises, too, and tells of nothing but that it was cut off.
            if is_out_of_memory(error) or (error.__context__ and is_out_of_memory(error.__context__)):
                # It may be there another time; whoever computes without a graph needs less, and has a ladder.
                self._refused.add(key)
                self._log.warning("no memory for a graph: computed without", network=self._what, problem=str(error))
                return False
            self.drop()
            self._give_up(f"{type(error).__name__}: {str(error)[:500]}")
            return False
        self._graphs[key] = places, replay, answer
        self._weights = tuple(_places_of(self._network))
        self._log.info("graph captured", network=self._what, shapes=len(self._graphs))
        return True

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


ATTRIBUTE: Final = "minimon_graphs"
_LIVING: Final[WeakSet[Any]] = WeakSet()  # CUDA graphs


def _first_place(network: torch.nn.Module) -> tuple[int, ...]:
    """Return where the first of the weights is, and what it is: by what costs next to nothing."""
    first = next(network.parameters(), None)
    return () if first is None else (id(first), first.data_ptr(), hash(first.dtype))


def _places_of(network: torch.nn.Module) -> Iterator[int]:
    """Yield where the numbers of all weights are, those that quantised weights are made of included."""
    waiting: list[Any] = [*network.parameters(), *network.buffers()]
    while waiting:
        one = waiting.pop()
        if is_traceable_wrapper_subclass(one):
            waiting += [getattr(one, name) for name in one.__tensor_flatten__()[0]]
        else:
            yield one.data_ptr()
