"""The documents of models keep up with the catalogue and its command, in both languages."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from pydantic import BaseModel

from minimon_server.catalog import entries
from minimon_server.catalog.command import STATUSES, parse
from minimon_server.catalog.reading import read_catalogue
from tests.support import HOME

DOCUMENTS = ("docs/models.md", "docs/models.fr.md")


@pytest.mark.parametrize("name", [*DOCUMENTS, "README.md", "README.fr.md"])
def test_each_command_that_is_written_can_be_given(name: str) -> None:
    catalogue = read_catalogue((HOME / "models" / "catalog.toml").read_bytes())
    found = re.findall(r"python (download_models\.py[^`\n]*)", (HOME / name).read_text("utf-8"))
    assert found
    for line in found:
        options = parse(shlex.split(line, comments=True)[1:])
        assert {*options.model} <= {model.id for model in catalogue.model}
        assert {*options.lora} <= {lora.id for lora in catalogue.lora}
        assert {*options.part} <= {part.id for part in catalogue.part}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_member_and_status_is_explained(name: str) -> None:
    text = (HOME / name).read_text("utf-8")
    tables: dict[str, type[BaseModel]] = {
        "[[model]]": entries.ModelEntry,
        "[[lora]]": entries.LoraEntry,
        "source": entries.Source,
        "defaults": entries.Defaults,
    }
    for title, kind in tables.items():
        table = re.split(rf"^\| `{re.escape(title)}` \| (?:meaning|sens) \|$", text, flags=re.MULTILINE)[1]
        named = re.findall(r"^\| (`.*?`) \|", table.split("\n\n", 1)[0], re.MULTILINE)
        assert {word for cell in named for word in re.findall(r"`(\w+)`", cell)} == set(kind.model_fields)
    (part,) = re.findall(r"`\[\[part\]\]`.*", text)
    assert set(entries.PartEntry.model_fields) <= set(re.findall(r"`([a-z_]+)`", part))
    statuses = set(re.findall(r"^\| (\d+) \|", text, re.MULTILINE))
    assert statuses == set(re.findall(r"(?:^|: |; )(\d+)\b", STATUSES.replace("\n", " ").split("environment")[0]))


def test_both_languages_have_the_same_chapters_and_commands() -> None:
    english, french = ((HOME / name).read_text("utf-8") for name in DOCUMENTS)
    for pattern in (r"^#+ ", r"^```\w*", r"^python .*", r"^\| `?[\w\[\]`, ]+ \|", r"^- "):
        ours, theirs = (re.findall(pattern, text, re.MULTILINE) for text in (english, french))
        assert len(ours) == len(theirs)
    assert re.findall(r"^python .*", english, re.MULTILINE) == re.findall(r"^python .*", french, re.MULTILINE)


def test_the_command_needs_nothing_that_draws() -> None:
    program = "import download_models, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "diffusers", "safetensors", "PIL", "huggingface_hub"} & set(done.stdout.split())
