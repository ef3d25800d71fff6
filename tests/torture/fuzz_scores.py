"""A coverage-guided fuzzer of what strangers may send about scores. Its own program, as libFuzzer ends its process."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["minimon_server.scores"]):
    from minimon_server.scores.claim import claim_digest, read_claim
    from minimon_server.scores.payload import canonical, read_canonical
    from minimon_server.scores.signed import payload_matches, read_signed
from tests.scores.reading import mistakes_in, well_told


def claim(body: bytes) -> None:
    """Read a claim and use it."""
    claim_digest(read_claim(body), "DER")


def signed(body: bytes) -> None:
    """Read a signed score as a verifier would; its own rendering is read as the same."""
    read = read_signed(body)
    again = read_signed(read.render()) if payload_matches(read) else read
    assert (again.canonical, again.signature, again.algorithm) == (read.canonical, read.signature, read.algorithm)


def payload(body: bytes) -> None:
    """Read the bytes of a payload; written canonically, they are read as the same."""
    read = read_canonical(body)
    assert read_canonical(canonical(read)) == read


def one_body(body: bytes) -> None:
    """Send one body to each reader."""
    for read in (claim, signed, payload):
        assert well_told(mistakes_in(read, body)), read.__name__


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_body)
    atheris.Fuzz()
