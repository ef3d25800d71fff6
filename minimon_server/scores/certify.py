"""Scores certified: from a claim to an answer that is on disk. The one owner of signing key and ledger in a server.

Lives on the event loop; the ledger's own thread and, for slow keys, a process of their own do what takes time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from minimon_server.errors import Conflict, IdempotencyMismatch, NotFound, SigningUnavailable, Text
from minimon_server.logs import Logger
from minimon_server.scores import records
from minimon_server.scores.claim import Claim, claim_digest
from minimon_server.scores.custody import OFF, Custody, Keys
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.ledger import Entry, Ledger, LedgerBroken, LedgerFull, Paths, Proof
from minimon_server.scores.notary import Notary
from minimon_server.scores.opening import Opened
from minimon_server.scores.payload import Payload, canonical, read_canonical
from minimon_server.scores.records import Idempotency, Record
from minimon_server.scores.signed import Signed, render
from minimon_server.scores.signer import InlineSigner
from minimon_server.scores.signing import Form, finish, signing_input
from minimon_server.scores.verify import Verdict, verify
from minimon_server.scores.writer import Writer
from minimon_server.times import Clock


@dataclass(frozen=True, slots=True)
class Randomness:
    """Where ids and nonces come from: each call gives new hexadecimal digits."""

    id: Callable[[], str]
    nonce: Callable[[], str]


class Scores:
    """Certifies, remembers and proves. `start` on the event loop, `close` at the end."""

    def __init__(self, paths: Paths, keys: Keys, randomness: Randomness, clock: Clock, log: Logger) -> None:
        """Take the ledger's lock; raise `StartupError` when another process has it."""
        self._keys, self._random, self._clock, self._log = keys, randomness, clock, log
        self._custody = Custody(paths, keys, lambda: f"minimon-scores/{randomness.nonce()[:16]}", clock, log)
        self.notary = Notary(keys, self._custody)
        self._in_flight: set[str] = set()
        self._last_issued = ""
        self.certified = 0
        self.replayed = 0

    async def start(self) -> None:
        """Read the ledger; return once it is open, or goes on being read: then requests wait a little."""
        await self._custody.start()

    async def close(self) -> None:
        """Write what waits, save the checkpoint, let the lock go."""
        await self._custody.close()

    async def certify(self, claim: Claim, form: Form, key: str | None) -> bytes:
        """Return the answer's bytes, once the record is on disk; the same bytes again for the same idempotency key."""
        opened, writer = await self._custody.ledger()
        if key is None:
            return await self._make(opened, writer, claim, form, None)
        asked = Idempotency(sha256(key.encode()).hexdigest(), claim_digest(claim, form))
        if asked.key in self._in_flight:
            raise Conflict(
                Text(
                    "Une requête avec cette Idempotency-Key est en cours.",
                    "A request with this Idempotency-Key is in progress.",
                ),
                headers={"Retry-After": "1"},
            )
        self._in_flight.add(asked.key)
        try:
            if former := self._custody.look(lambda: opened.ledger.with_key(asked.key), writer):
                return self._again(former, asked)
            return await self._make(opened, writer, claim, form, asked)
        finally:
            self._in_flight.discard(asked.key)

    def _again(self, former: Record, asked: Idempotency) -> bytes:
        if former.idempotency != asked:
            raise IdempotencyMismatch
        self.replayed += 1
        return former.answer

    async def _make(
        self, opened: Opened, writer: Writer, claim: Claim, form: Form, idempotency: Idempotency | None
    ) -> bytes:
        key, signer = self._keys.signing, self._keys.signer
        # Never backwards within a ledger, whatever is done to the clock.
        self._last_issued = max(self._last_issued or self._custody.last_issued, self._clock.now_ms())
        payload = Payload(
            id="mnm_" + self._random.id(),
            issued_at=self._last_issued,
            nonce=self._random.nonce() if claim.nonce is None else claim.nonce,
            score=claim.score,
            subject=claim.subject,
        )
        data = canonical(payload)
        signature = await signer.sign(signing_input(form, data, key.public))
        sealed = finish(form, signature, data, key.public)
        signed = render(
            data, sealed.signature_b64.encode(), key.public.algorithm, sealed.signature_format, key.fingerprint
        )
        answer = records.answer_bytes(signed, self._clock.now())
        line = records.line_bytes(answer, key.public.key_id, idempotency)
        try:
            await writer.append(Entry(line, payload.id, idempotency.key if idempotency else None))
        except LedgerFull as error:
            text = Text("Il n'y a plus de place pour le registre.", "There is no room left for the ledger.")
            raise SigningUnavailable(text) from error
        except LedgerBroken as error:
            raise SigningUnavailable(OFF, retry_after=60) from error
        self.certified += 1
        return answer

    async def score(self, score_id: str) -> bytes:
        """Return the answer that certified a score; raise `NotFound`."""
        opened, writer = await self._custody.ledger()
        return self._found(opened.ledger, writer, score_id)[1].answer

    def _found(self, ledger: Ledger, writer: Writer, score_id: str) -> tuple[int, Record]:
        if found := self._custody.look(lambda: ledger.with_id(score_id), writer):
            return found
        raise NotFound(Text("Aucun score ne porte cet identifiant.", "No score has this id."))

    async def proof(self, score_id: str) -> Proof:
        """Return the proof that a score stands in the ledger; raise `NotFound`."""
        opened, writer = await self._custody.ledger()
        number, _ = self._found(opened.ledger, writer, score_id)
        return self._custody.look(lambda: opened.ledger.prove(number), writer)

    async def growth(self, old: int, new: int) -> tuple[bytes, bytes, list[bytes]] | None:
        """Return both roots and the consistency proof between two sizes; None when the ledger was never so large."""
        opened, writer = await self._custody.ledger()
        if not old <= new <= opened.ledger.size:
            return None
        return self._custody.look(lambda: opened.ledger.prove_growth(old, new), writer)

    async def checkpoint(self) -> tuple[int, bytes]:
        """Return the number of records, and a checkpoint over all of them."""
        opened, writer = await self._custody.ledger()
        return self._custody.look(lambda: (opened.ledger.size, opened.ledger.checkpoint()), writer)

    async def verify(self, signed: Signed) -> tuple[Verdict, int | None]:
        """Judge a signed score; return the number of its record too, or None when the ledger has not this very one."""
        verdict = verify(signed, await self._custody.ring())
        if not self._custody.opened or not self._custody.writer or not verdict.valid:
            return verdict, None
        ledger = self._custody.opened.ledger
        score_id = read_canonical(signed.canonical).id
        found = self._custody.look(lambda: ledger.with_id(score_id), self._custody.writer)
        recorded = found is not None and found[1].answer.startswith(b'{"signed":%b,' % signed.render())
        return verdict, found[0] if found and recorded else None

    async def ring(self) -> KeyRing:
        """Return the public keys; also of a ledger that is refused, as long as they are what was signed."""
        return await self._custody.ring()

    @property
    def trouble(self) -> Text | None:
        """Why no score can be certified now, or None."""
        return self._custody.trouble

    @property
    def batches(self) -> int:
        """How many times the ledger was written and synced."""
        return self._custody.writer.batches if self._custody.writer else 0

    @property
    def records(self) -> int:
        """How many records the ledger holds."""
        return self._custody.opened.ledger.size if self._custody.opened else 0

    @property
    def facts(self) -> dict[str, object]:
        """What an operator may want to know."""
        ledger = self._custody.opened.ledger if self._custody.opened else None
        return {
            "algorithm": self._keys.signing.public.algorithm,
            "keyId": self._keys.signing.public.key_id,
            "signer": "inline" if isinstance(self._keys.signer, InlineSigner) else "process",
            "records": ledger.size if ledger else None,
            "checkpointedRecords": ledger.checkpointed if ledger else None,
        }
