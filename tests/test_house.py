"""The rules of the house, read from the code itself: who may import whom, how long things may be, what stays out."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
PACKAGE = HOME / "minimon_server"
GROUND = {"disk", "settings", "setting_types", "environment", "errors", "logs", "terminal", "times", "__init__"}
GROUND |= {"acceleration_settings", "beside", "json_mistakes", "rebirth", "toml_lines"}
# A room may import the rooms to its right, and the ground.
ROOMS = {
    "web": {"jobs", "creatures", "scores", "catalog"},
    "jobs": {"creatures", "scores", "catalog", "engines"},
    "creatures": {"engines"},
    "scores": set[str](),
    "catalog": {"engines"},
    "engines": set[str](),
}
ONLY_ENGINES = {"torch", "diffusers", "transformers", "torchao", "peft"}
DATA_FOLDERS = {"minimon", "models", "data", "certs"}
LONGEST_FILE = 300
LONGEST_FUNCTION = 45
POOR_NAMES = ("util", "helper", "manager", "common", "misc")


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((HOME / folder).rglob("*.py"))]
    return [*found, HOME / "gen_server.py", HOME / "gen-server.py", HOME / "download_models.py"]


EVERYTHING = sources("minimon_server", "tests", "tools", "bench")
PRODUCT = sources("minimon_server")


def identity(path: Path) -> str:
    return str(path.relative_to(HOME))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the dotted name of every import in a file, wherever it stands, with its line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=identity)
def test_imports_point_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    room = parts[0] if len(parts) > 1 else None
    if room is None:
        assert parts[0] in GROUND, f"{path} lies on the ground without being listed there"
    allowed = {room, *ROOMS[room], *GROUND} if room else GROUND
    for name, line in imports(path):
        if name.startswith("minimon_server."):
            target = name.split(".")[1]
            if (PACKAGE / target).is_dir() or (PACKAGE / f"{target}.py").exists():
                assert target in allowed, f"{path}:{line} imports {name}"
        assert not name.startswith(("gen_server", "tests", "tools", "bench")), f"{path}:{line} imports {name}"


def test_the_ground_stands_on_nothing() -> None:
    for name in ("setting_types", "errors", "times"):
        ours = {one for one, _ in imports(PACKAGE / f"{name}.py") if one.startswith("minimon_server")}
        assert not ours, f"{name} imports {ours}"


def test_heavy_libraries_live_under_engines_alone() -> None:
    for path in PRODUCT:
        if PACKAGE / "engines" not in path.parents:
            heavy = {name for name, _ in imports(path) if name.split(".")[0] in ONLY_ENGINES}
            assert not heavy, f"{path} imports {heavy}"


def test_folders_of_data_are_never_imported() -> None:
    for path in EVERYTHING:
        data = {name for name, _ in imports(path) if name.split(".")[0] in DATA_FOLDERS}
        assert not data, f"{path} imports {data}"
    assert not DATA_FOLDERS & set(sys.modules)
    assert not [path for folder in DATA_FOLDERS for path in (HOME / folder).rglob("*.py")]


def test_only_the_root_reads_the_environment() -> None:
    for path in PRODUCT:
        if path.name not in ("gen_server.py", "download_models.py"):
            text = path.read_text("utf-8")
            assert "os.environ" not in text, path
            assert "getenv" not in text, path


def test_files_and_functions_are_short_and_say_what_they_own() -> None:
    assert [fault for path in EVERYTHING for fault in faults_of(path)] == []


def faults_of(path: Path) -> Iterator[str]:
    """Yield what is against the rules in a file of Python."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    if len(text.splitlines()) > LONGEST_FILE:
        yield f"{path} has {len(text.splitlines())} lines"
    if not ast.get_docstring(tree) or not text.startswith('"""'):
        yield f"{path}: its first line does not say what it owns"
    if any(poor in path.stem for poor in POOR_NAMES):
        yield f"{path}: a poor name"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{path}: {node.name} has {length} lines"
        if isinstance(node, ast.ClassDef) and any(poor in node.name.lower() for poor in POOR_NAMES):
            yield f"{path}: {node.name}"


@pytest.mark.parametrize("path", PRODUCT, ids=identity)
def test_what_is_public_is_documented(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            private = node.name.startswith("_")
            nested = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.col_offset > 4
            assert private or nested or node.col_offset or ast.get_docstring(node), f"{node.name} has no docstring"


def test_nothing_is_swallowed() -> None:
    for path in sources("minimon_server", "bench", "tools"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno} catches everything"
                broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
                if broad:
                    assert not all(isinstance(one, ast.Pass) for one in node.body), f"{path}:{node.lineno} swallows"
