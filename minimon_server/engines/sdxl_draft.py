"""The draft decoder as a network in memory: loaded when it is first asked for, kept, told by its hash. Decodes nothing.

It is small (1.2 million parameters): it rests with no model, and goes with the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from minimon_server.engines.acceleration_plan import Accelerations
from minimon_server.engines.draft_decoder import DRAFT, SETTING, DraftDecoder
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.file_stamps import Stamp, stamp_or_missing
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import BrokenModel
from minimon_server.engines.sdxl_graphs import Graphs
from minimon_server.engines.sdxl_loading import Place, lay_out, telling_what_is_broken
from minimon_server.engines.sdxl_memory import pixels_of_a_latent
from minimon_server.logs import Logger


@dataclass(frozen=True, slots=True)
class Draft:
    """What decodes one request: the network that does it, or None: the model's own; and what a picture tells of it."""

    network: Any = None
    hashes: Mapping[str, str | None] | None = None


NO_DRAFT: Final = Draft()


class Drafts:
    """Of one engine."""

    def __init__(
        self, decoder: DraftDecoder | None, hashes: FileHashes, plan: Accelerations | None, log: Logger
    ) -> None:
        """`decoder` is that of the settings; None: there is none. `plan` says whether graphs are captured of it."""
        self._plan, self._log = plan, log
        self._decoder = decoder
        self._hashes = hashes
        self._loaded: tuple[Stamp, Draft] | None = None

    def of(self, request: DrawRequest, pipeline: Any, place: Place) -> Draft:
        """Return what decodes a request over `pipeline`; raise `EngineFault` where it asks for what cannot be had."""
        if request.decoder != DRAFT:
            return NO_DRAFT
        decoder = self._decoder
        if decoder is None:
            raise EngineFault(f"decoder: there is no draft decoder here; {SETTING} names one.")
        vae = pipeline.vae
        misfit = decoder.misfit((int(vae.config.latent_channels), pixels_of_a_latent(vae)))
        if misfit is not None:
            raise EngineFault(f"decoder: {misfit.en}.")
        stamp = stamp_or_missing(decoder.weights)
        if self._loaded is None or self._loaded[0] != stamp:
            self._loaded = None
            draft = self._load(decoder, place)
            # Hashed and read in between: the hash that a picture tells is that of what decoded it.
            if stamp_or_missing(decoder.weights) != stamp:
                raise EngineFault(f"The draft decoder {decoder.name} changed while it was read.", retry=True)
            self._loaded = stamp, draft
        return self._loaded[1]

    def close(self) -> None:
        """Give the network back."""
        self._loaded = None

    def _load(self, decoder: DraftDecoder, place: Place) -> Draft:
        hashes = {"draft_decoder": self._hashes.of_all([decoder.weights])}
        try:
            with telling_what_is_broken(decoder.name):
                network = _network(decoder, place)
        except BrokenModel:
            text = f"The draft decoder {decoder.name} cannot be loaded; the server's log says why."
            raise EngineFault(text) from None
        lay_out(network, place.device)
        Graphs(self._plan, place.device, self._log).of_decoder(network)
        return Draft(network, hashes)


def _network(decoder: DraftDecoder, place: Place) -> Any:
    variant = "fp16" if ".fp16." in decoder.weights.name else None
    network, report = AutoencoderTiny.from_pretrained(
        decoder.folder,
        dtype=place.dtype,  # unlike SDXL's own it does not overflow in 16 bits
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} of its weights, {missing[0]} first")
    for value in (*network.parameters(), *network.buffers()):
        value.data = value.data.clone()  # as it lies in the file it may be mapped, and change with it
    return network.to(place.device).eval().requires_grad_(False)
