"""What an IP-Adapter is on the disk: which files of its folder, and what the shapes in them say. Told without torch.

A folder `models/ip-adapter/<id>/` holds one safetensors file of weights and the image encoder that reads the reference
picture, laid out as in the repository that they come from (h94/IP-Adapter), or plainly: the file and `image_encoder/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

ROOT: Final = "ip-adapter"  # inside the folder of models
# Where weights and encoders lie in their repository, and in a folder that somebody has filled.
WEIGHT_FOLDERS: Final = (".", "sdxl_models", "models")
ENCODER_FOLDERS: Final = ("image_encoder", "models/image_encoder", "sdxl_models/image_encoder")
ENCODER_CONFIG: Final = "config.json"
ENCODER_WEIGHTS: Final = "model.safetensors"
PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt"})
PLAIN_TOKENS: Final = 4  # what the plain adapter makes of a picture, as diffusers' loader counts them
_PROJECTION, _LAYERS = "image_proj.", "ip_adapter."

Shapes = Mapping[str, tuple[int, ...]]
Variant = Literal["plain", "plus", "full"]


class BadIpAdapter(Exception):
    """Why a folder holds no IP-Adapter that can be drawn with; in English, as in the log, without a path."""


@dataclass(frozen=True, slots=True)
class IpAdapterFiles:
    """The file of the weights, and those of its image encoder."""

    weights: Path
    encoder: Path  # the folder

    @property
    def encoder_weights(self) -> Path:
        """The file of the encoder's weights."""
        return self.encoder / ENCODER_WEIGHTS


@dataclass(frozen=True, slots=True)
class IpAdapterKind:
    """What the shapes say: `context` is the width of the words beside which it is read, `picture` that of what the
    encoder gives it: of the whole picture (`plain`), or of each of its patches (`plus`, `full`).
    """

    variant: Variant
    context: int
    picture: int
    layers: int


# The files of an IP-Adapter by its id; None: there is none.
FindIpAdapter = Callable[[str], IpAdapterFiles | None]


def files_in(folder: Path) -> IpAdapterFiles:
    """Return what lies in a folder; raise `BadIpAdapter` saying what is missing, or what is too much, or `OSError`."""
    weights, pickles = list[Path](), list[Path]()
    for inside in WEIGHT_FOLDERS:
        place = folder / inside
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.suffix == ".safetensors":
                weights.append(path)
            elif path.suffix.lower() in PICKLES:
                pickles.append(path)
    if len(weights) > 1:
        names = ", ".join(path.name[:80] for path in weights[:4])
        raise BadIpAdapter(f"it holds {len(weights)} files of weights where one belongs: {names}")
    if not weights and pickles:
        ending = pickles[0].suffix.lower()
        raise BadIpAdapter(f"a {ending} file is a pickle, which could run anything when it is read: safetensors only")
    if not weights:
        raise BadIpAdapter("it holds no .safetensors file")
    for inside in ENCODER_FOLDERS:
        encoder = folder / inside
        if (encoder / ENCODER_CONFIG).is_file() and (encoder / ENCODER_WEIGHTS).is_file():
            return IpAdapterFiles(weights[0], encoder)
    raise BadIpAdapter(f"its image encoder is missing: image_encoder/{ENCODER_CONFIG} and {ENCODER_WEIGHTS}")


def in_folder(root: Path) -> FindIpAdapter:
    """Return what finds the files of `<id>` in the folder of IP-Adapters of a folder of models."""

    def find(name: str) -> IpAdapterFiles | None:
        folder = root / ROOT / name
        if folder.parent != root / ROOT or not folder.is_dir():
            return None
        return files_in(folder)

    return find


def kind_of(shapes: Shapes) -> IpAdapterKind:
    """Return what kind of IP-Adapter tensors of these shapes are, told apart as diffusers does
    (`_convert_ip_adapter_image_proj_to_diffusers`, loaders/unet.py, 0.42.1); raise `BadIpAdapter` for none.
    """
    projection, layers = _under(_PROJECTION, shapes), _under(_LAYERS, shapes)
    keys = [shape for name, shape in layers.items() if name.endswith(".to_k_ip.weight")]
    if not projection or not keys:
        raise BadIpAdapter("it is no IP-Adapter: it lacks tensors named image_proj.* or ip_adapter.*.to_k_ip.weight")
    if len(shapes) > len(projection) + len(layers):
        other = next(name for name in shapes if not name.startswith((_PROJECTION, _LAYERS)))
        raise BadIpAdapter(f"its tensor {other[:80]!a} belongs to no IP-Adapter")
    if "proj.weight" not in projection and "norm.weight" in projection:
        raise BadIpAdapter("it is a FaceID adapter, which reads the measures of a face and not a picture")
    if any(len(shape) != 2 or shape[1] != keys[0][1] for shape in keys):
        raise BadIpAdapter("its layers read words of different widths")
    variant, width = _reads(projection)
    return IpAdapterKind(variant, keys[0][1], width, len(keys))


def _under(start: str, shapes: Shapes) -> Shapes:
    return {name.removeprefix(start): shape for name, shape in shapes.items() if name.startswith(start)}


def _reads(projection: Shapes) -> tuple[Variant, int]:
    """Return the variant, and the width of what its encoder must give."""
    places: tuple[tuple[str, Variant, int], ...] = (
        ("proj.weight", "plain", 1),
        ("proj.3.weight", "full", 0),
        ("latents", "plus", 1),
    )
    for name, variant, axis in places:
        if name in projection:
            told = {"plain": name, "full": "proj.0.weight", "plus": "proj_in.weight"}[variant]
            shape = projection.get(told, ())
            if len(shape) != 2:
                raise BadIpAdapter(f"its tensor image_proj.{told} is missing or of another shape")
            return variant, shape[axis]
    raise BadIpAdapter("its image_proj is of a kind that nobody here knows")


def encoder_problem(kind: IpAdapterKind, settings: Mapping[str, Any]) -> str | None:
    """Return why an image encoder of these settings (its config.json) does not go with an adapter; None: it does."""
    if settings.get("model_type") != "clip_vision_model":
        return "its image encoder is no CLIP vision model"
    member = "projection_dim" if kind.variant == "plain" else "hidden_size"
    if settings.get(member) != kind.picture:
        return f"its image encoder gives {settings.get(member)!s:.20} numbers ({member}), and it reads {kind.picture}"
    return None
