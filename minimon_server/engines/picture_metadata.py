"""What made a picture: as plain data, and as the line of text that A1111 and its kin read. Knows no file format.

Neither an id nor a time stands in it: the same request makes the same file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minimon_server.engines import input_metadata
from minimon_server.engines.file_hashes import SHORT
from minimon_server.engines.messages import DrawRequest
from minimon_server.engines.schedulers import KINDS


def describe(request: DrawRequest, seed: int, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides the picture of `seed`, and `made_by`: what the engine knows of itself and the prompt."""
    return {
        "schema": request.schema,
        "model": request.model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": seed,
        "width": request.width,
        "height": request.height,
        "steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "guidance_rescale": request.guidance_rescale,
        "scheduler": request.scheduler,
        "clip_skip": request.clip_skip,
        "adapters": [{"name": adapter.name, "weight": adapter.weight} for adapter in request.adapters],
        "trigger_words": list(request.trigger_words),
        "format": request.format,
        "quality": request.quality,
        **input_metadata.described(request),
        # The usual one is not told: a picture of it tells what it always has.
        **({"decoder": request.decoder} if request.decoder != "full" else {}),
        **made_by,
    }


def infotext(told: Mapping[str, Any]) -> str:
    """Return what `describe` told in the form that A1111's "PNG info" and the sites of models read."""
    scheduler = told["scheduler"]
    hashes = told.get("hashes") or {}
    loras = ", ".join(f"{name}: {digest[:SHORT]}" for name, digest in (hashes.get("loras") or {}).items())
    pairs = {
        "Steps": told["steps"],
        "Sampler": KINDS[scheduler].label if scheduler in KINDS else told["scheduler_class"],
        "CFG scale": f"{told['guidance_scale']:g}",
        "Seed": told["seed"],
        "Size": f"{told['width']}x{told['height']}",
        "Drawn at": told.get("drawn_at"),
        "Model hash": (hashes.get("model") or "")[:SHORT] or None,
        "Model": _quoted(told["model"]),
        "VAE hash": (hashes.get("vae") or "")[:SHORT] or None,
        "Clip skip": told["clip_skip"],
        "CFG rescale": f"{rescale:g}" if (rescale := told["guidance_rescale"]) else None,
        **input_metadata.pairs(told),
        "Decoder": told.get("decoder"),
        "Lora hashes": _quoted(loras) if loras else None,
        "Version": f"Minimon {told['versions']['minimon']}",
    }
    lines = [told["prompt"]]
    if told["negative_prompt"]:
        lines.append(f"Negative prompt: {told['negative_prompt']}")
    lines.append(", ".join(f"{name}: {value}" for name, value in pairs.items() if value is not None))
    return "\n".join(lines)


def _quoted(value: str) -> str:
    # The line is cut at commas and colons unless a value that holds one is in quotes.
    return '"' + value.replace('"', '\\"') + '"' if set(value) & set(',:\n"') else value
