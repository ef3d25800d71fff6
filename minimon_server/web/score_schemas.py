"""The shapes of everything about scores and their ledger, for the documents; `scores` itself reads more strictly."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from minimon_server.web.schemas import plain_digits, said

LedgerSize = Annotated[int, Field(ge=0, le=2**53 - 1), BeforeValidator(plain_digits)]
SCORE_ID: Final = "^mnm_[0-9a-f]{24}$"
# Spelled as its bytes would be, with padding (RFC 4648, sections 3.5 and 4).
_B64_BYTES: Final = (
    "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)"
)
_BASE64: Final = f"^{_B64_BYTES}$"
_B64URL: Final = "[A-Za-z0-9_-]+"
_SIGNATURE: Final = f"^(?:{_B64_BYTES}|{_B64URL}[.]{_B64URL}[.]{_B64URL})$"
# What no signed text may hold: control and bidirectional characters, surrogates, noncharacters.
_PLAIN: Final = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+$"
_TEXT: Final = said(
    "UTF-8 en forme NFC, sans caractère de contrôle ni de direction ; la limite est en octets.",
    "UTF-8 in form NFC, without control or bidirectional characters; the limit is in bytes.",
)


class CertifyQuery(BaseModel):
    """The parameters of `POST /v1/certify-score`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signature: Literal["native", "raw", "jws"] = Field(
        "native",
        **said(
            "`native` : DER pour les courbes elliptiques ; `raw` : r et s bout à bout ; `jws` : un JWS compact.",
            "`native`: DER for elliptic curves; `raw`: r and s side by side; `jws`: a compact JWS.",
        ),
    )


class ClaimBody(BaseModel):
    """The body of `POST /v1/certify-score`; `scores.claim` reads it, more strictly than a schema can say."""

    model_config = ConfigDict(extra="forbid")

    score: float = Field(
        ge=-1e308,
        le=1e308,
        **said(
            "Un nombre que le type double tient exactement ; entiers jusqu'à 2^53-1 ; jamais -0.",
            "A number that a double holds exactly as written; whole numbers up to 2^53-1; never -0.",
        ),
    )
    subject: str = Field(min_length=1, max_length=512, pattern=_PLAIN, **_TEXT)
    nonce: str = Field(default_factory=str, min_length=1, max_length=128, pattern=_PLAIN, **_TEXT)


class ScorePayload(BaseModel):
    """What is certified of a score."""

    id: str = Field(pattern=SCORE_ID)
    score: float
    nonce: str
    issuedAt: str = Field(  # noqa: N815 - wire name
        **said("RFC 3339, UTC, en millisecondes.", "RFC 3339, UTC, milliseconds.")
    )
    subject: str


class SignedBody(BaseModel):
    """A signed score."""

    payload: ScorePayload
    canonicalB64: str = Field(  # noqa: N815 - wire name
        pattern=_BASE64, **said("Les octets signés (RFC 8785).", "The bytes that were signed (RFC 8785).")
    )
    signatureB64: str = Field(  # noqa: N815 - wire name
        pattern=_SIGNATURE,
        **said("La signature ; le JWS compact entier pour `jws`.", "The signature; for `jws`, the whole compact JWS."),
    )
    algorithm: str = Field(
        pattern="^[A-Za-z0-9][A-Za-z0-9-]{0,31}$",
        **said("Nom JOSE : ES256, RS256, Ed25519…", "JOSE's name: ES256, RS256, Ed25519…"),
    )
    signatureFormat: Literal["DER", "raw", "jws"]  # noqa: N815 - wire name
    certificateFingerprintSHA256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(  # noqa: N815
        **said("SHA-256 du certificat en hexadécimal, ou null.", "SHA-256 of the certificate, hexadecimal, or null.")
    )


class SignedToVerify(SignedBody):
    """The body of `POST /v1/verify-score`: a payload that is none is judged, not refused."""

    model_config = ConfigDict(extra="forbid")

    payload: dict[str, Any]  # type: ignore[assignment]


class CertifiedAnswer(BaseModel):
    """The answer of `POST /v1/certify-score`."""

    signed: SignedBody
    generatedAt: str = Field(  # noqa: N815 - wire name
        **said("RFC 3339, UTC, en secondes entières.", "RFC 3339, UTC, whole seconds.")
    )


class VerdictAnswer(BaseModel):
    """The answer of `POST /v1/verify-score`."""

    valid: bool
    reason: str | None = Field(**said("Pourquoi pas : un code stable.", "Why not: a stable code."))
    detail: str | None = Field(**said("Le même pour des personnes.", "The same for people."))
    keyId: str | None = Field(  # noqa: N815 - wire name
        **said("L'empreinte RFC 7638 de la clé qui a signé.", "RFC 7638 thumbprint of the key that signed.")
    )
    recorded: bool = Field(
        **said("Vrai si le registre contient exactement ceci.", "True if the ledger holds exactly this.")
    )
    index: int | None = Field(**said("Sa place au registre, depuis 0.", "Its place in the ledger, from 0."))


class ProofAnswer(BaseModel):
    """The answer of `GET /v1/ledger/proof/{id}`."""

    id: str = Field(pattern=SCORE_ID)
    index: int = Field(ge=0)
    record: str = Field(
        **said("La ligne du registre ; ses octets font la feuille.", "The ledger's line; its bytes make the leaf.")
    )
    leafHash: str = Field(pattern=_BASE64)  # noqa: N815 - wire name
    hashes: list[str] = Field(**said("RFC 6962, section 2.1.1.", "RFC 6962, section 2.1.1."))
    treeSize: int = Field(ge=1)  # noqa: N815 - wire name
    rootHash: str = Field(pattern=_BASE64)  # noqa: N815 - wire name
    checkpoint: str = Field(**said("La note signée sur cette racine.", "The signed note over this root."))


class ConsistencyQuery(BaseModel):
    """The parameters of `GET /v1/ledger/consistency`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)

    from_: LedgerSize = Field(alias="from", **said("L'ancienne taille.", "The old size."))
    to: LedgerSize | None = Field(
        None, **said("La nouvelle ; par défaut la présente.", "The new size; by default the present one.")
    )


class ConsistencyAnswer(BaseModel):
    """The answer of `GET /v1/ledger/consistency`."""

    from_: int = Field(alias="from", ge=0)
    to: int = Field(ge=0)
    fromRootHash: str = Field(pattern=_BASE64)  # noqa: N815 - wire name
    toRootHash: str = Field(pattern=_BASE64)  # noqa: N815 - wire name
    hashes: list[str] = Field(**said("RFC 6962, section 2.1.2.", "RFC 6962, section 2.1.2."))
    checkpoint: str = Field(**said("La note signée présente.", "The present signed note."))


class KeySetAnswer(BaseModel):
    """The answer of `GET /.well-known/jwks.json`."""

    keys: list[dict[str, Any]] = Field(
        **said("`minimon:purpose` dit à quoi sert chacune.", "`minimon:purpose` says what each is for.")
    )
