"""A catalogue is read whole or not at all, and each mistake is told with its line and member."""

from __future__ import annotations

from pathlib import Path

import pytest

from minimon_server.catalog.reading import LARGEST, CatalogMistakes, read_catalogue
from minimon_server.toml_lines import line_of
from tests.support import HOME

MODEL = """schema = 1

[[model]]
id = "a"
name = "A"
kind = "diffusers"
"""
LORA = """
[[lora]]
id = "l"
name = "L"
"""


def told(text: str | bytes) -> list[str]:
    with pytest.raises(CatalogMistakes) as mistakes:
        read_catalogue(text.encode() if isinstance(text, str) else text)
    return list(mistakes.value.lines)


def test_the_shipped_one_is_right_and_says_what_is_pinned() -> None:
    read = read_catalogue((HOME / "models" / "catalog.toml").read_bytes())
    assert [model.id for model in read.model] == ["sdxl-base", "pony-xl-v6", "sdxl-turbo", "minimon-tiny"]
    assert [lora.id for lora in read.lora] == ["style-anime", "character-detailed", "ink", "synthwave", "watercolour"]
    assert [model.source.is_pinned for model in read.model] == [True, True, True, False]
    assert not any(lora.source.is_known for lora in read.lora)
    assert [lora.source.is_pinned for lora in read.lora] == [False, False, True, True, True]
    assert read.model[1].loras == ("style-anime", "character-detailed")
    assert (read.lora[0].default_weight, read.lora[0].trigger_words) == (0.75, ("anime style", "detailed"))
    assert (read.lora[1].default_weight, read.lora[1].trigger_words) == (0.6, None)
    assert all(part.source.is_pinned for part in read.part)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (MODEL + 'steps = "x"\n', "line 7: model a: steps: is no member; there are: id, name, base, licence"),
        (MODEL + "license = 'MIT'\n", "line 7: model a: license: is no member; did you mean licence?"),
        (MODEL + "[model.defaults]\nsteps = '30'\n", "line 8: model a: defaults.steps: Input should be a valid int"),
        (MODEL + "[model.defaults]\nsteps = true\n", "line 8: model a: defaults.steps: Input should be a valid int"),
        (MODEL + "defaults.steps = 0\n", "line 7: model a: defaults.steps: Input should be greater than or equal to 1"),
        (MODEL + "defaults = {steps = 0}\n", "line 7: model a: defaults.steps: Input should be greater"),
        (MODEL + "[model.defaults]\nstep = 3\n", "line 8: model a: defaults.step: is no member; did you mean steps?"),
        (MODEL + "[model.defaults]\nguidance_scale = nan\n", "line 8: model a: defaults.guidance_scale: Input"),
        (MODEL + "[model.defaults]\nscheduler = 'k'\n", "line 8: model a: defaults.scheduler: there is no such"),
        (MODEL + "[model.defaults]\nwidth = 100\n", "line 8: model a: defaults.width: Input should be a multiple of 8"),
        (MODEL + "[model.defaults]\nprompt_prefix = \"a\\u0000\"\n", "line 8: "),
        (MODEL.replace('"a"', '"../a"'), "line 4: model ../a: id: String should match pattern"),
        (MODEL.replace('"a"', '"a/b"'), "line 4: model a/b: id: String should match pattern"),
        (MODEL.replace('"a"', '".."'), "line 4: model ..: id: String should match pattern"),
        (MODEL.replace('"a"', '""'), "line 4: model : id: String should match pattern"),
        (MODEL.replace('"a"', "7"), "line 4: model 1: id: Input should be a valid string"),
        (MODEL.replace('"a"', f'"{"a" * 65}"'), "line 4: "),
        (MODEL.replace('"a"', '"checkpoints"'), "line 4: model checkpoints: id: the folder checkpoints holds other"),
        (MODEL + MODEL.replace("schema = 1\n", ""), "line 9: model a: id: a stands twice"),
        (MODEL + LORA + LORA, "line 13: lora l: id: l stands twice"),
        (MODEL + LORA + LORA.replace('"l"', '"m"\nfile = "l.safetensors"'), "line 14: lora m: file: another lora has"),
        (MODEL + LORA + 'file = "../l.safetensors"\n', "line 11: lora l: file: String should match pattern"),
        (MODEL + LORA + 'file = "/etc/passwd"\n', "line 11: lora l: file: String should match pattern"),
        (MODEL + LORA + 'file = "l.pt"\n', "line 11: lora l: file: String should match pattern"),
        (MODEL + LORA + "default_weight = 3\n", "line 11: lora l: default_weight: Input should be less than or equal"),
        (MODEL + LORA + 'trigger_words = "x"\n', "line 11: lora l: trigger_words: Input should be a valid tuple"),
        (MODEL + 'vae = "v"\n', "line 7: model a: vae: there is no part of kind vae with the id v"),
        (MODEL + 'loras = ["l"]\n', "line 7: model a: loras: there is no lora with the id l"),
        (MODEL + "[model.source]\nhub='a/b'\nurl='https://c/'\n", "line 7: model a: source: names more than one of"),
        (MODEL + "[model.source]\nhub='../b'\n", "line 8: model a: source.hub: String should match pattern"),
        (MODEL + "[model.source]\nhub='a/b'\nrevision='../x'\n", "line 9: model a: source.revision: must be a commit"),
        (MODEL + "[model.source]\nhub='a/b'\nfiles=['../x']\n", "line 9: model a: source.files.0: must be a path"),
        (MODEL + "[model.source]\nurl='https://c/d'\n", "line 8: model a: source.url: a folder comes from a hub"),
        (MODEL + LORA + "[lora.source]\nurl='http://c/d'\n", "line 12: lora l: source.url: must be an https address"),
        (MODEL + LORA + "[lora.source]\nurl='https://u:p@c/d'\n", "line 12: lora l: source.url: must be an https"),
        (MODEL + LORA + "[lora.source]\nurl='file:///etc/passwd'\n", "line 12: lora l: source.url: must be an https"),
        (MODEL + LORA + "[lora.source]\nhub='a/b'\nfile='l.bin'\n", "line 13: lora l: source.file: names the one file"),
        (MODEL + LORA + "[lora.source]\nsha256='abc'\n", "line 12: lora l: source.sha256: String should match"),
        ("schema = 2\n", "line 1: schema: Input should be 1"),
        ("model = 3\nschema = 1\n", "line 1: model: Input should be a valid tuple"),
        ("schema = 1\nmodel = [3]\n", "line 2: model 1: Input should be"),
        ("schema = 1\n[modle]\n", "line 2: modle: is no member; did you mean model?"),
        ("", "schema: Field required"),
        ("schema = 1\nschema = 1\n", "line 2: Cannot overwrite a value"),
        ("schema = 1\n[[model]\n", "line 2: Expected ']]'"),
        ("schema = " + "1" * 5000, "Exceeds the limit"),
        ("schema = " + "[" * 100_000, "it is nested too deeply"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_line_and_member(text: str, line: str) -> None:
    assert told(text)[0].startswith(line)


def test_bytes_that_are_no_text_and_files_that_are_too_large_are_told() -> None:
    assert told(b"schema = 1\n# \xff\n") == ["line 2: it is not UTF-8"]
    assert told(b"#" * (LARGEST + 1)) == [f"it is larger than {LARGEST} bytes"]


def test_all_mistakes_are_told_at_once_and_no_more_than_anybody_reads() -> None:
    text = "schema = 1\n" + "".join(f'[[lora]]\nid = "L{number}"\nname = 3\n' for number in range(15))
    lines = told(text)
    assert len(lines) == 21
    assert lines[:2] == [
        "line 3: lora L0: id: String should match pattern '^[a-z0-9]+([._-][a-z0-9]+)*$'",
        "line 4: lora L0: name: Input should be a valid string",
    ]
    assert lines[-1] == "and 10 more"


def test_what_a_stranger_wrote_cannot_break_the_line() -> None:
    (line,) = told(MODEL + '"a\\nb\\u001b" = 1\n')
    assert "a\\nb\\x1b: is no member" in line
    assert line.isprintable()


def test_an_old_file_with_other_ends_of_lines_is_read() -> None:
    assert read_catalogue(b"\xef\xbb\xbf" + MODEL.replace("\n", "\r\n").encode()).model[0].id == "a"


def test_the_line_is_that_of_the_right_entry() -> None:
    text = Path(HOME / "models" / "catalog.toml").read_text("utf-8")
    rows = text.split("\n")
    for place, row in [
        (("model", 1, "source", "sha256"), "sha256 = "),
        (("model", 2, "defaults", "steps"), "steps = 1"),
        (("lora", 1, "default_weight"), "default_weight = 0.6"),
        (("part", 0, "id"), 'id = "sdxl-vae-fp16-fix"'),
    ]:
        line = line_of(text, place)
        assert line
        assert rows[line - 1].startswith(row)
