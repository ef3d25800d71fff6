"""From settings to the part that certifies: keys loaded or made, ledger locked. Reads no ledger and starts nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from minimon_server.logs import Lines
from minimon_server.scores import key_files
from minimon_server.scores.certify import Randomness, Scores
from minimon_server.scores.custody import Keys
from minimon_server.scores.ledger import Paths
from minimon_server.scores.signer import make_signer
from minimon_server.settings import Settings
from minimon_server.times import Clock


def assemble(
    settings: Settings, lines: Lines, randomness: Randomness, now: datetime, say: Callable[[str], None]
) -> Scores:
    """Return what certifies, not started; `say` tells the operator which keys were made and which soon expire.

    Raise `StartupError` for a key that cannot be used, or a ledger that another process is writing.
    """
    files, paths, log = key_files.files_of(settings), Paths(settings.score_ledger_path), lines.logger()

    def tell(remarkable: str) -> None:
        log.warning("keys", problem=remarkable)
        say(remarkable)

    signing = key_files.load_signing_key(files, key_files.passphrase_of(settings), now, tell)
    begun = paths.beside("checkpoint").exists()
    checkpoint = key_files.load_checkpoint_key(files, signing.public, tell, may_make=not begun)
    return Scores(paths, Keys(signing, make_signer(signing, lines), checkpoint), randomness, Clock(), log)
