"""The wire: pieces keep their order, leave together, and never pile up; over real sockets where bytes are concerned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from minimon_server.web.wire import GATHERED_BYTES, GatheringTransport


class Recorder(asyncio.Transport):
    """A transport that keeps what it is handed, batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[bytes]] = []
        self.ended = ""

    def writelines(self, list_of_data: Any) -> None:
        self.batches.append([bytes(piece) for piece in list_of_data])

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"


def on_recorder(act: Callable[[GatheringTransport], None]) -> tuple[list[list[bytes]], list[list[bytes]], str]:
    """Return what was handed over within the act, and in all, and how the transport ended."""

    async def scene() -> tuple[list[list[bytes]], list[list[bytes]], str]:
        recorder = Recorder()
        act(GatheringTransport(recorder, asyncio.get_running_loop()))
        at_once = list(recorder.batches)
        await asyncio.sleep(0)
        return at_once, recorder.batches, recorder.ended

    return asyncio.run(scene())


def test_the_pieces_of_one_turn_leave_as_one_batch() -> None:
    def act(wire: GatheringTransport) -> None:
        wire.write(b"head")
        wire.write(b"body")
        wire.writelines([b"tail", b"end"])

    assert on_recorder(act) == ([], [[b"head", b"body", b"tail", b"end"]], "")


def test_closing_sends_what_is_here_first() -> None:
    def act(wire: GatheringTransport) -> None:
        wire.write(b"last words")
        wire.close()

    assert on_recorder(act) == ([[b"last words"]], [[b"last words"]], "closed")


def test_aborting_drops_what_is_here() -> None:
    def act(wire: GatheringTransport) -> None:
        wire.write(b"never mind")
        wire.abort()
        wire.write(b"too late")

    assert on_recorder(act) == ([], [], "aborted")


def test_much_is_handed_over_at_once_so_that_a_slow_client_is_noticed() -> None:
    def act(wire: GatheringTransport) -> None:
        for _ in range(10):
            wire.write(b"x" * (GATHERED_BYTES // 2))

    at_once, in_all, _ = on_recorder(act)
    assert sum(len(piece) for batch in at_once for piece in batch) >= 4 * GATHERED_BYTES
    assert sum(len(piece) for batch in in_all for piece in batch) == 5 * GATHERED_BYTES


def test_bytes_arrive_whole_and_in_order_over_a_real_socket() -> None:
    sent = [bytes([number % 256]) * (number * 37 % 5000) for number in range(600)]

    class Speaker(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            wire = GatheringTransport(transport, asyncio.get_running_loop())
            for piece in sent:
                wire.write(piece)
            assert wire.get_extra_info("peername")
            wire.close()

    async def scene() -> bytes:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(Speaker, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            received = await reader.read()
            writer.close()
            await writer.wait_closed()
            return received

    assert asyncio.run(scene()) == b"".join(sent)
