"""What one signature costs, by each kind of key: `python -m bench.signing_costs`. Knows nothing of the server."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from minimon_server.scores.signing import SigningKey

MESSAGE = bytes(400)
RUNS = 7
SECONDS_A_RUN = 0.1


def kinds() -> Iterator[tuple[str, SigningKey]]:
    """Yield a new key of every kind that scores are signed with."""
    yield "Ed25519", SigningKey(ed25519.Ed25519PrivateKey.generate())
    yield "Ed448", SigningKey(ed448.Ed448PrivateKey.generate())
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()):
        yield curve.name, SigningKey(ec.generate_private_key(curve))
    for bits in (2048, 3072, 4096):
        yield f"RSA-{bits}", SigningKey(rsa.generate_private_key(65537, bits))


def microseconds(call: Callable[[bytes], bytes]) -> float:
    """Return the median time of one call on this thread's own clock, which others on the machine do not advance."""
    costs = []
    for _ in range(RUNS):
        calls, begin = 0, time.thread_time()
        while (spent := time.thread_time() - begin) < SECONDS_A_RUN:
            call(MESSAGE)
            calls += 1
        costs.append(spent / calls * 1e6)
    return statistics.median(costs)


if __name__ == "__main__":
    for name, key in kinds():
        print(f"{name:10} {key.public.algorithm:8} {microseconds(key.sign):6.0f} us")
