"""What is wished for and what is done of it, to draw faster or in less memory: plain data. Chooses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from minimon_server.engines.acceleration_table import AttentionRow, Scheme
from minimon_server.errors import Text

NO_QUANTIZATION: Final = "none"
USUAL_PIXELS: Final = 1024 * 1024  # of SDXL


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings ask for; the names of those that somebody set stand in `by_hand`.

    `pixels` is the size of the usual picture. Without arguments: nothing is wished for.
    """

    quantization: str = NO_QUANTIZATION
    use_compile: bool = False
    use_xformers: bool = False
    use_flash_attn: bool = False
    enable_slicing: bool = False
    enable_cpu_offload: bool = False
    by_hand: frozenset[str] = frozenset()
    pixels: int = USUAL_PIXELS
    use_cuda_graphs: bool = False
    quantize_loras: bool = False

    @property
    def demanded(self) -> tuple[str, ...]:
        """The settings that must be met or stop the start, as people write them."""
        asked = {
            "quantization": ("SDXL_QUANTIZATION", self.quantization if self.quantization != NO_QUANTIZATION else ""),
            "use_compile": ("SDXL_USE_COMPILE", "1" if self.use_compile else ""),
            "enable_cpu_offload": ("SDXL_ENABLE_CPU_OFFLOAD", "1" if self.enable_cpu_offload else ""),
            "use_cuda_graphs": ("SDXL_USE_CUDA_GRAPHS", "1" if self.use_cuda_graphs else ""),
        }
        return tuple(f"{name}={value}" for field, (name, value) in asked.items() if value and field in self.by_hand)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is done, and why; for quantisation with the row of the table, None being no quantisation."""

    value: str | bool
    reason: Text
    scheme: Scheme | None = None


NOTHING_QUANTIZED: Final = Chosen(False, Text("rien n'est quantifié", "nothing is quantised"))
NO_GRAPHS: Final = Chosen(False, Text("SDXL_USE_CUDA_GRAPHS=0", "SDXL_USE_CUDA_GRAPHS=0"))


@dataclass(slots=True)
class Accelerations:
    """All that is done on this machine. Attention may fall to the next kernel when the first one fails on its trial."""

    quantization: Chosen
    attention: Chosen
    compile: Chosen
    slicing: Chosen
    offload: Chosen
    attention_left: tuple[AttentionRow, ...] = ()  # what else could be tried, in this order
    graphs: Chosen = NO_GRAPHS
    quantized_loras: Chosen = NOTHING_QUANTIZED

    @property
    def versions(self) -> dict[str, str]:
        """What a picture tells of quantised weights among its versions; nothing where there are none."""
        scheme = self.quantization.scheme
        return {"quantization": scheme.label, "torchao": version("torchao")} if scheme else {}

    def told(self) -> dict[str, Chosen]:
        """Return each choice by the name under which log and `/ready` tell it."""
        names = ("quantization", "quantized_loras", "attention", "compile", "slicing", "offload", "graphs")
        return {name: getattr(self, name) for name in names}


class Refused(Exception):
    """What somebody set by hand cannot be had; one text for each setting."""

    def __init__(self, texts: list[Text]) -> None:
        self.texts = texts
        super().__init__("; ".join(text.en for text in texts))
