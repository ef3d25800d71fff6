"""What is told of the pictures that a drawing began with, and of a second pass. Says nothing of a plain drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minimon_server.engines.messages import DrawRequest


def described(request: DrawRequest) -> dict[str, Any]:
    """Return what decides a picture beyond text: the digests of its inputs, the strength, the second pass,
    the IP-Adapter."""
    told: dict[str, Any] = {}
    if request.init_image is not None:
        told["init_image"] = request.init_image.digest
        told["strength"] = request.strength
    if request.mask is not None:
        told["mask"] = request.mask.digest
    if request.hires is not None:
        hires = request.hires
        told["hires"] = {
            "width": hires.width,
            "height": hires.height,
            "steps": hires.steps,
            "strength": hires.strength,
        }
    if request.ip_adapter is not None:
        use = request.ip_adapter
        told["ip_adapter"] = {"name": use.name, "image": use.picture.digest, "scale": use.scale}
    return told


def pairs(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same under the names that A1111 writes; it knows one strength, the last pass's."""
    found: dict[str, Any] = {}
    hires = told.get("hires")
    if "strength" in told:
        found["Denoising strength"] = f"{told['strength']:g}"
    if hires:
        found |= {
            "Denoising strength": f"{hires['strength']:g}",
            "Hires resize": f"{hires['width']}x{hires['height']}",
            "Hires steps": hires["steps"],
            "Hires upscaler": "Lanczos",
        }
    if "init_image" in told:
        found["Init image hash"] = told["init_image"][:10]
    if "mask" in told:
        found["Mask hash"] = told["mask"][:10]
    if "ip_adapter" in told:
        use = told["ip_adapter"]
        found["IP-Adapter"] = use["name"]
        found["IP-Adapter scale"] = f"{use['scale']:g}"
        found["IP-Adapter image hash"] = use["image"][:10]
    return found
