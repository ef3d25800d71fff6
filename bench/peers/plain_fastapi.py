"""The obvious FastAPI version of /v1/generate, as a peer to measure; owns no measuring.

Run by uvicorn with its standard extras, one process, access log on.
"""

from __future__ import annotations

import base64
import random
import uuid
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

PICTURES = Path(__file__).resolve().parents[2] / "minimon"
NAMES = ["Aqualing", "Bramblo", "Cindercub", "Drizzlit", "Emberoo", "Fernip"]
RARITIES = {"F": 30, "E": 22, "D": 17, "C": 12, "B": 9, "A": 6, "S": 3, "S+": 1}


class Metadata(BaseModel):
    """What is known of one creature."""

    id: str
    name: str
    rarity: str


class Generated(BaseModel):
    """One answer of /v1/generate."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    image_base64: str
    metadata: Metadata
    generated_at: datetime


def fit(images: list[bytes], rank: int) -> list[bytes]:
    """Return the pictures of one rarity, as the server has them: its answers are then of the same sizes."""
    count, ranks = len(images), len(RARITIES)
    return images[rank * count // ranks : -(-(rank + 1) * count // ranks)]


def create_app() -> FastAPI:
    """Read the six pictures and return the program."""
    app = FastAPI()
    images = [path.read_bytes() for path in sorted(PICTURES.glob("image_0[0-5].png"))]
    fitting = {rarity: fit(images, rank) for rank, rarity in enumerate(RARITIES)}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/generate", response_model=Generated)
    async def generate() -> dict[str, object]:
        rarity = random.choices(list(RARITIES), weights=list(RARITIES.values()))[0]
        image = random.choice(fitting[rarity])
        return {
            "image_base64": base64.b64encode(image).decode("ascii"),
            "metadata": {"id": str(uuid.uuid4()), "name": random.choice(NAMES), "rarity": rarity},
            "generated_at": datetime.now(UTC),
        }

    return app
