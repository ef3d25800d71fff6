"""The order "written, synced, answered", read from a trace of a server. Starts nothing, tests nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.tracing import ANSWERS, CHANGES, calls, lies_between

# Whole lines and whole answers: a batch of the ledger is as long as its clients are many.
OPTIONS = ["--seccomp-bpf", "-s", "200000", "-e", f"trace={CHANGES},{ANSWERS}"]
_CERTIFIED = re.compile(r'\{\\"signed\\":\{\\"payload\\":\{\\"id\\":\\"(mnm_[0-9a-f]{24})\\"')


@dataclass
class Order:
    """What a trace shows of each score: `synced` in time, or `early` (answered before its line was on disk)."""

    synced: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)


def order_of(trace: str, ledger: Path) -> Order:
    """Judge every answer that certifies a score.

    Its line must have been written, and a sync of the ledger that began after that write must have ended well, before
    the answer began to be sent.
    """
    made = list(calls(trace))
    on_ledger = [call for call in made if f"<{ledger}>" in call.told]
    writes = [(call, _CERTIFIED.findall(call.told)) for call in on_ledger if call.name == "write" and call.result]
    written = {score_id: call for call, ids in writes for score_id in ids}
    syncs = [call for call in on_ledger if call.name == "fdatasync" and call.result == 0]
    order = Order()
    for call in made:
        if "<socket:[" not in call.told or "HTTP/1.1 200 OK" not in call.told:
            continue
        for score_id in _CERTIFIED.findall(call.told):
            in_time = any(lies_between(sync, written.get(score_id, call), call) for sync in syncs)
            (order.synced if in_time else order.early).append(score_id)
    return order
