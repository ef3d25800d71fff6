"""The order "pictures, their folder, the record that names them, the answer", read from a trace. Starts nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.tracing import Call, calls, lies_between

ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ACCEPTED = re.compile(rf"HTTP/1\.1 202 Accepted\\r\\n.*?location: /status/({ID})", re.DOTALL)
_SERVED = re.compile(rf"HTTP/1\.1 200 OK\\r\\n.*?x-job-id: ({ID})", re.DOTALL)
_SUCCESS = re.compile(rf'\\"job_id\\":\\"({ID})\\",\\"state\\":\\"SUCCESS\\"')


@dataclass
class JobOrder:
    """What a trace shows: each promise that was kept in time, by job, and what came too early or not at all.

    `early` holds ("accepted" | "file" | "folder" | "record", the job's id or the picture's name).
    """

    accepted: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    early: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """The calls of a trace that make something last."""

    journal: list[Call]
    outputs: list[Call]
    sent: list[Call]
    folder: Path

    def first_record(self, text: str) -> Call | None:
        """Return the first write of the journal's log that holds a text: an id, or the name of a picture."""
        return next((call for call in self.journal if call.name == "pwrite64" and text in call.told), None)

    def is_synced(self, written: Call | None, before: Call) -> bool:
        """Return whether a sync of the journal's log began after a write and ended well before a call."""
        syncs = [call for call in self.journal if call.name == "fdatasync" and call.result == 0]
        return written is not None and any(lies_between(one, written, before) for one in syncs)


def order_of_jobs(trace: str, journal: Path, outputs: Path) -> JobOrder:
    """Judge every answer that promises a job or a picture, and every picture that a record names.

    202: the first record of the job was written to the journal's log, and a sync that began after it had ended well,
    before the answer began to be sent. A picture: its bytes were written, then synced, then it had its name, then its
    folder was synced, and only then a record named it. 200 of `/image`, and `/status` with SUCCESS: the record that
    names the pictures was synced.
    """
    made = list(calls(trace))
    seen = Seen(
        [call for call in made if f"<{journal}-wal>" in call.told],
        [call for call in made if str(outputs) in call.told],
        [call for call in made if "<socket:[" in call.told],
        outputs,
    )
    order, pictures = JobOrder(), _renames(seen)
    for name, renamed in pictures.items():
        wrong = _wrong_with(name, renamed, seen)
        order.early += [(wrong, name)] if wrong else []
        order.pictures += [] if wrong else [name]
    of_job = defaultdict(list)
    for name in pictures:
        of_job[name[:36]].append(name)
    for call in seen.sent:
        for job in _ACCEPTED.findall(call.told):
            in_time = seen.is_synced(seen.first_record(job), call)
            order.accepted += [job] if in_time else []
            order.early += [] if in_time else [("accepted", job)]
        for job in {*_SERVED.findall(call.told), *_SUCCESS.findall(call.told)}:
            records = [seen.first_record(name) for name in of_job[job]]
            in_time = bool(records) and all(seen.is_synced(record, call) for record in records)
            order.served += [job] if in_time else []
            order.early += [] if in_time else [("record", job)]
    return order


def _renames(seen: Seen) -> dict[str, Call]:
    found = {}
    for call in seen.outputs:
        if call.name.startswith("rename") and call.result == 0:
            found[Path(call.told.split('"')[-2]).name] = call
    return found


def _wrong_with(name: str, renamed: Call, seen: Seen) -> str | None:
    """Return which step of a picture was left out or came too late: its "file" or its "folder"."""
    part = [call for call in seen.outputs if f"<{seen.folder}/{name}.part>" in call.told]
    writes = [call for call in part if call.name == "write"]
    syncs = [call for call in part if call.name == "fsync" and call.result == 0]
    if not writes or not any(lies_between(one, writes[-1], renamed) for one in syncs):
        return "file"
    named = seen.first_record(name)
    folders = [call for call in seen.outputs if f"<{seen.folder}>" in call.told and call.name == "fsync"]
    well = [call for call in folders if call.result == 0]
    if named is None or not any(lies_between(one, renamed, named) for one in well):
        return "folder"
    return None
