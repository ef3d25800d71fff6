"""Signing processes that are killed, stopped, or never come up, and a server that is killed itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minimon_server.errors import SigningUnavailable, StartupError
from minimon_server.scores import signer as signer_module
from minimon_server.scores.signer import ProcessSigner
from tests.scores.openssl import needs_openssl, private_pem
from tests.scores.signer_scene import PATIENCE, Log, is_running, key_of, outcomes, signing, until, wait_until
from tests.support import HOME

pytestmark = [needs_openssl, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
RESTING = "no scores are signed for a while"


@pytest.fixture
def log(tmp_path: Path) -> Any:
    made = Log(tmp_path)
    yield made
    made.sink.close()


def test_a_process_that_is_killed_over_its_work_fails_it_and_is_replaced(log: Log) -> None:
    key = key_of("RSA-4096")

    async def scene() -> None:
        async with signing(key, log) as signer:
            first = signer.process_id
            assert first
            # Stopped, so that it is certain that it has answered nothing.
            os.kill(first, signal.SIGSTOP)
            calls = [asyncio.ensure_future(signer.sign(bytes([number]))) for number in range(100)]
            await asyncio.sleep(0)
            os.kill(first, signal.SIGKILL)
            failed = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE)
            assert {type(one) for one in failed} == {SigningUnavailable}
            # Asked at once, when no process may be there yet: they wait for the next one.
            for number, signature in enumerate(await outcomes(*(signer.sign(bytes([one])) for one in range(20)))):
                assert isinstance(signature, bytes)
                assert key.public.verify(signature, bytes([number]), "raw")
            assert signer.process_id not in (first, None)
            assert not is_running(first)

    asyncio.run(scene())
    assert "it ended with status -9" in log.text()
    assert "another process signs scores now" in log.text()


def test_what_is_answered_before_a_death_is_right(log: Log) -> None:
    key = key_of("RSA-4096")

    async def scene() -> None:
        async with signing(key, log) as signer:
            calls = [asyncio.ensure_future(signer.sign(bytes([number]))) for number in range(100)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert signer.process_id
            os.kill(signer.process_id, signal.SIGKILL)
            for number, one in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
                if isinstance(one, bytes):
                    assert key.public.verify(one, bytes([number]), "raw")
                else:
                    assert isinstance(one, SigningUnavailable)
            assert key.public.verify(await signer.sign(b"again"), b"again", "raw")

    asyncio.run(scene())


def test_a_process_that_is_stuck_is_replaced(log: Log) -> None:
    key = key_of("RSA-2048")

    async def scene() -> None:
        async with signing(key, log, silence_seconds=2) as signer:
            assert signer.process_id
            os.kill(signer.process_id, signal.SIGSTOP)
            with pytest.raises(SigningUnavailable):
                await signer.sign(b"lost")
            assert key.public.verify(await signer.sign(b"found"), b"found", "raw")

    asyncio.run(scene())
    assert "it was silent for 2 s and has been killed" in log.text()


def test_too_many_deaths_are_followed_by_a_rest_that_ends(log: Log) -> None:
    key = key_of("RSA-2048")

    async def die(signer: ProcessSigner) -> None:
        process = signer.process_id
        assert process
        os.kill(process, signal.SIGKILL)
        await until(lambda: signer.process_id != process)

    async def scene() -> None:
        async with signing(key, log, rest_seconds=3) as signer:
            for _ in range(signer_module.MOST_DEATHS - 1):
                await die(signer)
                await signer.sign(b"alive")
            await die(signer)
            with pytest.raises(SigningUnavailable) as caught:
                await signer.sign(b"resting")
            assert not signer.available
            assert 1 <= int(caught.value.headers["Retry-After"]) <= 3
            await until(lambda: signer.available and signer.process_id is not None)
            assert key.public.verify(await signer.sign(b"back"), b"back", "raw")
        async with signing(key, log, rest_seconds=3600) as signer:
            for _ in range(signer_module.MOST_DEATHS - 1):
                await die(signer)
                await signer.sign(b"alive")
            await die(signer)
            await until(lambda: log.text().count(RESTING) == 2)  # and the end does not wait for the rest to be over

    asyncio.run(scene())
    assert log.text().count(RESTING) == 2


def test_a_process_that_does_not_come_up_stops_the_start(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for executable, reason in ((str(HOME / "nowhere"), "No such file"), ("/bin/false", "ended at once")):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(StartupError, match=f"does not start: .*{reason}"):
            asyncio.run(ProcessSigner(key_of("RSA-2048"), log.lines).start())


def test_no_orphan_is_left_when_the_server_is_killed(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(private_pem("RSA-4096"))
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from cryptography.hazmat.primitives.serialization import load_pem_private_key\n"
        "from minimon_server.logs import Lines, LogSink\n"
        "from minimon_server.scores.signer import ProcessSigner\n"
        "from minimon_server.scores.signing import SigningKey\n"
        "async def main():\n"
        "    key = SigningKey(load_pem_private_key(Path(sys.argv[1]).read_bytes(), None))\n"
        "    signer = ProcessSigner(key, Lines(LogSink(2), level='info', as_json=True))\n"
        "    await signer.start()\n"
        "    print(signer.process_id, flush=True)\n"
        "    while True:\n"
        "        await asyncio.gather(*(signer.sign(b'work') for _ in range(100)))\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "key.pem")]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    wait_until(lambda: not is_running(child))
