"""What can be checked of the image, the compose file and the systemd unit where none of them can run."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from minimon_server.engines.on_demand import NEEDED
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


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return what each stage of the Dockerfile does, with all that the stages under it did before."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for one in instructions():
        if one[0] == "FROM":
            base, _, name = one[1].split()
            found[name] = list(found.get(base, []))
        found[name].append(one)
    return found


def copied() -> list[str]:
    sources: list[str] = []
    for name, arguments in instructions():
        if name in ("COPY", "ADD") and not arguments.startswith("--from="):
            sources += shlex.split(arguments)[:-1]
    return sources


def test_everything_that_is_copied_is_there_and_nothing_secret_is() -> None:
    lists = {"requirements.txt", "requirements-light.txt"}
    programs = {"minimon_server", "gen_server.py", "gen-server.py", "download_models.py"}
    assert programs | {"minimon", "models/catalog.toml", "models/minimon-tiny", "models/loras"} | lists == set(copied())
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
    modules = {path for path in tracked if path.startswith(("minimon_server/", "gen", "download"))}
    assert {path.split("/")[0] for path in modules} <= set(copied())


def test_git_takes_the_catalogue_and_the_shipped_model_and_no_other() -> None:
    if not (HOME / ".git").exists():
        pytest.skip("not a git checkout")

    def is_ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=HOME, check=False).returncode == 0

    assert not is_ignored("models/catalog.toml")
    assert not is_ignored("models/minimon-tiny/unet/diffusion_pytorch_model.safetensors")
    assert not is_ignored("models/loras/ink.safetensors")
    assert is_ignored("models/loras/other.safetensors")
    assert is_ignored("models/sdxl-base/model_index.json")
    assert is_ignored("models/minimon-tiny.safetensors")


def test_the_default_target_is_the_slim_server_and_not_root() -> None:
    stage = stages()["server"]
    assert list(stages())[-1] == "server"
    assert stage[0] == ("FROM", "python:3.11-slim AS program")
    assert stage[-1] == ("COPY", "--from=packages /venv /venv")
    assert "requirements.txt" not in str(stages()["packages"])
    (user,) = [arguments for name, arguments in stage if name == "USER"]
    assert all(int(number) >= 1000 for number in user.split(":"))
    told = dict(stage)
    assert told["WORKDIR"] == "/app"
    assert told["EXPOSE"].split() == [PORTS["MINIMON_PORT"], PORTS["MINIMON_HTTP_PORT"]]
    assert "MINIMON_HOST=0.0.0.0" in told["ENV"]
    assert f"http://127.0.0.1:{PORTS['MINIMON_HTTP_PORT']}/health" in told["HEALTHCHECK"]
    assert "TOKEN" not in "".join(arguments for _, arguments in instructions())
    assert told["CMD"] == '["python", "gen-server.py"]'


def test_the_gpu_target_is_the_same_server_with_the_whole_list() -> None:
    gpu, server = stages()["gpu"], stages()["server"]
    shared = len(stages()["program"])
    assert gpu[:shared] == server[:shared]
    assert gpu[-3] == ("COPY", "--from=gpu-packages /venv /venv")
    # The static server needs no weights.
    assert [arguments.split()[0] for _, arguments in gpu[-2:]] == ["models/minimon-tiny", "models/loras"]
    assert [arguments for name, arguments in gpu if name == "USER"][-1] == "1000:1000"
    assert any(name == "RUN" and "gcc" in arguments.split() for name, arguments in gpu), "triton needs a C compiler"
    (torch,) = [line for line in (HOME / "requirements.txt").read_text().splitlines() if line.startswith("torch==")]
    assert any(f"pip install {torch} --index-url" in arguments for _, arguments in stages()["gpu-packages"])
    assert ("RUN", "/venv/bin/pip install -r /tmp/requirements.txt") in stages()["gpu-packages"]
    compose: dict[str, Any] = yaml.safe_load((HOME / "compose.gpu.yaml").read_text())
    assert compose["services"]["api"]["build"]["target"] == "gpu"
    assert set(compose["services"]["api"]["environment"]) <= set(PORTS)
    assert set(compose["services"]) == set(yaml.safe_load((HOME / "compose.yaml").read_text())["services"])


def test_the_light_list_is_the_whole_one_without_what_draws() -> None:
    light, whole, checks = ((HOME / f"requirements{name}.txt").read_text() for name in ("-light", "", "-dev"))
    assert "-r requirements-light.txt" in whole
    assert "-r requirements.txt" in checks
    names = [set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)) for text in (light, whole, checks)]
    assert not names[0] & names[1], "one place for one pin"
    assert not (names[0] | names[1]) & names[2]
    assert set(NEEDED) <= names[1]
    assert "torch==2.13.0\n" in whole


def test_every_package_that_the_server_brings_along_is_pinned() -> None:
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^;\s]+)", both_lists(), re.MULTILINE))
    for name in pinned:
        if name == "uvloop" and sys.platform == "win32":
            continue
        for line in importlib.metadata.requires(name) or []:
            needed = re.match(r"[\w.-]+", line)
            marker = line.partition(";")[2]
            if needed and not marker:
                assert needed[0].lower().replace("_", "-") in pinned, f"{name} brings {line}"


def both_lists() -> str:
    return "".join((HOME / name).read_text() for name in ("requirements-light.txt", "requirements.txt"))


@pytest.mark.parametrize("target", ["run", "run-light", "test"])
def test_make_installs_the_list_that_its_target_needs(target: str, tmp_path: Path) -> None:
    command = ["make", "-n", f"VENV={tmp_path / 'venv'}", target]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True)
    lists = re.findall(r"pip install .* -r (\S+)", done.stdout)
    assert lists == [
        {"run": "requirements.txt", "run-light": "requirements-light.txt", "test": "requirements-dev.txt"}[target]
    ]


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
    assert api["build"]["target"] == "server"
    assert api["healthcheck"]["test"][-1] in dict(stages()["server"])["HEALTHCHECK"]


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
