"""A UNet whose blocks are compiled for each size that it is asked for, up to a number. Knows no queue, keeps no file.

Nothing is dynamic: rows, height, width and tokens together are a bucket, with graphs for each shape of block. What no
bucket serves, because there are enough of them already, is computed as it is written, and the log says so. Torch keeps
the graphs' code on the disk, in the folder of TORCHINDUCTOR_CACHE_DIR; weights are not part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from minimon_server.engines.acceleration_plan import Accelerations, Chosen
from minimon_server.engines.compiled_regions import Backend, CompiledRegions
from minimon_server.engines.messages import EngineFault
from minimon_server.engines.sdxl_loading import forget_signatures
from minimon_server.engines.sdxl_memory import is_out_of_memory
from minimon_server.errors import Text
from minimon_server.logs import Logger

MOST_BUCKETS: Final = 16
# No CUDA graphs of inductor's own: they keep pointers to weights, which offloading and merging would leave behind.
MODES: Final = {"cuda": "max-autotune-no-cudagraphs", "cpu": "default"}
PROBLEM: Final = 500  # letters of what torch says
RECOMPILES: Final = "Detected recompile"  # what it says where its stance is to make no graph anew
Bucket = tuple[tuple[int, ...], tuple[int, ...]]


class NoGraph(EngineFault):
    """There is no graph for a size yet, and none may be made now."""

    def __init__(self) -> None:
        super().__init__("No graph of the compiled UNet serves this size yet.")


class CompiledUnet:
    """Stands for the `forward` of one UNet. For one thread."""

    def __init__(
        self,
        network: Any,
        plan: Accelerations,
        device: str,
        log: Logger,
        most: int = MOST_BUCKETS,
        backend: Backend = "inductor",
    ) -> None:
        """Take the place of the network's own `forward`, which stays for what is not compiled.

        `backend` is one of torch's, inductor writes kernels, aot_eager only holds the graphs; or a function.
        """
        forget_signatures(network)
        self._whole = network.forward
        self._dtype = network.dtype
        self._regions = CompiledRegions(network, MODES[device] if backend == "inductor" else None, backend)
        self._plan, self._log, self._most = plan, log, most
        self._buckets: set[Bucket] = set()
        self._refused: set[Bucket] = set()
        self._broken = False
        self.only_known = False  # raise `NoGraph` where a graph would have to be made, which takes minutes
        self.tell: Callable[[], None] = lambda: None  # called before a bucket is compiled, which takes minutes
        _allow_graphs(most * self._regions.count)
        self._network, self._attention = network, _attention_of(network)
        network.forward = self

    @property
    def buckets(self) -> frozenset[Bucket]:
        """The sizes that there are graphs for: the shapes of latents and of embeddings."""
        return frozenset(self._buckets)

    def width(self, most: int) -> int:
        """Return how many of `most` pictures to ask for at once: few widths, for each is a graph of its own."""
        if self._broken:
            return most
        return 1 if self.only_known else 1 << (most.bit_length() - 1)

    def __call__(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, **named: Any) -> Any:
        """Return what the network's own `forward` would."""
        bucket = tuple(sample.shape), tuple(encoder_hidden_states.shape)
        if not self._is_served(bucket, sample.dtype):
            return self._whole(sample, timestep, encoder_hidden_states, **named)
        # The same graphs for a bucket: another order of strides might be others.
        given = (sample.contiguous(), timestep, encoder_hidden_states.contiguous())
        try:
            if bucket in self._buckets and (found := self._from_graphs(bucket, given, named)) is not None:
                return found
            with self._regions.in_effect():
                found = self._whole(*given, **named)
        except NoGraph:
            raise
        except Exception as error:  # whatever dynamo, inductor, triton and a compiler raise
            # What a graph that is there raises is no failure of the compiler, unless dynamo says that it is.
            is_dynamos = isinstance(error, TorchDynamoException | FailOnRecompileLimitHit)
            if is_out_of_memory(error) or (bucket in self._buckets and not is_dynamos):
                raise
            problem = f"{type(error).__name__}: {str(error)[:PROBLEM]}"
            self._broken = True
            self._log.error("the UNet cannot be compiled: drawing goes on without", problem=problem)
            why = f"({type(error).__name__})"
            told = Text(f"la compilation a échoué {why} ; voir le journal", f"compiling failed {why}; see the log")
            self._plan.compile = Chosen(False, told)
            return self._whole(sample, timestep, encoder_hidden_states, **named)
        self._buckets.add(bucket)
        return found

    def _from_graphs(self, bucket: Bucket, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return what the graphs of a known bucket compute, or None where torch would have to make one anew.

        That is so when something changed that its guards look at. It takes minutes, and is told as any other compiling.
        """
        try:
            with torch.compiler.set_stance("fail_on_recompile"), self._regions.in_effect():
                return self._whole(*given, **named)
        except RuntimeError as error:
            if not str(error).startswith(RECOMPILES):
                raise
            problem = str(error)
        if self.only_known:
            raise NoGraph
        told = {"latents": list(bucket[0]), "embeddings": list(bucket[1])}
        self._log.warning("a known size is compiled again", problem=problem[:PROBLEM], **told)
        self.tell()
        return None

    def _is_served(self, bucket: Bucket, dtype: torch.dtype) -> bool:
        if self._broken or dtype != self._dtype:  # drawn again in other numbers, for once
            return False
        if _attention_of(self._network) != self._attention:  # with a reference picture, for once
            return False
        if bucket in self._buckets:
            return True
        if bucket in self._refused:
            return False
        told = {"latents": list(bucket[0]), "embeddings": list(bucket[1])}
        if len(self._buckets) >= self._most:
            self._refused.add(bucket)
            self._log.warning("a size that no compiled graph serves", graphs=len(self._buckets), **told)
            return False
        if self.only_known:
            raise NoGraph
        self._log.info("compiling the UNet", **told)
        self.tell()
        return True


def _allow_graphs(most: int) -> None:
    """Let torch hold `most` graphs more.

    It counts by code, which all blocks of a kind share, live and gone, and would give up after eight at a time and 256
    in all. What was allowed so far is no less than what all of them together may have made: so it never gives up before
    they do.
    """
    torch._dynamo.config.recompile_limit += most
    torch._dynamo.config.accumulated_recompile_limit += most


def _attention_of(network: Any) -> frozenset[type]:
    """Return the classes that compute a network's attention."""
    return frozenset(type(one) for one in getattr(network, "attn_processors", {}).values())
