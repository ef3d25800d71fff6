"""The obvious FastAPI version of /v1/certify-score, as a peer to measure: signed, appended, synced. Owns no measuring.

Run by uvicorn with its standard extras, one process, access log on. The key and the ledger come from the environment.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Claim(BaseModel):
    """What a game asks to have certified."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    score: Annotated[float, Field(strict=True)]
    subject: Annotated[str, Field(min_length=1, max_length=512)]
    nonce: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Payload(BaseModel):
    """What is signed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    issued_at: str
    nonce: str
    score: float
    subject: str


class Signed(BaseModel):
    """A certified score."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    payload: Payload
    canonical_b64: Annotated[str, Field(alias="canonicalB64")]
    signature_b64: Annotated[str, Field(alias="signatureB64")]
    algorithm: str = "ES256"
    signature_format: str = "DER"
    fingerprint: Annotated[str | None, Field(alias="certificateFingerprintSHA256")] = None


class Certified(BaseModel):
    """One answer of /v1/certify-score."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    signed: Signed
    generated_at: datetime


def create_app() -> FastAPI:
    """Read the key, open the ledger and return the program."""
    app = FastAPI()
    pem = Path(os.environ["MINIMON_BENCH_KEY"]).read_bytes()
    key = cast(ec.EllipticCurvePrivateKey, load_pem_private_key(pem, None))
    ledger = open(os.environ["MINIMON_BENCH_LEDGER"], "a", encoding="utf-8")  # noqa: SIM115 - open to the end
    lock = threading.Lock()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/certify-score")
    def certify(claim: Claim) -> Certified:
        now = datetime.now(UTC)
        payload = Payload(
            id="mnm_" + secrets.token_hex(12),
            issued_at=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            nonce=claim.nonce or secrets.token_hex(16),
            score=claim.score,
            subject=claim.subject,
        )
        shown = payload.model_dump(by_alias=True)
        canonical = json.dumps(shown, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        signature = key.sign(canonical, ec.ECDSA(hashes.SHA256()))
        signed = Signed(
            payload=payload,
            canonical_b64=base64.b64encode(canonical).decode(),
            signature_b64=base64.b64encode(signature).decode(),
        )
        certified = Certified(signed=signed, generated_at=now)
        line = certified.model_dump_json(by_alias=True) + "\n"
        with lock:
            ledger.write(line)
            ledger.flush()
            os.fsync(ledger.fileno())
        return certified

    return app
