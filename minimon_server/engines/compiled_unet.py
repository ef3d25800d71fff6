"""A UNet whose blocks are compiled for each size that it is asked for, up to a number. Knows no queue, keeps no file.

Nothing is dynamic: rows, height, width, tokens, and which quantised layers are held in full together are a bucket, with
graphs for each shape of block. What no bucket serves, because there are enough of them already, is computed as it is
written, and the log says so. Torch keeps the graphs' code on the disk, in the folder of TORCHINDUCTOR_CACHE_DIR, and no
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from minimon_server.engines.acceleration_plan import Accelerations, Chosen
from minimon_server.engines.compiled_regions import Backend, CompiledRegions
from minimon_server.engines.messages import EngineFault
from minimon_server.engines.quantised_layers import quantised_of
from minimon_server.engines.sdxl_loading import forget_signatures
from minimon_server.engines.sdxl_memory import is_out_of_memory
from minimon_server.errors import Text
from minimon_server.logs import Logger

MOST_BUCKETS: Final = 16
# No CUDA graphs of inductor's own: they keep pointers to weights, which offloading and merging would leave behind.
MODES: Final = {"cuda": "max-autotune-no-cudagraphs", "cpu": "default"}
ATTRIBUTE: Final = "minimon_compiled"
# Products of 8-bit integers on CUDA want more rows than these: `torch._int_mm`, which is what a compiled graph calls.
# Without one, torchao has another way (0.18, `safe_int_mm`).
MOST_ROWS_WITHOUT_INT8: Final = 16
PROBLEM: Final = 500  # letters of what torch says
RECOMPILES: Final = "Detected recompile"  # what it says where its stance is to make no graph anew
Bucket = tuple[tuple[int, ...], tuple[int, ...], frozenset[str]]
NOT_QUANTISED: Final = frozenset[str]()


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

        `most` is how many sizes are compiled, and as many again for layers in full.
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
        self._spares = False
        self.only_known = False  # raise `NoGraph` where a graph would have to be made, which takes minutes
        self.tell: Callable[[], None] = lambda: None  # called before a bucket is compiled, which takes minutes
        _allow_graphs(2 * most * self._regions.count)  # bare, and with layers in full
        self._network, self._attention = network, _attention_of(network)
        network.forward = self
        setattr(network, ATTRIBUTE, self)

    @property
    def buckets(self) -> frozenset[Bucket]:
        """What there are graphs for: the shapes of latents and of embeddings, and the layers that are held in full."""
        return frozenset(self._buckets)

    def spare(self) -> Callable[[], None]:
        """Compile nothing, for memory is short, until what is returned is called: what has no graph does without."""
        self._spares = True
        self._log.info("memory is short: the UNet is computed with the graphs that there are, or without")

        def undo() -> None:
            self._spares = False

        return undo

    def width(self, most: int) -> int:
        """Return how many of `most` pictures to ask for at once: few widths, for each is a graph of its own."""
        if self._broken:
            return most
        return 1 if self.only_known else 1 << (most.bit_length() - 1)

    def __call__(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, **named: Any) -> Any:
        """Return what the network's own `forward` would."""
        quantised = quantised_of(self._network)
        in_full = quantised.in_full if quantised is not None else NOT_QUANTISED
        bucket = tuple(sample.shape), tuple(encoder_hidden_states.shape), in_full
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
            self._give_up(error)
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
        if self._spares:
            return self._whole(*given, **named)
        if self.only_known:
            raise NoGraph
        told = _told(bucket)
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
        if bucket in self._refused or self._spares:
            return False
        told = _told(bucket)
        if self._is_too_small(bucket):
            self._refused.add(bucket)
            self._log.warning("a size that is too small for compiled products in int8: computed without", **told)
            return False
        # Counted apart: what LoRAs change is for clients to say, and takes no graphs from what is drawn without.
        alike = sum(bool(one[2]) == bool(bucket[2]) for one in self._buckets)
        if alike >= self._most:
            self._refused.add(bucket)
            self._log.warning("a size that no compiled graph serves", graphs=alike, **told)
            return False
        if self.only_known:
            raise NoGraph
        self._log.info("compiling the UNet", **told)
        self.tell()
        return True

    def _is_too_small(self, bucket: Bucket) -> bool:
        """Return whether the smallest products of a size, of all pixels of the deepest blocks, cannot be compiled."""
        scheme, quantised = self._plan.quantization.scheme, quantised_of(self._network)
        if scheme is None or (scheme.name, scheme.way) != ("int8", "dynamic"):
            return False
        if quantised is not None and quantised.is_all_in_full:
            return False
        rows, _, height, width = bucket[0]
        scale: int = 2 ** (len(self._network.config.block_out_channels) - 1)
        return rows * -(-height // scale) * -(-width // scale) <= MOST_ROWS_WITHOUT_INT8

    def _give_up(self, error: Exception) -> None:
        """Compile nothing any more, and tell so wherever the choice of compiling is told."""
        self._broken = True
        problem = f"{type(error).__name__}: {str(error)[:PROBLEM]}"
        self._log.error("the UNet cannot be compiled: drawing goes on without", problem=problem)
        why = f"({type(error).__name__})"
        told = Text(f"la compilation a échoué {why} ; voir le journal", f"compiling failed {why}; see the log")
        self._plan.compile = Chosen(False, told)
        chosen = self._plan.quantization
        if chosen.scheme is None or chosen.scheme.way != "dynamic":
            return
        slow = Text(
            "perd du temps : la compilation a échoué, et ce qui n'est pas compilé arrondit trop lentement ; "
            "SDXL_QUANTIZATION=none dessine plus vite",
            "loses time: compiling failed, and what is not compiled rounds too slowly; "
            "SDXL_QUANTIZATION=none draws faster",
        )
        self._plan.quantization = replace(chosen, reason=slow)
        self._log.warning("dynamic quantisation without compilation", scheme=chosen.scheme.label, reason=slow.en)


def _told(bucket: Bucket) -> dict[str, Any]:
    latents, embeddings, in_full = bucket
    told: dict[str, Any] = {"latents": list(latents), "embeddings": list(embeddings)}
    return {**told, "in_full": len(in_full)} if in_full else told


def compiled_of(network: Any) -> CompiledUnet | None:
    """Return what compiles a network, if it is compiled."""
    found = vars(network).get(ATTRIBUTE) if isinstance(network, torch.nn.Module) else None
    return found if isinstance(found, CompiledUnet) else None


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
