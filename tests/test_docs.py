"""The documents keep up with the code: settings and defaults, routes, error codes, dependencies, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minimon_server import errors
from minimon_server.environment import variables
from minimon_server.errors import MinimonError
from minimon_server.jobs import errors as job_errors
from minimon_server.web.gate import Face
from tests.support import HOME, app_under_test

READMES = ("README.md", "README.fr.md")


@pytest.fixture(params=READMES)
def readme(request: pytest.FixtureRequest) -> str:
    return (HOME / str(request.param)).read_text("utf-8")


def test_every_setting_stands_in_the_table_with_its_default(readme: str) -> None:
    rows = dict(re.findall(r"^\| `(MINIMON_\w+)` \| (?:`([^`]*)`)? ?\|", readme, re.MULTILINE))
    expected = {variable.name: variable.default for variable in variables()}
    expected["MINIMON_IMAGES_DIR"] = "./minimon"  # as people write a folder
    assert rows == expected


def test_every_route_has_a_heading_and_a_curl(readme: str, tmp_path: Path) -> None:
    with app_under_test(tmp_path) as bench:
        for route in bench.app.routes:
            assert isinstance(route, Face)
            (method,) = (route.methods or set()) - {"HEAD"}
            assert f"### `{method} {route.path}`" in readme
            called = re.sub(r"\{(\w+)\}", lambda found: "$" + found[1].upper(), route.path)
            assert re.search(rf"curl .*{re.escape(called)}", readme)


def test_every_error_code_is_explained(readme: str) -> None:
    for one in [*vars(errors).values(), *vars(job_errors).values()]:
        if isinstance(one, type) and issubclass(one, MinimonError):
            assert f"`{one.code}`" in readme


def test_every_direct_dependency_has_its_reason(readme: str) -> None:
    for file in ("requirements-light.txt", "requirements.txt"):
        requirements = (HOME / file).read_text().partition("# What those bring")[0]
        for name in re.findall(r"^([a-z0-9-]+)==", requirements, re.MULTILINE):
            assert f"| {name} |" in readme


def test_every_link_to_a_file_leads_somewhere(readme: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert target.startswith("https://") or (HOME / target).exists(), target


def test_both_languages_have_the_same_chapters_and_commands() -> None:
    english, french = ((HOME / name).read_text("utf-8") for name in READMES)
    for pattern in (r"^#+ ", r"^```\w*", r"^curl .*", r"^\| `MINIMON_\w+`"):
        ours, theirs = (re.findall(pattern, text, re.MULTILINE) for text in (english, french))
        assert [item.replace(" -H 'Accept-Language: en'", "") for item in ours] == theirs


def test_every_direct_dependency_is_pinned() -> None:
    for name in (
        "requirements-light.txt",
        "requirements.txt",
        "requirements-dev.txt",
        "bench/requirements.txt",
        "bench/gpu/requirements.txt",
        "tests/torture/requirements.txt",
    ):
        for line in (HOME / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert re.match(r"[a-z0-9-]+==[\w.]+(;.*)?$", line), line
