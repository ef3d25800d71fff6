"""base64url without padding, as JOSE writes bytes (RFC 7515, section 2). Reads one spelling of each value, no other."""

from __future__ import annotations

import base64


def encode(data: bytes) -> str:
    """Return `data` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return what `text` stands for; raise `ValueError` for any text that `encode` would not have written."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise ValueError(f"is not base64url: {error}") from None
    # Padding, the other alphabet and stray last bits would give one value several spellings.
    if encode(data) != text:
        raise ValueError("is not base64url in its one unpadded spelling")
    return data
