"""The settings that make drawing faster or smaller: names, defaults, meanings. What becomes of them: `engines`."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from minimon_server.setting_types import Quantization, Switch, spec

_SWITCH = "1 or 0"


class AccelerationSettings(BaseModel):
    """The first document's switches, with its defaults: a default is no wish, and goes where a machine lacks it."""

    sdxl_quantization: Quantization = Field(
        "fp8", **spec("numbers that the UNet's large layers are held in", "fp8, int8, int4, fp4 or none", bare=True)
    )
    sdxl_quantize_loras: Switch = Field(
        False, **spec("quantise layers with what LoRAs change in them; 0: those layers stay whole", _SWITCH, bare=True)
    )
    sdxl_use_compile: Switch = Field(
        True, **spec("compile the UNet; set by hand, it must be possible", _SWITCH, bare=True)
    )
    compile_dir: Path = Field(
        Path("data/compiled"), **spec("folder of what was compiled, for the next start", "a path", path=True)
    )
    sdxl_use_cuda_graphs: Switch = Field(
        True, **spec("replay what the card computes as captured graphs", _SWITCH, bare=True)
    )
    sdxl_draft_decoder: str = Field(
        "",
        max_length=4096,
        **spec(
            "decoder of drafts (TAESD's kind) for jobs that ask for it; none: no drafts",
            "a folder or hub id",
            bare=True,
        ),
    )
    sdxl_use_xformers: Switch = Field(True, **spec("attention by xFormers, where it is installed", _SWITCH, bare=True))
    sdxl_use_flash_attn: Switch = Field(
        False, **spec("attention by FlashAttention 3 or 2, where one is installed", _SWITCH, bare=True)
    )
    sdxl_enable_slicing: Switch = Field(
        False, **spec("attention in slices, and the VAE picture by picture", _SWITCH, bare=True)
    )
    sdxl_enable_cpu_offload: Switch = Field(
        False, **spec("keep in the card's memory only what is computing", _SWITCH, bare=True)
    )
