"""Who signs: at once or in a process of its own, in order, beside a loop that goes on."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from minimon_server.errors import SigningUnavailable
from minimon_server.scores.signer import InlineSigner, ProcessSigner, make_signer
from tests.scores.openssl import KINDS, needs_openssl
from tests.scores.signer_scene import Log, is_running, key_of, outcomes, signing

pytestmark = [needs_openssl, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture
def log(tmp_path: Path) -> Any:
    made = Log(tmp_path)
    yield made
    made.sink.close()


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_suits_the_key_signs_in_the_order_of_the_calls(kind: str, log: Log) -> None:
    key = key_of(kind)

    async def scene() -> None:
        signer = make_signer(key, log.lines)
        assert isinstance(signer, InlineSigner) is (kind in ("P-256", "Ed25519"))
        await signer.start()
        messages = [f"message {number}".encode() * (number * 37 % 500) for number in range(40)]
        signatures = await outcomes(*(signer.sign(message) for message in messages))
        for message, signature in zip(messages, signatures, strict=True):
            assert isinstance(signature, bytes)
            assert key.public.verify(signature, message, key.public.native_format)
        await signer.close()
        await signer.close()
        if isinstance(signer, ProcessSigner):
            assert signer.process_id is None
            with pytest.raises(SigningUnavailable):
                await signer.sign(b"too late")

    asyncio.run(scene())
    assert log.text() == ""


def test_who_signs_at_once_needs_no_loop() -> None:
    key = key_of("Ed25519")
    assert key.public.verify(InlineSigner(key).sign_now(b"now"), b"now", "raw")


def test_the_key_is_in_no_argument_and_no_variable(log: Log) -> None:
    key = key_of("RSA-2048")

    async def scene() -> None:
        async with signing(key, log) as signer:
            place = Path(f"/proc/{signer.process_id}")
            arguments = (place / "cmdline").read_bytes().split(b"\0")[:-1]
            assert arguments == [sys.executable.encode(), b"-m", b"minimon_server.scores.signer_process"]
            secret = key.pkcs8()[40:80]
            for form in (secret, secret.hex().encode(), base64.b64encode(secret[2:])):
                assert form not in (place / "environ").read_bytes()

    asyncio.run(scene())


def test_signals_of_a_terminal_and_of_a_service_manager_do_not_end_it(log: Log) -> None:
    key = key_of("Ed448")

    async def scene() -> None:
        async with signing(key, log) as signer:
            process = signer.process_id
            assert process
            for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(process, one)
            assert key.public.verify(await signer.sign(b"still here"), b"still here", "raw")
            assert signer.process_id == process

    asyncio.run(scene())
    assert log.text() == ""


def test_what_was_asked_for_is_answered_at_the_end(log: Log) -> None:
    key = key_of("RSA-4096")

    async def scene() -> None:
        async with signing(key, log) as signer:
            process = signer.process_id
            calls = [asyncio.ensure_future(signer.sign(bytes([number]))) for number in range(50)]
            given_up = asyncio.ensure_future(signer.sign(b"given up"))
            await asyncio.sleep(0)
            given_up.cancel()
        for number, call in enumerate(calls):
            assert key.public.verify(call.result(), bytes([number]), "raw")
        assert process
        assert not is_running(process)

    asyncio.run(scene())
    assert log.text() == ""


def test_a_message_beyond_a_frame_is_refused_at_once(log: Log) -> None:
    async def scene() -> None:
        async with signing(key_of("RSA-2048"), log) as signer:
            with pytest.raises(ValueError, match="more than a frame holds"):
                await signer.sign(b"x" * 1_048_577)

    asyncio.run(scene())


def test_the_loop_goes_on_while_a_slow_key_signs(log: Log) -> None:
    """Other work of the loop is done while signatures are still being made: nothing here waits for them."""
    key = key_of("RSA-4096")

    async def scene() -> None:
        async with signing(key, log) as signer:
            assert signer.process_id
            os.kill(signer.process_id, signal.SIGSTOP)
            call = asyncio.ensure_future(signer.sign(b"slow"))
            for _ in range(1000):
                await asyncio.sleep(0)
            assert not call.done()
            os.kill(signer.process_id, signal.SIGCONT)
            assert key.public.verify(await call, b"slow", "raw")

    asyncio.run(scene())
