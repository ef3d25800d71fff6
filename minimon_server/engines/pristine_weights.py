"""The weights of a loaded model as they came from its files, for as long as it is loaded. Merges nothing.

The files themselves are the copy, mapped into memory: no second one is held. A weight that they do not hold as it was
loaded (another layout, a part that was exchanged) is copied to main memory before it is first changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from minimon_server.engines.file_stamps import Stamp, stamp_or_missing
from minimon_server.engines.messages import EngineFault
from minimon_server.engines.near_copies import NearCopies
from minimon_server.engines.quantised_layers import QuantisedLayers
from minimon_server.logs import Logger

# A network of the pipeline, and the dotted name of one of its parameters.
Place = tuple[str, str]
# By their names in the files: https://huggingface.co/docs/safetensors (metadata parsing).
DTYPES: Final = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# CLIP's body is a layer of its own in some versions of the library only, and so in some files.
_BODY: Final = "text_model."
# Where the networks lie in a single file of the Civitai layout; the second text encoder's has another form there.
_INSIDE: Final = {"unet": "model.diffusion_model.", "text_encoder": "conditioner.embedders.0.transformer."}


class LostWeights(Exception):
    """The weights as they came cannot be had any more: their files have changed. The model is to be loaded anew."""


def check_stamps(stamps: Mapping[Path, Stamp]) -> None:
    """Raise `LostWeights` where a file is not what it was."""
    for path, stamp in stamps.items():
        if stamp_or_missing(path) != stamp:
            raise LostWeights(path.name)


class PristineWeights:
    """Of one pipeline. For one thread."""

    def __init__(
        self,
        pipeline: Any,
        files: Mapping[str, list[Path]],
        blocks: Mapping[str, str],
        log: Logger,
        quantised: QuantisedLayers | None = None,
        near: NearCopies | None = None,
    ) -> None:
        """`files` are the safetensors files that each network was loaded from; `blocks` the UNet's layers by the names
        of sgm's blocks, as single files have them; `quantised` those that hold fewer bits than came; `near` keeps what
        merges have brought to where they compute.
        """
        self._near = near
        self._quantised = quantised
        self._pipeline = pipeline
        self._blocks = blocks
        self._log = log
        self._stamps: dict[Path, Stamp] = {}
        self._where: dict[Place, tuple[Any, str]] = {}
        self._known: set[Place] = set()
        self._sizes: dict[Place, int] = {}
        self._copies: dict[Place, torch.Tensor] = {}
        self._written: set[Place] = set()  # ever: such pages are the process's own, whatever they hold
        for network, paths in files.items():
            for path in paths:
                self._map(network, path)

    @property
    def copied_bytes(self) -> int:
        """What the copies take in main memory."""
        return sum(copy.nbytes for copy in self._copies.values())

    def parameter(self, place: Place) -> torch.Tensor:
        """Return a parameter of the loaded model, wherever it is now."""
        network, name = place
        found: torch.Tensor = getattr(self._pipeline, network).get_parameter(name)
        return found

    def expect(self, places: list[Place]) -> None:
        """Ask for room to keep these parameters where a merge will compute with them."""
        if self._near is not None:
            self._near.expect({place: self._bytes(place) for place in places})

    def keep(self, places: list[Place]) -> None:
        """See to it that these parameters, which nobody has changed yet, can be had again; those known are known."""
        copied = []
        for place in places:
            if place in self._known:
                continue
            parameter = self.parameter(place).detach()
            if not self._serves(place, parameter):
                if self._is_quantised(place):
                    told = "they are quantised, and not in the model's files as loaded; SDXL_QUANTIZATION=none"
                    raise EngineFault(f"Nothing can be merged into weights of {'.'.join(place)}: {told}.")
                self._copies[place] = parameter.to("cpu", copy=True)
                if self._near is not None:
                    self._near.forget(place)
                copied.append(place)
            self._known.add(place)
        if copied:
            size = sum(self._copies[place].nbytes for place in copied)
            first = ".".join(copied[0])
            self._log.info(
                "weights copied before a merge", reason="not in the files as loaded", first=first, bytes=size
            )

    def weight(self, place: Place) -> torch.Tensor:
        """Return one of the parameters that are kept, on the CPU, in the numbers of its file; raise `LostWeights`."""
        copy = self._copies.get(place)
        if copy is not None:
            return copy
        file, name = self._where[place]
        found: torch.Tensor = file.get_tensor(name)
        return found

    def at(self, place: Place, device: torch.device) -> torch.Tensor:
        """Return the same where it is computed with: from there if it was kept. Nobody may write to it."""
        near = self._near if self._near is not None and self._near.device.type == device.type else None
        found = near.get(place) if near is not None else None
        if found is None:
            found = self.weight(place).to(device, non_blocking=True, copy=near is not None)
            if near is not None:
                near.offer(place, found)
        return found

    def restore(self, places: list[Place]) -> None:
        """Write these parameters as they came; raise `LostWeights` when that cannot be done."""
        self.check()
        with torch.inference_mode():  # as drawing does, which may have made the parameters
            for place in places:
                # Without room for a copy on the way: it may be the want of memory that ended a merge.
                near = self._near.get(place) if self._near is not None else None
                came = self.weight(place) if near is None else near
                if self._quantised is not None and self._is_quantised(place):
                    self._quantised.restore(place[1], came)
                else:
                    self.parameter(place).copy_(came)

    def put(self, place: Place, values: torch.Tensor) -> None:
        """Write what came of a merge over a parameter, be it quantised; to be called in inference mode."""
        self._written.add(place)
        if self._quantised is not None and self._is_quantised(place):
            self._quantised.write(place[1], values)
        else:
            self.parameter(place).copy_(values)

    def bytes_in_full(self, places: Iterable[Place]) -> int:
        """Return what parameters will take more, where merges compute, because they are held in full."""
        names = (name for network, name in places if network == "unet")
        return self._quantised.more_for(names) if self._quantised is not None else 0

    def mapped_bytes(self, places: Iterable[Place]) -> int:
        """Return what parameters on the CPU will take once they are written: mapped pages of their file until then."""
        untouched = [place for place in places if place not in self._written and not self._is_quantised(place)]
        return sum(self._bytes(place) for place in untouched if self._is_mapped(place))

    def check(self) -> None:
        """Raise `LostWeights` when a file is not the one that was mapped: what it maps would be something else."""
        check_stamps(self._stamps)

    def _map(self, network: str, path: Path) -> None:
        stamp = stamp_or_missing(path)
        try:
            file = safe_open(path, framework="pt")
            names = list(file.keys())  # type: ignore[no-untyped-call] # the library's own stub
        except (OSError, SafetensorError) as error:
            self._log.warning("weights not mapped", file=path.name, reason=type(error).__name__)
            return
        self._stamps[path] = stamp
        for name in names:
            own = name.removeprefix(_INSIDE.get(network, ""))
            layer, _, kind = own.rpartition(".")
            own = f"{self._blocks[layer]}.{kind}" if network == "unet" and layer in self._blocks else own
            for other in (own, own.removeprefix(_BODY), _BODY + own):
                self._where.setdefault((network, other), (file, name))

    def _is_quantised(self, place: Place) -> bool:
        return self._quantised is not None and place[0] == "unet" and self._quantised.holds(place[1])

    def _is_mapped(self, place: Place) -> bool:
        """Whether a parameter may be its file's own pages: in other numbers, or another form, it is a copy."""
        if place in self._copies or place not in self._where:
            return False
        file, name = self._where[place]
        told, parameter = file.get_slice(name), self.parameter(place)
        return DTYPES.get(told.get_dtype()) == parameter.dtype and told.get_shape() == list(parameter.shape)

    def _bytes(self, place: Place) -> int:
        if place not in self._sizes:
            is_held = place in self._copies or place in self._where
            self._sizes[place] = (self.weight(place) if is_held else self.parameter(place)).nbytes
        return self._sizes[place]

    def _serves(self, place: Place, parameter: torch.Tensor) -> bool:
        if place not in self._where:
            return False
        if self._quantised is not None and self._is_quantised(place):
            return self._quantised.is_made_of(place[1], self.weight(place))
        found = self.at(place, parameter.device)
        return found.shape == parameter.shape and torch.equal(found.to(parameter), parameter)
