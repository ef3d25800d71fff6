"""The reference picture of a request, shown to the model beside the words (IP-Adapter). Draws nothing itself.

The adapter and its image encoder are loaded when they are first asked for. They rest in main memory between drawings,
so that a drawing without them has the device, the UNet and its attention as if they had never been there.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from minimon_server.engines.captured_graphs import graphs_paused
from minimon_server.engines.file_hashes import FileHashes, Hashing
from minimon_server.engines.file_stamps import Stamp, stamp_of
from minimon_server.engines.ip_adapter_files import BadIpAdapter, FindIpAdapter, IpAdapterFiles, encoder_problem
from minimon_server.engines.ip_adapter_weights import (
    HOME,
    ImageEncoder,
    IpAdapter,
    attached,
    layout_of,
    read_encoder,
    read_ip_adapter,
)
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.sdxl_ladder import Ladder
from minimon_server.engines.sdxl_loading import Place
from minimon_server.engines.sdxl_memory import give_memory_back, reference_floor
from minimon_server.logs import Logger

# What was read of so many pictures is kept: a series shows one and the same. Of the largest encoder 2 MiB each.
MOST_KEPT: Final = 8
LOADING: Final = 3  # what is told while it loads: the adapter, its encoder, the picture
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a drawing is shown beside its words; nothing where a request has no reference picture.

    `embeds` is [2, 1, width], or [2, 1, patches, width] of an adapter that reads patches: first what stands for no
    picture, then the picture. `hashing` computes the SHA-256 of the files, `ignored` says what has no effect and why.
    """

    embeds: torch.Tensor | None = None
    hashing: Hashing | None = None
    ignored: tuple[str, ...] = ()

    def told(self, dtype: torch.dtype, *, guided: bool, count: int = 1) -> dict[str, Any]:
        """Return what a pipeline of the library is told, for `count` pictures at once."""
        if self.embeds is None:
            return {}
        rows = self.embeds if guided else self.embeds[1:]
        return {"ip_adapter_image_embeds": [rows.repeat_interleave(count, dim=0).to(dtype)]}


NOTHING_SHOWN: Final = Shown()


@dataclass(slots=True)
class _Held:
    """One IP-Adapter in main memory, for the files, the numbers and the layout of a UNet that `key` tells."""

    key: tuple[Any, ...]
    adapter: IpAdapter
    encoder: ImageEncoder
    hashing: Hashing
    read: OrderedDict[str, torch.Tensor]  # by the digests of the pictures, on the CPU


class References:
    """Of one engine, for its thread: holds the IP-Adapter that was asked for last."""

    def __init__(self, find: FindIpAdapter, hashes: FileHashes, log: Logger) -> None:
        self._find = find
        self._hashes = hashes
        self._log = log
        self._held: _Held | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether one is in memory."""
        return self._held is not None

    def close(self) -> None:
        """Give it back."""
        self._held = None

    @contextmanager
    def shown(
        self, request: DrawRequest, inputs: Mapping[str, bytes], unet: Any, place: Place, ladder: Ladder, tell: Tell
    ) -> Iterator[Shown]:
        """Let a UNet read the reference picture of a request, if there is one; it is left as it was found.

        Raise `EngineFault` where that cannot be. `tell` hears how far it is loaded, and may raise.
        """
        use = request.ip_adapter
        if use is None or not use.scale:
            # As if it were not there, to the last bit.
            yield NOTHING_SHOWN if use is None else Shown(ignored=("ip_adapter: its scale is 0",))
            return
        held = self._ready(request, use.name, unet, place, ladder, tell)
        embeds = held.read.get(use.picture.digest)
        if embeds is None:
            tell(LOADING - 1, LOADING)
            picture = _opened(inputs.get(use.picture.digest))
            plain = held.adapter.kind.variant == "plain"
            embeds = ladder.run("reference", partial(read, held.encoder, picture, place.device, whole=plain))
            held.read[use.picture.digest] = embeds
            while len(held.read) > MOST_KEPT:
                held.read.popitem(last=False)
        else:
            held.read.move_to_end(use.picture.digest)
        tell(LOADING, LOADING)
        try:
            ladder.run("reference", lambda: held.adapter.move(unet.device))
            with graphs_paused(unet), attached(unet, held.adapter, use.scale):
                yield Shown(embeds, held.hashing)
        finally:
            held.adapter.move(HOME)

    def _ready(self, request: DrawRequest, name: str, unet: Any, place: Place, ladder: Ladder, tell: Tell) -> _Held:
        """Return the IP-Adapter of a request, loading it if it is not there; the one before it goes first."""
        text = ""
        try:
            files = self._find(name)
            if files is None:
                raise BadIpAdapter("it is not on the disk")
            paths = [files.weights, files.encoder_weights]
            stamps = {path: stamp_of(path) for path in paths}
            key = (*stamps.items(), unet.dtype, layout_of(unet))
            if self._held is None or self._held.key != key:
                self.close()
                ladder.look_at_need("reference", reference_floor(paths, place))
                self._held = ladder.run("reference", partial(self._loaded, key, stamps, files, unet, tell))
                self._log.info("IP-Adapter loaded", id=name, variant=self._held.adapter.kind.variant)
            elif place.device != HOME:  # it comes to the device once more
                ladder.look_at_need("reference", reference_floor(paths, place))
            return self._held
        except (BadIpAdapter, OSError) as error:
            reason = str(error) if isinstance(error, BadIpAdapter) else "its files cannot be read"
            self._log.warning("IP-Adapter cannot be used", id=name, model=request.model, exception=error)
            text = f"The IP-Adapter {name} cannot be used with {request.model}: {reason}."
        give_memory_back()  # outside the handler, where what was read of it is gone
        raise EngineFault(text)

    def _loaded(
        self, key: tuple[Any, ...], stamps: Mapping[Path, Stamp], files: IpAdapterFiles, unet: Any, tell: Tell
    ) -> _Held:
        tell(0, LOADING)
        adapter = read_ip_adapter(files.weights, unet)
        tell(1, LOADING)
        encoder = read_encoder(files, unet.dtype)
        if problem := encoder_problem(adapter.kind, encoder.network.config.to_dict()):
            raise BadIpAdapter(problem)
        parts = {"ip_adapter": [files.weights], "image_encoder": [files.encoder_weights]}
        hashing = self._hashes.begin(parts, stamps)
        return _Held(key, adapter, encoder, hashing, OrderedDict())


def read(encoder: ImageEncoder, picture: Image.Image, device: torch.device, *, whole: bool) -> torch.Tensor:
    """Return what an image encoder makes of a picture: [2, 1, width], or [2, 1, patches, width] unless `whole`.

    As `StableDiffusionXLPipeline.encode_image` of the library (0.42.1): the projected embedding, beside zeros; or the
    hidden states before the last layer, beside those of a grey picture. Raise `EngineFault` where it is no number.
    """
    network = encoder.network
    try:
        network.to(device)
        with torch.inference_mode():
            pixels = encoder.processor(picture, return_tensors="pt").pixel_values.to(device, network.dtype)
            if whole:
                shown = network(pixels).image_embeds
                found = torch.stack([torch.zeros_like(shown), shown])
            else:
                both = (torch.zeros_like(pixels), pixels)
                found = torch.stack([network(one, output_hidden_states=True).hidden_states[-2] for one in both])
    finally:
        network.to(HOME)
    if not bool(torch.isfinite(found).all()):
        raise EngineFault("The image encoder of the IP-Adapter gives what is not a number for this picture.")
    kept: torch.Tensor = found.to(HOME)
    return kept


def _opened(png: bytes | None) -> Image.Image:
    try:
        if png is None:
            raise ValueError("it is not there")
        with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise EngineFault(f"The reference picture cannot be read ({type(error).__name__}).") from None
