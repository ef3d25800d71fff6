"""What the person at the terminal reads: help, banner, warnings. The log has standard output; this is for the other."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Sequence

from minimon_server import __version__
from minimon_server.environment import variables
from minimon_server.settings import Settings


def say(text: str) -> None:
    """Print to standard error: standard output belongs to the log, and may be piped into `jq`."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # a full disk or a closed terminal: nobody is left to be told
            print(text, file=sys.stderr, flush=True)


def leave(status: int) -> None:
    """End the process at once if a thread of ours is still inside a library; return if there is none.

    Everything is written and closed by now. The interpreter would tear that thread down in the middle of native code,
    and C++ answers that with an abort: whoever ended the server would be told that it crashed.
    """
    if threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.flush()
        os._exit(status)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; `--help` and `--version` end the program, as does anything unknown (status 2)."""
    lines = [f"  {v.name} ({v.default or 'empty'})\n      {v.meaning}: {v.may_hold}" for v in variables()]
    parser = argparse.ArgumentParser(
        prog="gen-server.py",
        description="The Minimon server. Every setting is an environment variable.",
        epilog="settings, with their defaults:\n"
        + "\n".join(lines)
        + "\nLOG_* and OPENAI_* are read without MINIMON_ too. Documents: README.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--check", action="store_true", help="validate settings, pictures, certificate, keys and ledger, then end"
    )
    parser.add_argument("--version", action="version", version=f"Minimon {__version__}")
    return parser.parse_args(arguments)


def banner(settings: Settings) -> str:
    """Return where the server listens and one line to copy."""
    host = "localhost" if settings.is_local or settings.is_everywhere else settings.host
    host = f"[{host}]" if ":" in host else host
    http = f"\n  http://{host}:{settings.http_port}" if settings.http_port else ""
    token = ' -H "Authorization: Bearer $MINIMON_BEARER_TOKEN"' if settings.has_token else ""
    return (
        f"Minimon {__version__} listens on\n"
        f"  https://{host}:{settings.port}  (certificate: {settings.tls_cert_path}){http}\n"
        f"A creature of yours:\n"
        f"  curl -k{token} -H 'Accept: image/png' https://{host}:{settings.port}/v1/generate -o creature.png\n"
        f"Ctrl-C ends it."
    )


def warnings_about(settings: Settings) -> list[str]:
    """Return what in these settings works and is still no good idea."""
    found = []
    if not settings.is_local and not settings.has_token:
        found.append(
            f"the server listens on {settings.host} without MINIMON_BEARER_TOKEN: whoever reaches it may use it"
        )
    if settings.shows_api_key:
        found.append("OPENAI_API_KEY travels without TLS: whoever is on the way to OPENAI_BASE_URL can read it")
    return found
