"""Who has the ledger: a disk that does not answer holds up neither the start nor the end of a server."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from minimon_server.logs import Lines, LogSink
from minimon_server.scores import custody
from minimon_server.scores.custody import Custody, Keys
from minimon_server.scores.signer import InlineSigner
from minimon_server.scores.signing import SigningKey
from minimon_server.times import Clock
from tests.scores.ledgers import LOG_KEY, NAME, make, signing_key, some_lines


@pytest.mark.parametrize("suffix", ["checkpoint", "keys", "tail"])
def test_a_pipe_in_the_place_of_a_file_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(custody, "HEAD_START", 0.01)
    monkeypatch.setattr(custody, "CLOSE_SECONDS", 0.01)
    paths = make(tmp_path, some_lines(3)).paths
    pipe = paths.beside(suffix)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    log = Lines(LogSink(os.open(os.devnull, os.O_WRONLY)), level="info", as_json=True, secrets=()).logger()

    async def scene() -> None:
        key = signing_key()
        one = Custody(paths, Keys(key, InlineSigner(key), SigningKey(LOG_KEY)), lambda: NAME, Clock(), log)
        await one.start()
        assert one.trouble
        assert "is being read" in one.trouble.en
        await one.close()

    thread = threading.Thread(target=asyncio.run, args=(scene(),), daemon=True)
    thread.start()
    thread.join(20)
    held = thread.is_alive()
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # whoever still reads it comes to an end
    assert not held
