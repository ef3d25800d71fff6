"""One server that meets one fault, in one of four states of its ledger, and what is asked of it then. Tests nothing."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.score_server import (
    ScoreServer,
    acknowledged,
    check_nothing_lost,
    check_refusal,
    copy_of,
    make_template,
)
from tests.e2e.tracing import CHANGES, Fault, calls, under_strace, whole_trace

# What a disk may do to a call. A short write is one that says so many bytes and takes none of them.
HOWS = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "short": "retval=7", "KILL": "signal=KILL"}
FOLDER = "the folder"


@dataclass(frozen=True)
class Site:
    """One call that a server makes on its ledger or beside it: which of its kind in its thread, on which file."""

    state: str
    call: str
    file: str
    nth: int

    def fault(self, how: str, folder: Path) -> Fault:
        data = folder / "data"
        return Fault(self.call, data if self.file == FOLDER else data / self.file, self.nth, HOWS[how])

    def __str__(self) -> str:
        return f"{self.state}-{self.call}-{self.file.removeprefix('certified_scores.jsonl.')}-{self.nth}"


class Templates:
    """Folders with keys, and with a ledger in one of four states; what was acknowledged for each."""

    def __init__(self, folder: Path) -> None:
        """`first`: no ledger yet; `grown`: ended well; `crashed`: with records past the checkpoint and half a line;
        `rewriting`: the start after that crash was killed too."""
        self._folder = folder
        self.before: dict[str, list[bytes]] = {"first": []}
        self.before["grown"] = make_template(folder / "grown", 2)
        shutil.copytree(folder / "grown" / "certs", folder / "first" / "certs")
        with ScoreServer(copy_of(folder / "grown", folder / "crashed")) as server:
            aside = {name: server.beside(name).read_bytes() for name in ("checkpoint", "leaves")}
            past = [acknowledged(server.asker.certify(f"past {number}")) for number in range(3)]
        for name, content in aside.items():
            server.beside(name).write_bytes(content)
        whole = server.ledger.read_bytes()
        server.ledger.write_bytes(whole + whole.rpartition(b"\n")[0].rpartition(b"\n")[2][:100])
        start = sum(len(line) for line in whole.splitlines(True)[:2])
        data = copy_of(folder / "crashed", folder / "rewriting") / "data"
        (data / "certified_scores.jsonl.tail").write_bytes(b"%d\n%b" % (start, whole[start:]))
        (data / "certified_scores.jsonl").write_bytes(whole[: start + 300])
        self.before["crashed"] = self.before["rewriting"] = self.before["grown"] + past

    def copy(self, state: str, folder: Path) -> Path:
        return copy_of(self._folder / state, folder)


def record(templates: Templates, state: str, folder: Path) -> list[Site]:
    """Return every call that a start, two certifications and an end make on the ledger and beside it."""
    templates.copy(state, folder)
    trace, data = folder / "trace", folder / "data"
    with ScoreServer(folder, under_strace(trace, "--seccomp-bpf", "-e", f"trace={CHANGES}")) as server:
        for number in range(2):
            acknowledged(server.asker.certify(f"recorded {number}"))
    sites: list[Site] = []
    seen: dict[tuple[int, str, str], int] = {}
    for call in calls(whole_trace(trace, server.process.pid)):
        found = re.search(rf'[<"]{re.escape(str(data))}(?:/([^">]+))?[">]', call.told)
        if not found:
            continue
        file = found[1] or FOLDER
        counted = (call.thread, call.name, file)
        seen[counted] = seen.get(counted, 0) + 1
        site = Site(state, call.name, file, seen[counted])
        if site not in sites and not file.startswith("certified_scores.jsonl.torn"):  # its name holds the time of day
            sites.append(site)
    return sites


def survive(templates: Templates, site: Site, how: str, folder: Path) -> str:
    """Let a server meet a fault, then start it anew on the same files; return what /ready said meanwhile.

    Whatever was acknowledged before and around the fault must be there, verify, and be certified on.
    """
    templates.copy(site.state, folder)
    certified = list(templates.before[site.state])
    fault = site.fault(how, folder)
    server = ScoreServer(folder, under_strace(folder / "trace", *fault.options))
    said = "ended"
    try:
        if server.begin():
            said = _ask(server, certified, whole=site.state in ("first", "grown"))
            if server.process.poll() is None:
                server.end()
        status = server.process.returncode
    finally:
        server.kill()
    assert status in ((-9,) if how == "KILL" else (0, 1, 2)), server.errors.read_text()
    assert "Traceback" not in server.errors.read_text() + server.log.read_text()
    hit = [call for call in calls(whole_trace(folder / "trace", server.process.pid)) if call.injected]
    assert hit or how == "KILL", "the fault was never met"
    with ScoreServer(folder) as anew:
        assert anew.reasons() == ""
        check_nothing_lost(anew, certified)
        certified.append(acknowledged(anew.asker.certify("after")))
        check_nothing_lost(anew, certified)
    return said


def _ask(server: ScoreServer, certified: list[bytes], *, whole: bool) -> str:
    """Certify and read while the fault is met; return what /ready said. `whole`: no half line was there before."""
    asker, said = server.asker, "ended"
    try:
        for number in range(2):
            answer = asker.certify(f"around {number}")
            if answer.status == 200:
                certified.append(answer.body)
            else:
                check_refusal(answer)
        said = server.reasons()
        assert asker.ask("GET", "/v1/generate").status == 200
        for answer_bytes in certified:
            verdict = asker.ask("POST", "/v1/verify-score", answer_bytes)
            if verdict.status != 200:
                check_refusal(verdict)  # where not even the keys could be read
                assert said
        if "disk failed" in said or not said:  # the ledger is open: what is in it is shown
            check_nothing_lost(server, certified)
        elif whole and server.ledger.exists():
            assert server.ledger.read_bytes()[-1:] in (b"", b"\n")
    except OSError:
        assert server.process.wait(30) == -9, "the server closed a connection and lives"
    return said
