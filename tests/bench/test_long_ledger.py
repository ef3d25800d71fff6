"""A written ledger is one that the server takes for its own; a real server, whose start nobody times."""

from __future__ import annotations

from pathlib import Path

from bench import certificate, certified, client, contenders, ledgers, long_ledger
from bench.contenders import ScoreFiles
from bench.cores import choose
from bench.plan import QUICK, Stage
from bench.processes import running

ROOT = Path(__file__).resolve().parents[2]


def test_a_server_opens_a_written_ledger_and_adds_to_it(tmp_path: Path) -> None:
    pair = certificate.make(tmp_path)
    stage = Stage(ROOT, tmp_path, pair, client.trust(pair.certificate), choose(), QUICK)
    files = ScoreFiles(tmp_path / "scores")

    def certify_one() -> dict[str, float]:
        ours = contenders.ours(stage, files)
        ours.program.output.unlink(missing_ok=True)
        with running(ours.program, ledgers.told(ours.program.output, b'"ledger open"')):
            client.ask(ours.program.port, certified.PATH, stage.context, body=certified.CLAIM)
            return certified.metrics(ours.program.port, stage.context)

    assert certify_one()["minimon_ledger_records"] == 1
    written = long_ledger.write(files, 300)
    assert len(written.sample) == 10
    assert written.length == files.ledger.stat().st_size
    # The records lead to the checkpoint's root, or it would not be open.
    assert certify_one()["minimon_ledger_records"] == 301
    log = (tmp_path / "ours.log").read_text("utf-8")
    assert "leaf hashes are missing or wrong" not in log
    assert "past the checkpoint" not in log
