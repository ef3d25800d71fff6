"""Whether a signed score is what it says: signature, payload, certificate. Needs public keys alone, and no ledger."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from minimon_server.errors import InvalidRequest, PayloadTooLarge, Text
from minimon_server.scores import records
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.own_lines import read_own_line
from minimon_server.scores.payload import read_canonical
from minimon_server.scores.public_keys import PublicKey
from minimon_server.scores.signed import Signed, payload_matches, read_signed
from minimon_server.scores.signing import check_seal

REASONS: Final = {
    "UNKNOWN_KEY": Text(
        "Aucune clé publiée ne fait de signatures de cet algorithme.", "No published key makes signatures of this kind."
    ),
    "SIGNATURE_INVALID": Text(
        "La signature n'est celle d'aucune clé publiée sur ces octets.",
        "The signature is not one of these bytes by any published key.",
    ),
    "PAYLOAD_MISMATCH": Text(
        "Le contenu montré (payload) n'est pas celui qui est signé (canonicalB64).",
        "The payload that is shown is not the one that was signed (canonicalB64).",
    ),
    "NOT_A_SCORE": Text(
        "Les octets signés ne sont pas un score certifié.", "The bytes that were signed are no certified score."
    ),
    "NOT_THIS_KIND": Text(
        "Les octets signés sont d'une autre sorte que celle qui est demandée.",
        "The bytes that were signed are of another kind than the one asked for.",
    ),
    "CERTIFICATE_MISMATCH": Text(
        "L'empreinte n'est celle d'aucun certificat de la clé qui a signé.",
        "The fingerprint is that of no certificate of the key that signed.",
    ),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out: `reason` is None for a valid score, else one of `REASONS`; `detail` is for engineers."""

    reason: str | None
    detail: str = ""
    key_id: str | None = None

    @property
    def valid(self) -> bool:
        """Whether everything holds."""
        return self.reason is None


def verify(signed: Signed, ring: KeyRing, key_id: str | None = None) -> Verdict:
    """Judge one signed score by the published keys, or by the one with `key_id`.

    The bytes come first: what was signed is verified as it is, never made anew; only then is it read and compared.
    """
    found = _key_that_signed(signed, ring, key_id)
    return found if isinstance(found, Verdict) else _verify_rest(signed, ring, found)


def verify_statement(signed: Signed, ring: KeyRing, reads: Callable[[bytes], object]) -> Verdict:
    """Judge another signed statement likewise; `reads` raises `InvalidRequest` where its bytes are of another kind."""
    found = _key_that_signed(signed, ring, None)
    return found if isinstance(found, Verdict) else _verify_rest(signed, ring, found, reads, "NOT_THIS_KIND")


@dataclass(frozen=True, slots=True)
class Judged:
    """One line of a ledger: what is wrong with it, or None; id and time where they could be read."""

    wrong: Text | None
    id: str | None = None
    issued_at: str | None = None


def judge(line: bytes, ring: KeyRing) -> Judged:
    """Judge one line of a ledger: it is a record, and its key signed it."""
    own = read_own_line(line)
    if own is None:
        return _judge_slowly(line, ring)
    signed, key = own.signed, ring.get(own.key_id)
    kind = signed.signature_format
    fits = (
        key is not None and signed.algorithm == key.algorithm and key.verify(signed.signature, signed.canonical, kind)
    )
    found = key if key is not None and fits else _key_that_signed(signed, ring, own.key_id)  # which says why not
    verdict = found if isinstance(found, Verdict) else _verify_certificate(signed, ring, found)
    return Judged(_told(verdict), own.id, own.issued_at)


def judge_line(line: bytes, ring: KeyRing) -> Text | None:
    """Return what is wrong with one line of a ledger, or None."""
    return judge(line, ring).wrong


def _judge_slowly(line: bytes, ring: KeyRing) -> Judged:
    try:
        record = records.read_line(line)
        signed = read_signed(record.answer)
    except ValueError as error:
        return Judged(Text(f"ce n'est pas un enregistrement ({error})", f"not a record ({error})"))
    except (InvalidRequest, PayloadTooLarge) as error:
        return Judged(Text("ce n'est pas un enregistrement", f"not a record ({_fields(error)})"))
    wrong = _told(verify(signed, ring, record.key_id))
    try:
        payload = read_canonical(signed.canonical)
    except (InvalidRequest, PayloadTooLarge):  # the verdict says so already, or a signature that is wrong says more
        return Judged(wrong)
    return Judged(wrong, payload.id, payload.issued_at)


def _told(verdict: Verdict) -> Text | None:
    if verdict.reason is None:
        return None
    told = REASONS[verdict.reason]
    return Text(told.fr, f"{told.en} {verdict.detail}".strip())


def _key_that_signed(signed: Signed, ring: KeyRing, key_id: str | None) -> PublicKey | Verdict:
    keys: Iterable[PublicKey] = ring.candidates(signed.algorithm)
    if key_id is not None:
        named = ring.get(key_id)
        keys = [named] if named else []
    detail = ""
    signature = (
        signed.signature.decode("ascii")
        if signed.signature_format == "jws"
        else base64.b64encode(signed.signature).decode("ascii")
    )
    for key in keys:
        wrong = check_seal(key, signed.canonical, signature, signed.signature_format, signed.algorithm)
        if wrong is None:
            return key
        detail = wrong
    return Verdict("SIGNATURE_INVALID" if detail else "UNKNOWN_KEY", detail, key_id)


def _verify_rest(
    signed: Signed,
    ring: KeyRing,
    key: PublicKey,
    reads: Callable[[bytes], object] = read_canonical,
    otherwise: str = "NOT_A_SCORE",
) -> Verdict:
    if not payload_matches(signed):
        return Verdict("PAYLOAD_MISMATCH", "", key.key_id)
    try:
        reads(signed.canonical)
    except (InvalidRequest, PayloadTooLarge) as error:
        return Verdict(otherwise, _fields(error), key.key_id)
    return _verify_certificate(signed, ring, key)


def _verify_certificate(signed: Signed, ring: KeyRing, key: PublicKey) -> Verdict:
    if signed.fingerprint is not None and signed.fingerprint not in ring.fingerprints(key):
        return Verdict("CERTIFICATE_MISMATCH", "", key.key_id)
    return Verdict(None, "", key.key_id)


def _fields(error: InvalidRequest | PayloadTooLarge) -> str:
    return "; ".join(f"{mistake.field}: {mistake.message.en}" for mistake in error.fields) or str(error)
