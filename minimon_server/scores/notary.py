"""Other statements than scores, signed by the same key: sealed and judged. Knows no statement by its members.

Nothing of them is kept in the ledger. Each names what it is in its member `type`, which no score has: neither can be
taken for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import rfc8785

from minimon_server.errors import SigningUnavailable
from minimon_server.scores.custody import OFF, Custody, Keys
from minimon_server.scores.signed import Signed, render
from minimon_server.scores.signing import finish, signing_input
from minimon_server.scores.verify import Verdict, verify_statement

TYPE: Final = "type"


class Notary:
    """Signs with the key of the scores, while that key is a published one."""

    def __init__(self, keys: Keys, custody: Custody) -> None:
        self._keys = keys
        self._custody = custody

    async def check(self) -> None:
        """Raise `SigningUnavailable` when nothing can be signed now, or nobody could verify it."""
        ring = await self._custody.ring()
        if ring.get(self._keys.signing.public.key_id) is None:
            raise SigningUnavailable(OFF, retry_after=60)
        if not self._keys.signer.available:
            raise SigningUnavailable

    async def seal(self, kind: str, members: Mapping[str, str]) -> bytes:
        """Return a signed statement as compact JSON, of the same shape as a signed score, in the key's native format.

        What is signed are the bytes that RFC 8785 gives `members` and the member `type`, which is `kind`.
        """
        await self.check()
        key = self._keys.signing
        data = rfc8785.dumps({**members, TYPE: kind})
        sealed = finish(
            "native", await self._keys.signer.sign(signing_input("native", data, key.public)), data, key.public
        )
        signature = sealed.signature_b64.encode("ascii")
        return render(data, signature, key.public.algorithm, sealed.signature_format, key.fingerprint)

    async def judge(self, signed: Signed, reads: Callable[[bytes], object]) -> Verdict:
        """Judge a signed statement; `reads` raises `InvalidRequest` for bytes that are none of the kind asked for."""
        return verify_statement(signed, await self._custody.ring(), reads)
