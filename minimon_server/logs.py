"""The log: what a line looks like and who writes it. Knows nothing of requests, and never blocks its caller.

A line is rendered where it is logged and written by a thread of its own, so that a slow terminal or a stuck pipe
costs lines (counted, and told later), never a request.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, WrappedLogger

from minimon_server.times import Clock

LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "critical": 50}
PENDING_BYTES_LIMIT: Final = 16 * 1024 * 1024
# The writer waits this long after the first line of a burst: one write carries many lines, and under load the
# interpreter lock changes hands 50 times a second instead of once a request.
GATHER_SECONDS: Final = 0.02

Logger = FilteringBoundLogger


class LogSink:
    """Owns the file descriptor that lines go to, and the thread that writes them.

    `write` takes whole lines as bytes and returns at once. When more than 16 MiB wait unwritten, further lines are
    lost and counted; a line that tells how many is written as soon as there is room.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._pending = 0
        self._lost = 0
        self.lost_lines = 0  # since the start, told or not
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._unread = False
        self._writing = False
        self._torn = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue one line (without its newline) for the writer thread."""
        with self._lock:
            if self._unread or self._pending > PENDING_BYTES_LIMIT:
                self._lost += 1
                self.lost_lines += 1
                return
            self._pending += len(line)
            self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, seconds: float = 2.0) -> bool:
        """Wait until what is queued now is written; return False when that took longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self._lock:
                if not self._lines and not self._writing:
                    return True
            time.sleep(0.001)
        return False

    def close(self, seconds: float = 2.0) -> None:
        """Write what is queued and stop, waiting at most `seconds` for a reader that does not read."""
        self._closing = True
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._closing:
                time.sleep(GATHER_SECONDS)
            # Read before the queue is emptied: every line queued before `close` is then in this round or an earlier.
            closing = self._closing
            self._wake.clear()
            self._drain()
            if closing:
                return

    def _drain(self) -> None:
        with self._lock:
            lines = list(self._lines)
            self._writing = True
            self._lines.clear()
            self._pending = 0
            lost, self._lost = self._lost, 0
        if lost:
            line = {"level": "warning", "event": "log lines lost: the reader is too slow", "lines": lost}
            lines.append(orjson.dumps(line))
        lines.append(b"")
        try:
            data = memoryview((b"\n" if self._torn else b"") + b"\n".join(lines))
            while data:
                data = data[self._write_some(data) :]
            self._torn = False
        except OSError as error:
            # A closed pipe has no reader left who could be told. A full disk may have room again: the lines are
            # counted, and the next that can be written begins a line of its own.
            self._unread = error.errno in (errno.EPIPE, errno.EBADF)
            self._torn = True
            with self._lock:
                self._lost += len(lines) - 1 + lost
        finally:
            self._writing = False

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Somebody made our standard output non-blocking; this thread has the time to wait.
            time.sleep(GATHER_SECONDS)
            return 0


class Lines:
    """Renders events as ASCII lines and hands them to the sink: the structlog logger and the request log end here."""

    def __init__(
        self, sink: LogSink, *, level: str, as_json: bool, secrets: Sequence[str] = (), clock: Clock | None = None
    ) -> None:
        """`level` is a key of `LEVELS`, in either case; `secrets` become `***` wherever a value holds one."""
        self._write = sink.write
        self._threshold = LEVELS[level.lower()]
        self._render = _json_line if as_json else _text_line
        self._secrets = tuple(form for secret in secrets if secret for form in _forms(secret))
        self._now = (clock or Clock()).now_ms

    def tell(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Write one line, if its level ("debug" to "error") is high enough; a field `exception` may hold one.

        The request log calls this directly: a line a request should cost a few microseconds, not ten.
        """
        if LEVELS[level] < self._threshold:
            return
        line: dict[str, Any] = {"time": self._now(), "level": level, "event": event, **fields}
        if isinstance(error := line.get("exception"), BaseException):
            line["exception"] = "".join(traceback.format_exception(error))
        if self._secrets:
            for name, value in line.items():
                if isinstance(value, str):
                    line[name] = _redacted(value, self._secrets)
        self._write(self._render(line))

    def logger(self) -> Logger:
        """Return a structlog logger that writes through this."""
        wrapper = structlog.make_filtering_bound_logger(self._threshold)
        logger = structlog.wrap_logger(
            self, processors=[_as_arguments], wrapper_class=wrapper, cache_logger_on_first_use=True
        )
        return cast("Logger", logger.bind())

    # structlog calls the method named after the level; `_as_arguments` puts the level first.
    debug = info = warning = error = critical = tell


def _as_arguments(_: WrappedLogger, level: str, event: MutableMapping[str, Any]) -> tuple[tuple[object, ...], Any]:
    return (level, event.pop("event", ""), event), {}


class StandardLibraryBridge(logging.Handler):
    """Carries the records of libraries that use `logging` (uvicorn, asyncio, warnings) into our log."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log one foreign record with its logger's name, and its exception if it has one."""
        extra: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1]:
            extra["exception"] = record.exc_info[1]
        try:
            message = record.getMessage().strip()
        except (TypeError, ValueError):
            message = repr(record.msg)
        self._logger.log(min(record.levelno, logging.ERROR) // 10 * 10, "%s", message, **extra)


def adopt_standard_library(logger: Logger) -> None:
    """Make `logging`'s root and warnings speak through our log, and nothing else; uvicorn only from WARNING on."""
    root = logging.getLogger()
    root.handlers[:] = [StandardLibraryBridge(logger)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.propagate = True
        library.setLevel(logging.WARNING)


def _forms(secret: str) -> list[str]:
    """Return the ways in which a client may write a secret into a path or a body: bare, quoted, escaped, misread."""
    quoted = quote(secret, safe="")
    lower = re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    escaped = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    misread = [secret.encode("utf-8").decode("latin-1")]
    if all(ord(mark) < 256 for mark in secret):
        misread.append(secret.encode("latin-1").decode("utf-8", "backslashreplace"))
    forms = [secret, quoted, lower, quote(secret), quote_plus(secret), *escaped, *misread]
    return sorted(set(forms), key=len, reverse=True)


def _redacted(value: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret in value:
            value = value.replace(secret, "***")
    return value


def _json_line(line: dict[str, Any]) -> bytes:
    try:
        rendered = orjson.dumps(line, default=repr)
        if rendered.isascii() and b"\x7f" not in rendered:
            return rendered
    except TypeError:
        pass  # a lone surrogate (a file name that is not UTF-8, say) or an odd key: the slow way takes both
    # Terminals obey C1 controls and bidirectional marks, which JSON may carry bare: spell them out.
    return json.dumps(line, ensure_ascii=True, default=repr).replace("\x7f", "\\u007f").encode("ascii")


def _text_line(line: dict[str, Any]) -> bytes:
    event = str(line.pop("event"))
    head = f"{line.pop('time')} {line.pop('level'):<7} {event if _is_plain(event) else _value(event)}"
    tail = "".join(f" {name}={_value(value)}" for name, value in line.items())
    return (head + tail).encode("ascii")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _value(value: object) -> str:
    text = str(value)
    if text and _is_plain(text) and not any(mark in text for mark in ' ="'):
        return text
    return json.dumps(text).replace("\x7f", "\\u007f")
