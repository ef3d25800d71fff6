"""Says on what machine and with which versions a run was made; measures nothing."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
import ssl
import subprocess
from pathlib import Path

LIBRARIES = (
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "orjson",
    "cryptography",
    "fastapi",
    "pydantic",
)


def describe() -> str:
    """Return the facts about this run as lines of Markdown."""
    now = datetime.datetime.now(datetime.UTC)
    load = os.getloadavg()[0]
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    lines = (
        f"Measured {now:%Y-%m-%d %H:%M} UTC on {processor()}, {os.cpu_count()} cores, load average before {load:.2f}.",
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {versions}; {_tool('nginx')}; {_tool('wrk')}.",
    )
    return "\n".join(lines) + "\n"


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def version(name: str) -> str:
    """Return the version of an installed package, or that it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _tool(name: str) -> str:
    """Return the first words a program says of its version, or that it is not there."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if path is None:
        return f"{name} not installed"
    done = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=10, check=False)
    said = (done.stdout + done.stderr).split()
    return f"wrk {said[1]}" if name == "wrk" else said[-1].removeprefix("version:")
