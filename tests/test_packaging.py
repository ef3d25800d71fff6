"""What can be checked of the image, the compose file and the systemd unit where none of them can run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from minimon_server.environment import variables
from tests.support import HOME

PORTS = {variable.name: variable.default for variable in variables()}
GRACE = int(PORTS["MINIMON_SHUTDOWN_GRACE"])
UNIT = HOME / "packaging" / "minimon.service"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments, comments gone and lines joined."""
    lines = [line for line in (HOME / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(words[0], words[2]) for line in joined.splitlines() if (words := line.partition(" "))[0]]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def copied() -> list[str]:
    sources: list[str] = []
    for name, arguments in instructions():
        if name in ("COPY", "ADD") and not arguments.startswith("--from="):
            sources += shlex.split(arguments)[:-1]
    return sources


def test_everything_that_is_copied_is_there_and_nothing_secret_is() -> None:
    assert {"minimon_server", "minimon", "gen_server.py", "gen-server.py", "requirements.txt"} == set(copied())
    for source in copied():
        assert (HOME / source).exists(), source
    ignored = (HOME / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    assert let_in == set(copied())
    assert {"**/*.pem", "**/*.key"} <= set(ignored[ignored.index("!minimon") :])


def test_every_file_that_the_program_reads_is_in_the_image() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=HOME, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    modules = {path for path in tracked if path.startswith(("minimon_server/", "gen"))}
    assert {path.split("/")[0] for path in modules} <= set(copied())


def test_the_default_target_is_the_slim_server_and_not_root() -> None:
    stage = last_stage()
    assert stage[0] == ("FROM", "python:3.11-slim AS server")
    (user,) = [arguments for name, arguments in stage if name == "USER"]
    assert all(int(number) >= 1000 for number in user.split(":"))
    told = dict(stage)
    assert told["WORKDIR"] == "/app"
    assert told["EXPOSE"].split() == [PORTS["MINIMON_PORT"], PORTS["MINIMON_HTTP_PORT"]]
    assert "MINIMON_HOST=0.0.0.0" in told["ENV"]
    assert f"http://127.0.0.1:{PORTS['MINIMON_HTTP_PORT']}/health" in told["HEALTHCHECK"]
    assert "TOKEN" not in "".join(arguments for _, arguments in instructions())
    assert told["CMD"] == '["python", "gen-server.py"]'


def test_the_compose_file_opens_this_machine_alone() -> None:
    compose: dict[str, Any] = yaml.safe_load((HOME / "compose.yaml").read_text())
    (api,) = compose["services"].values()
    assert list(compose["services"]) == ["api"]
    assert api["working_dir"] == "/app"
    assert all(port.startswith("127.0.0.1:") for port in api["ports"])
    assert {port.rpartition(":")[2] for port in api["ports"]} == {PORTS["MINIMON_PORT"], PORTS["MINIMON_HTTP_PORT"]}
    assert api["volumes"] == [f"./{name}:/app/{name}" for name in ("models", "data", "certs")]
    assert api["read_only"] is api["init"] is True
    assert not api["user"].startswith(("0", "root"))
    assert set(api["environment"]) <= set(PORTS)
    assert int(api["stop_grace_period"].removesuffix("s")) > GRACE
    assert api["build"]["target"] in dict(last_stage())["FROM"]
    assert api["healthcheck"]["test"][-1] in dict(last_stage())["HEALTHCHECK"]


def test_the_unit_gives_more_time_than_the_grace_and_no_rights() -> None:
    lines = UNIT.read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith(("#", "Environment")))
    assert int(told["TimeoutStopSec"]) > GRACE
    # Only what the main process returns keeps systemd from starting again.
    assert (told["RestartPreventExitStatus"], [line for line in lines if line.startswith("ExecStartPre")]) == ("2", [])
    assert (told["DynamicUser"], told["Restart"], told["CapabilityBoundingSet"]) == ("yes", "on-failure", "")
    assert set(re.findall(r"^Environment=(MINIMON_\w+)", UNIT.read_text(), re.MULTILINE)) <= set(PORTS)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    # The program stands elsewhere here; that it is there is for whoever installs it.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/minimon/.venv/bin/python", "/usr/bin/env"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
