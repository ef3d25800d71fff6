"""The words of creatures: the shipped table, what rarity and dice do to them, and every kind of mistake in a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.creatures.prompts import LONGEST_PROMPT, PromptLanguage, Prompts, load_prompts
from minimon_server.creatures.rarity import RARITIES, Rarity
from minimon_server.errors import StartupError
from tests.support import HOME
from tools.tiny import words as tiny

SHIPPED = HOME / "minimon" / "prompts.toml"
ENGLISH, FRENCH = load_prompts(SHIPPED, "en"), load_prompts(SHIPPED, "fr")
ROWS = "\n".join(f'"{rarity}" = ["{rarity} gold"]' for rarity in RARITIES)
STEPS = "\n".join(f'"{rarity}" = {rank}' for rank, rarity in enumerate(RARITIES))
LANGUAGE = (
    '[{0}]\nprompt = "a {{colour}} cat, {{horn}}, {{glow}}"\n[{0}.traits]\ncolour = ["red", "blue"]\nhorn = [""]\n'
)
WHOLE = f"schema = 1\n[more_steps]\n{STEPS}\n" + "".join(
    f"{LANGUAGE.format(one)}[{one}.by_rarity.glow]\n{ROWS}\n" for one in ("en", "fr")
)


def read(folder: Path, text: str, language: PromptLanguage = "en") -> Prompts:
    path = folder / "words.toml"
    path.write_text(text, "utf-8")
    return load_prompts(path, language)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(StartupError) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder / 'words.toml'}: ") for line in caught.value.lines]


def line_with(text: str, fragment: str) -> int:
    return next(number for number, row in enumerate(text.split("\n"), 1) if fragment in row)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(RARITIES))
def test_the_same_dice_give_the_same_words_and_no_gap_shows(dice: bytes, rarity: Rarity) -> None:
    for prompts in (ENGLISH, FRENCH):
        wording = prompts.of(dice, rarity)
        assert wording == prompts.of(dice, rarity)
        alone = prompts.of(dice, rarity, alone=True)
        assert alone != wording
        for text in (wording.prompt, wording.negative_prompt, alone.prompt, alone.negative_prompt):
            assert 0 < len(text) <= LONGEST_PROMPT
            assert not set(text) & set("{}<>")
            parts = text.split(", ")
            assert all(part == " ".join(part.split()) and part for part in parts)


def test_rarity_sets_material_texture_effect_light_and_steps_and_leaves_the_traits() -> None:
    dice = bytes(range(32))
    wordings = [ENGLISH.of(dice, rarity) for rarity in RARITIES]
    assert len({wording.prompt for wording in wordings}) == len(RARITIES)
    assert len({wording.prompt.split(", rank")[0] for wording in wordings}) == 1
    steps = [wording.more_steps for wording in wordings]
    assert steps == sorted(steps)
    assert steps[0] == 0 < steps[-1]
    common, mythic = wordings[0], wordings[-1]
    assert "no aura" in common.prompt
    assert "rank F," in common.prompt
    assert "a rainbow aura" in mythic.prompt
    assert "rank S+, mythic" in mythic.prompt
    assert "divine light" in mythic.prompt
    assert mythic.negative_prompt.startswith(common.negative_prompt)


def test_the_dice_choose_evenly_and_every_phrase_comes() -> None:
    table = read_counts(2000)
    for count in table.values():
        assert 100 < count < 240  # twelve colours in 2,000 throws: 167 each, sigma 12


def read_counts(throws: int) -> dict[str, int]:
    colours = [phrases.split("|", 1)[0].rstrip("~") for phrases in tiny.ENGLISH["colour"].values()]
    counts = dict.fromkeys(colours, 0)
    for number in range(throws):
        counts[ENGLISH.of(number.to_bytes(32, "big"), Rarity.F).prompt.split(" ", 1)[0]] += 1
    return counts


def test_the_embedded_model_knows_the_words_of_the_traits() -> None:
    known = {
        phrase.strip("@~=")
        for trait in tiny.ENGLISH.values()
        for phrases in trait.values()
        for phrase in phrases.split("|")
    }
    table = ENGLISH._words
    for slot, phrases in table.traits.items():
        assert {phrase for phrase in phrases if phrase} <= known, slot
    for rarity, phrases in table.by_rarity["grade"].items():
        assert all(part in known or part == "with a crown" for part in phrases[0].split(", ")), rarity


def test_the_two_languages_choose_alike() -> None:
    english, french = ENGLISH._words, FRENCH._words
    assert {slot: len(phrases) for slot, phrases in english.traits.items()} == {
        slot: len(phrases) for slot, phrases in french.traits.items()
    }
    for slot, table in english.by_rarity.items():
        assert {rarity: len(one) for rarity, one in table.items()} == {
            rarity: len(one) for rarity, one in french.by_rarity[slot].items()
        }, slot


def test_a_trait_that_is_added_changes_no_other(tmp_path: Path) -> None:
    before = read(tmp_path, WHOLE)
    after = read(
        tmp_path, WHOLE.replace('horn = [""]', 'horn = [""]\nhat = ["a hat", "a cap"]').replace("cat,", "cat, {hat},")
    )
    for number in range(50):
        dice = number.to_bytes(32, "big")
        assert after.of(dice, Rarity.A).prompt.split(", ")[0] == before.of(dice, Rarity.A).prompt.split(", ")[0]
    assert before.of(dice, Rarity.S_PLUS) == (before.of(dice, Rarity.S_PLUS).prompt, "", 7)
    assert before.of(dice, Rarity.S_PLUS).prompt.endswith(" cat, S+ gold")
    assert before.digest != after.digest


@pytest.mark.parametrize(
    ("old", "new", "at", "told"),
    [
        ('colour = ["red", "blue"]', 'colour = ["red", "<lora:x:1>"]', "<lora", "en.traits.colour, phrase 2"),
        ('colour = ["red", "blue"]', "colour = []", "colour = []", "en.traits.colour: "),
        ('colour = ["red", "blue"]', "colour = 7", "colour = 7", "en.traits.colour"),
        ('colour = ["red", "blue"]', 'Colour = ["red"]', "Colour", "en.traits.Colour"),
        ("{horn}", "{hron}", "{hron}", "en.prompt: {hron} is no trait; there are colour, horn, glow"),
        ("{horn}", "{horn", "{horn,", "holds a brace without its partner"),
        ('"S" = ["S gold"]\n', "", "[en.by_rarity.glow]", "en.by_rarity.glow: lacks S; it holds each of F, E, D"),
        ('"S" = ["S gold"]', '"S" = ["S gold"]\n"SS" = ["x"]', "[en.by_rarity.glow]", "there is no rarity SS"),
        ('"F" = 0', '"F" = -1', '"F" = -1', "more_steps.F: Input should be greater than or equal to 0"),
        ('"F" = 0', '"F" = "0"', '"F" = "0"', "more_steps.F: Input should be a valid integer"),
        ("schema = 1", "schema = 2", "schema = 2", "schema: Input should be 1"),
        ('horn = [""]', 'glow = [""]', "[en.by_rarity.glow]", "en.by_rarity.glow: stands among the traits too"),
        ('colour = ["red", "blue"]', 'colour = ["red" "blue"]', 'colour = ["red" "blue"]', "Unclosed array"),
        ('prompt = "a {colour} cat', 'prmpt = 1\nprompt = "a {colour} cat', "prmpt", "en.prmpt: Extra inputs"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, at: str, told: str) -> None:
    assert old in WHOLE
    text = WHOLE.replace(old, new, 1)
    lines = mistakes(tmp_path, text)
    assert lines[0].startswith(f"line {line_with(text, at)}: "), lines
    assert told in lines[0], lines


def test_a_sentence_that_may_grow_too_long_is_told_before_any_creature_gets_it(tmp_path: Path) -> None:
    text = WHOLE.replace('"red", "blue"', f'"{"y" * 200}", "blue"', 1).replace("{colour}", "{colour} " * 10, 1)
    assert mistakes(tmp_path, text) == ["line 12: en.prompt: may become 2027 characters long; at most 2000 are drawn"]


def test_a_language_that_is_not_in_use_is_read_all_the_same(tmp_path: Path) -> None:
    text = WHOLE.replace("[fr]\n", "[fr]\nnegative_prompt = '{oops}'\n")
    assert mistakes(tmp_path, text) == [
        f"line {line_with(text, '{oops}')}: fr.negative_prompt: {{oops}} is no trait; there are colour, horn, glow"
    ]


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "x" * (256 * 1024 + 1)) == ["it is larger than 262144 bytes"]
    assert mistakes(tmp_path, "a = " + "[" * 3000) == ["it is nested too deeply"]
    (tmp_path / "words.toml").write_bytes(b"schema = 1\nx = '\xff'\n")
    with pytest.raises(StartupError, match="line 2: it is not UTF-8"):
        load_prompts(tmp_path / "words.toml", "en")
    with pytest.raises(StartupError, match="no such file"):
        load_prompts(tmp_path / "none.toml", "en")
    with pytest.raises(StartupError, match="not a file"):
        load_prompts(tmp_path, "en")
