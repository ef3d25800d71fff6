"""The UNet's attention, computed by the kernel that was chosen, and tried before it is relied on. Chooses none itself.

`set_attention_backend` of the library does nothing for SDXL: its processors call torch's own attention directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn.attention import SDPBackend, sdpa_kernel

from minimon_server.engines.acceleration_plan import Accelerations, Chosen
from minimon_server.engines.acceleration_table import Kernel
from minimon_server.engines.sdxl_loading import Place, know_signatures
from minimon_server.errors import Text
from minimon_server.logs import Logger

BACKENDS: Final[dict[Kernel, AttentionBackendName]] = {
    "FlashAttention 3": AttentionBackendName._FLASH_3,
    "FlashAttention 2": AttentionBackendName.FLASH,
    "xFormers": AttentionBackendName.XFORMERS,
    "SDPA": AttentionBackendName.NATIVE,
}
HEAD: Final = 64  # numbers a head of SDXL's attention
HALVES: Final = (torch.float16, torch.bfloat16)
MOST_OFF: Final = 0.05  # of values around 1, in 16 bits: what is wrong is off by far more


class KernelAttention(AttnProcessor2_0):
    """The library's processor with another kernel, for what a UNet asks for: no mask, rows of tokens, 16-bit floats.

    Anything else goes the library's own way. `backend` is a name of the library's dispatcher.
    """

    def __init__(self, backend: AttentionBackendName) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # the library's own
        self.backend = backend
        self._halves_only = backend is not AttentionBackendName.NATIVE

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Return what the library's processor would, up to the kernel's rounding."""
        plain = hidden_states.ndim == 3 and attn.spatial_norm is None and attn.group_norm is None
        plain = plain and attn.norm_q is None and attn.norm_k is None and not attn.norm_cross and not args
        plain = plain and (hidden_states.dtype in HALVES or not self._halves_only)
        if not plain or attention_mask is not None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs)
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        # Rows, tokens, heads, numbers: as the dispatcher wants them.
        query, key, value = (
            made.unflatten(-1, (attn.heads, -1))
            for made in (attn.to_q(hidden_states), attn.to_k(seen), attn.to_v(seen))
        )
        mixed = dispatch_attention_fn(query, key, value, backend=self.backend).flatten(2).to(query.dtype)
        out: torch.Tensor = attn.to_out[1](attn.to_out[0](mixed))
        out = out + hidden_states if attn.residual_connection else out
        scaled: torch.Tensor = out / attn.rescale_output_factor
        return scaled


def take_kernel(network: Any, plan: Accelerations, place: Place, log: Logger) -> None:
    """Let a UNet compute its attention by the best kernel that passes its trial; `plan` then tells which."""
    if plan.slicing.value:
        return
    while (kernel := _kernel(plan)) != "SDPA":
        problem = trial(BACKENDS[kernel], place, compiled=bool(plan.compile.value))
        if problem is None:
            network.set_attn_processor(KernelAttention(BACKENDS[kernel]))
            know_signatures(network)
            log.info("attention kernel", kernel=kernel)
            return
        following, *left = plan.attention_left
        plan.attention_left = tuple(left)
        log.warning("an attention kernel fails on its trial", kernel=kernel, problem=problem, instead=following.kernel)
        told = Text(f"{kernel} échoue à l'essai : {problem}", f"{kernel} fails on its trial: {problem}")
        plan.attention = Chosen(following.kernel, told)


def trial(backend: AttentionBackendName, place: Place, *, compiled: bool = False) -> str | None:
    """Return why a kernel cannot be relied on, or None: it computes what torch's own attention does.

    `compiled`: as a part of a graph, too. One kernel that breaks graphs, as xFormers' did (facebookresearch/xformers,
    issue 765), would cost the compilation of every block.
    """
    made = torch.Generator("cpu").manual_seed(0)
    shape = (2, 256, 4, HEAD)
    query, key, value = (torch.randn(shape, generator=made).to(place.device, place.dtype) for _ in range(3))
    within = ""
    try:
        expected = dispatch_attention_fn(query, key, value, backend=AttentionBackendName.NATIVE)
        for attention in (_attention, _traced()) if compiled else (_attention,):
            within = "" if attention is _attention else "compiled, "
            off = float((attention(query, key, value, backend).float() - expected.float()).abs().max())
            if off > MOST_OFF:
                return f"{within}it is off by {off:.2g}"
    except Exception as error:  # whatever a kernel of somebody else's raises, and dynamo of it
        return f"{within}{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, backend: AttentionBackendName) -> Any:
    return dispatch_attention_fn(query, key, value, backend=backend)


@cache
def _traced() -> Callable[..., Any]:
    """Return the same as dynamo sees it, in one graph, which is computed without a compiler: that takes no minute."""
    return torch.compile(_attention, dynamic=False, fullgraph=True, backend="eager")


def sdpa_order(capability: tuple[int, int]) -> list[SDPBackend]:
    """Return the order in which torch's own attention tries its kernels on a card.

    cuDNN's was up to 2.3 times as fast on Hopper, slower on Ampere and RTX cards (transformers, pull request 48163).
    """
    cudnn, flash = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
    first = [cudnn, flash] if (9, 0) <= capability < (11, 0) else [flash, cudnn]
    return [*first, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@contextmanager
def ordered_kernels(place: Place) -> Iterator[None]:
    """Let torch's own attention try its kernels in the order of `sdpa_order`; on a CPU there is one."""
    if place.device.type != "cuda":
        yield
        return
    with sdpa_kernel(sdpa_order(torch.cuda.get_device_capability(place.device)), set_priority=True):
        yield


def _kernel(plan: Accelerations) -> Kernel:
    assert plan.attention.value in BACKENDS
    return plan.attention.value
