"""The log: one ASCII line an event, no secret, no line broken, and a caller that never waits."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from minimon_server.logs import Lines, LogSink, adopt_standard_library
from minimon_server.times import Clock

HOSTILE = 'a\nb\r\x1b[31m\x7f\x9b\u202e\u2028"=\\ \ud800 é'
Reader = Callable[[], str]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[tuple[LogSink, Reader]]:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    sink = LogSink(descriptor)

    def read() -> str:
        assert sink.flush()
        return path.read_bytes().decode("ascii")

    yield sink, read
    sink.close()
    os.close(descriptor)


@pytest.mark.parametrize("as_json", [True, False])
def test_hostile_text_breaks_no_line(sink: tuple[LogSink, Reader], as_json: bool) -> None:
    writer, read = sink
    log = Lines(writer, level="INFO", as_json=as_json).logger()
    log.info("event", value=HOSTILE, **{"na me": "x"})
    log.info(HOSTILE)
    lines = read().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_json_lines_keep_what_was_said(sink: tuple[LogSink, Reader]) -> None:
    writer, read = sink
    log = Lines(writer, level="INFO", as_json=True, clock=Clock(lambda: 1_762_980_092.5)).logger()
    log.info("event", value="é\n", number=3, nothing=None)
    assert json.loads(read()) == {
        "time": "2025-11-12T20:41:32.500Z",
        "level": "info",
        "event": "event",
        "value": "é\n",
        "number": 3,
        "nothing": None,
    }


def test_text_lines_are_readable(sink: tuple[LogSink, Reader]) -> None:
    writer, read = sink
    log = Lines(writer, level="INFO", as_json=False, clock=Clock(lambda: 0)).logger()
    log.warning("two words", path="/v1/generate", reason="not found", empty="")
    assert read() == '1970-01-01T00:00:00.000Z warning two words path=/v1/generate reason="not found" empty=""\n'


def test_levels_below_the_setting_are_not_written(sink: tuple[LogSink, Reader]) -> None:
    writer, read = sink
    log = Lines(writer, level="WARN", as_json=True).logger()
    log.info("no")
    log.debug("no")
    log.warning("yes")
    log.error("yes")
    assert [json.loads(line)["event"] for line in read().splitlines()] == ["yes", "yes"]


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_never_show(sink: tuple[LogSink, Reader], as_json: bool) -> None:
    writer, read = sink
    log = Lines(writer, level="INFO", as_json=as_json, secrets=["hush", "sésame"]).logger()
    log.info("say hush", path="/hush/sésame", exception=ValueError("sésame was wrong"))
    text = read()
    assert "hush" not in text
    assert "same" not in text
    assert text.count("***") == 4


def test_an_exception_brings_its_traceback_on_one_line(sink: tuple[LogSink, Reader]) -> None:
    writer, read = sink
    log = Lines(writer, level="INFO", as_json=True).logger()
    try:
        int("x")
    except ValueError as error:
        log.error("failed", exception=error)
    line = json.loads(read())
    assert "test_logs.py" in line["exception"]
    assert line["exception"].endswith("invalid literal for int() with base 10: 'x'\n")


def test_the_caller_never_waits_for_a_reader_that_does_not_read() -> None:
    reading, writing = os.pipe()
    sink = LogSink(writing)
    log = Lines(sink, level="INFO", as_json=True).logger()
    big = "x" * 1_000_000
    for _ in range(40):  # 40 MB into a pipe that nobody reads: were writing to block, this would hang for ever
        log.info("big", value=big)
    received = bytearray()

    def read() -> None:
        while chunk := os.read(reading, 1 << 20):
            received.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    log.info("last")
    assert sink.flush(20)
    log.info("after")
    sink.close()
    os.close(writing)
    reader.join()
    os.close(reading)
    lines = [json.loads(line) for line in received.decode().splitlines()]
    told = sum(line.get("lines", 0) for line in lines)
    written = sum(line["event"] == "big" for line in lines)
    assert told
    assert written + told in (40, 41)  # "last" may be among the lost
    assert lines[-1]["event"] == "after"


def test_a_reader_that_left_costs_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = LogSink(writing)
    log = Lines(sink, level="INFO", as_json=True).logger()
    log.info("into the void")
    assert sink.flush()
    log.info("again")
    sink.close()
    os.close(writing)


def test_a_non_blocking_descriptor_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sink = LogSink(writing)
    log = Lines(sink, level="INFO", as_json=True).logger()
    for _ in range(30):
        log.info("big", value="x" * 10_000)  # a pipe holds 64 KiB: most writes find it full
    received = bytearray()
    while received.count(b"\n") < 30:
        received.extend(os.read(reading, 1 << 16))
    sink.close()
    os.close(writing)
    os.close(reading)
    assert {json.loads(line)["event"] for line in received.decode().splitlines()} == {"big"}


def test_what_is_queued_at_the_end_is_written(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / str(attempt)
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        sink = LogSink(descriptor)
        log = Lines(sink, level="INFO", as_json=True).logger()
        log.info("first")
        log.info("last")
        sink.close()
        os.close(descriptor)
        assert path.read_text().count("\n") == 2


def test_other_libraries_speak_through_our_log(sink: tuple[LogSink, Reader]) -> None:
    writer, read = sink
    root, captured = logging.getLogger(), logging.getLogger("py.warnings")
    before = (root.handlers[:], root.level)
    try:
        adopt_standard_library(Lines(writer, level="INFO", as_json=True).logger())
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("uvicorn.error").info("not this")
        logging.getLogger("some.library").warning("%s of %s", 1, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    finally:
        logging.captureWarnings(False)
        root.handlers[:], root.level = before
        captured.handlers[:] = []
    lines = [json.loads(line) for line in read().splitlines()]
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("uvicorn.error", "warning"),
        ("some.library", "warning"),
        ("py.warnings", "warning"),
    ]
    assert lines[1]["event"] == "1 of 2"
    assert "old ways" in lines[2]["event"]


def test_a_full_disk_loses_lines_only_while_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sink = LogSink(descriptor)
    log = Lines(sink, level="INFO", as_json=True).logger()
    try:
        log.info("first")
        assert sink.flush()
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (200, before[1])
        )  # files may hold 200 bytes: EFBIG, as on a full disk
        log.info("too long", value="x" * 500)
        assert sink.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log.info("after")
        assert sink.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
        sink.close()
        os.close(descriptor)
    lines = path.read_text().splitlines()
    assert json.loads(lines[0])["event"] == "first"
    assert json.loads(lines[-2])["event"] == "after"
    assert json.loads(lines[-1])["lines"] == 1


@pytest.mark.parametrize("secret", ['jeu"x', "sésame ouvre-toi!", "a/b+c"])
def test_secrets_do_not_show_in_other_spellings(sink: tuple[LogSink, Reader], secret: str) -> None:
    writer, read = sink
    log = Lines(writer, level="INFO", as_json=True, secrets=[secret]).logger()
    quoted = quote(secret, safe="")
    spellings = [secret, quoted, quoted.lower(), quote_plus(secret), json.dumps(secret), json.dumps(secret).lower()]
    spellings.append(secret.encode("utf-8").decode("latin-1"))
    for spelling in spellings:
        log.info("path", path=f"/x/{spelling}/y", body=spelling)
    entries = [json.loads(line) for line in read().splitlines()]
    assert [entry["path"] for entry in entries if "***" not in entry["path"]] == []
