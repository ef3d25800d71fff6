"""What kind of adapter a LoRA file holds and for which models, by names and shapes of its tensors.

The names are those of kohya's trainers (`lora_unet_…`), of LyCORIS (the same, other endings), and of peft and
diffusers (`unet.….lora_A.weight`). How each kind builds its change of a weight W, of `out` rows and `in` columns:
LoRA up @ down; LoCon the same over convolutions; LoHa (w1_a @ w1_b) * (w2_a @ w2_b), Hadamard's product; LoKr
kron(w1, w2), Kronecker's; full: the change itself. DoRA scales the rows of any of them (`dora_scale`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from minimon_server.catalog.checkpoint_kinds import BY_CONTEXT, UNKNOWN
from minimon_server.catalog.header import Header, NotSafetensors, read_header
from minimon_server.engines.adapter_names import plain
from minimon_server.engines.peft_folders import WEIGHTS, check_tensors, name_in_pipeline, read_settings
from minimon_server.engines.peft_settings import BadPeft

Shape = tuple[int, ...]

_ENDINGS: Final = re.compile(
    r"\.(lora_down|lora_up|lora_mid|lora_A|lora_B|lora\.down|lora\.up|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](_[ab])?|"
    r"lokr_t2|lora_magnitude_vector|dora_scale|diff|diff_b|w_norm|b_norm|alpha|on_input|weight|"
    r"oft_blocks|oft_diag|oft_R|a[12]|b[12])(\.default)?(\.weight|\.bias)?$"
)
_LORA: Final = {"lora_down": "down", "lora_A": "down", "lora.down": "down"}
# A file that holds the first of these of a module is of the kind beside it.
_KINDS: Final = {
    "lora_down": "lora",
    "lora_A": "lora",
    "lora.down": "lora",
    "hada_w1_a": "loha",
    "lokr_w1": "lokr",
    "lokr_w1_a": "lokr",
    "on_input": "ia3",
    "oft_blocks": "oft",
    "oft_diag": "oft",
    "oft_R": "oft",
    "a1": "glora",
    "diff": "full",
    "diff_b": "full",
    "w_norm": "full",
    "b_norm": "full",
}
_SECOND_ENCODER: Final = ("lora_te2_", "text_encoder_2.")
_OTHER_MODELS: Final = {"double_blocks": "flux", "single_transformer_blocks": "flux", "joint_blocks": "sd3"}


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """`network` is lora, locon, dora, loha, lokr, full, ia3, oft, glora, mixed or unknown; `base` as of a checkpoint.

    `dora` tells that the rows are scaled, whatever the network; `problem` says why the file is no adapter.
    """

    network: str = UNKNOWN
    base: str = UNKNOWN
    dora: bool = False
    problem: str = ""


def network_kind(header: Header) -> NetworkKind:
    """Return what kind of adapter a file holds, and for which family of models."""
    modules = _modules(header.shapes)
    kinds = {kind for held in modules.values() for kind in [_kind(held)] if kind}
    if not kinds:
        return NetworkKind(problem=_no_adapter(header))
    # Norms and biases are trained beside others and stored as they are: `full` counts only where it is alone.
    kinds = kinds - {"full"} or kinds
    network = kinds.pop() if len(kinds) == 1 else "mixed"
    dora = any("dora_scale" in held or "lora_magnitude_vector" in held for held in modules.values())
    if network == "lora":
        network = "dora" if dora else "locon" if any(map(_is_spatial, modules.values())) else "lora"
    return NetworkKind(network, _base(modules), dora)


def peft_kind(folder: Path) -> NetworkKind:
    """Return what kind of adapter a folder holds as PEFT saves it.

    Raise `NotSafetensors` with the reason, or `OSError`.
    """
    try:
        said = read_settings(folder)
        header = read_header(folder / WEIGHTS)
        check_tensors(said, header.shapes)
    except BadPeft as error:
        raise NotSafetensors(str(error)) from None
    return network_kind(Header({name_in_pipeline(said, name): shape for name, shape in header.shapes.items()}, {}))


def _modules(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """Return, for each module, the shapes of what changes it, by the ends of their names."""
    found: dict[str, dict[str, Shape]] = {}
    for written, shape in shapes.items():
        name = plain(written)
        if end := _ENDINGS.search(name):
            found.setdefault(name[: end.start()], {})[end[1]] = shape
    return found


def _kind(held: Mapping[str, Shape]) -> str | None:
    return next((kind for ending, kind in _KINDS.items() if ending in held), None)


def _is_spatial(held: Mapping[str, Shape]) -> bool:
    """Return whether a convolution wider than one pixel is changed; 1x1 ones are linear layers by another name."""
    downs = [shape for ending, shape in held.items() if ending in _LORA]
    return "lora_mid" in held or any(len(shape) == 4 and shape[2:] != (1, 1) for shape in downs)


def _base(modules: Mapping[str, Mapping[str, Shape]]) -> str:
    for part, base in _OTHER_MODELS.items():
        if any(part in name for name in modules):
            return base
    widths = {width for name, held in modules.items() if _is_cross(name) for width in _columns(held)}
    if widths:
        return BY_CONTEXT.get(widths.pop(), UNKNOWN) if len(widths) == 1 else UNKNOWN
    if any(name.startswith(_SECOND_ENCODER) for name in modules):
        return "sdxl"
    unet = [name for name in modules if re.match(r"(lora_unet_|lycoris_unet_|unet\.|base_model\.model\.)", name)]
    # SDXL's blocks hold up to ten transformers one after the other, all others' one.
    if any(re.search(r"transformer_blocks[._][1-9]", name) for name in unet):
        return "sdxl"
    if unet:
        return UNKNOWN
    # The text encoder alone: its width, of the matrices whose input it is.
    hidden = {width for name, held in modules.items() if _is_query(name) for width in _columns(held)}
    return {768: "sd15", 1024: "sd21"}.get(hidden.pop(), UNKNOWN) if len(hidden) == 1 else UNKNOWN


def _is_cross(name: str) -> bool:
    return bool(re.search(r"attn2[._]to_[kv]$", name))


def _is_query(name: str) -> bool:
    return name.startswith("lora_te_") and bool(re.search(r"[qkv]_proj$", name))


def _columns(held: Mapping[str, Shape]) -> Iterator[int]:
    """Yield how many columns the changed matrix has, as far as the shapes tell."""
    for ending in ("lora_down", "lora_A", "lora.down", "hada_w1_b", "diff"):
        shape = held.get(ending, ())
        if len(shape) >= 2:
            yield shape[1]
    left, right = (held.get(f"lokr_w{number}") or held.get(f"lokr_w{number}_b") or () for number in (1, 2))
    if len(left) >= 2 and len(right) >= 2:
        yield left[1] * right[1]


def _no_adapter(header: Header) -> str:
    if any(name.startswith(("model.diffusion_model.", "first_stage_model.")) for name in header.shapes):
        return "it is a whole model: put it into models/checkpoints/"
    if any("emb_params" in name or name.startswith("clip_g") or name == "clip_l" for name in header.shapes):
        return "it is a textual inversion, not a LoRA"
    return "its tensors are not those of a LoRA or its kin"
