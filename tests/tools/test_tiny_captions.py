"""Tests of captions and words: whatever the traits, a text that fits, names what it says and hides nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.artist.traits import TRAIT_KINDS, TRAIT_NAMES, Traits, with_traits
from tools.tiny.captions import MOOD, MOODS, MOST_WORDS, caption, typed
from tools.tiny.creatures import FIRST_TEST_INDEX, any_traits, is_kept_out, training_traits, unseen_traits
from tools.tiny.mots import FRENCH, FRENCH_COMPOSITES
from tools.tiny.tokenizer import LENGTH, learn_tokenizer, load_tokenizer
from tools.tiny.words import COMPOSITES, ENGLISH

ANY_TRAITS = st.builds(
    with_traits,
    st.just(Traits()),
    st.fixed_dictionaries({name: st.sampled_from([one.value for one in kind]) for name, kind in TRAIT_KINDS.items()}),
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tokenizer learned from fewer captions than the real one."""
    folder = tmp_path_factory.mktemp("words")
    learn_tokenizer(folder, 3000)
    return folder


@settings(max_examples=300, deadline=None)
@given(traits=ANY_TRAITS, seed=st.integers(0, 2**40))
def test_any_creature_has_a_caption_that_fits(words: Path, traits: Traits, seed: int) -> None:
    tokenizer = load_tokenizer(words)
    made = caption(traits, random.Random(seed))
    assert made.text
    assert len(tokenizer(made.text)["input_ids"]) <= LENGTH
    for name, allowed in made.named.items():
        assert getattr(traits, name).value in allowed
    assert made == caption(traits, random.Random(seed))


@given(traits=ANY_TRAITS, seed=st.integers(0, 2**40))
def test_what_must_be_named_is_named(traits: Traits, seed: int) -> None:
    assert set(caption(traits, random.Random(seed), TRAIT_NAMES).named) == set(TRAIT_NAMES)


@pytest.mark.parametrize("language", [ENGLISH, FRENCH], ids=["English", "French"])
def test_every_value_has_words_in_both_languages(language: dict[str, dict[str, str]]) -> None:
    assert tuple(language) == TRAIT_NAMES
    for name, kind in TRAIT_KINDS.items():
        assert set(language[name]) - {"some"} == {one.value for one in kind}
        assert all(phrase.strip("~=@ ") for text in language[name].values() for phrase in text.split("|"))


@pytest.mark.parametrize("language", [ENGLISH, FRENCH], ids=["English", "French"])
def test_no_phrase_says_two_things(language: dict[str, dict[str, str]]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name, values in language.items():
        for value, text in values.items():
            for phrase in text.split("|"):
                where = (name, value)
                assert seen.setdefault(phrase.strip("~=@"), where) == where, phrase


def test_composites_are_known_in_both_languages() -> None:
    assert set(COMPOSITES) == set(FRENCH_COMPOSITES)
    for needs in COMPOSITES.values():
        with_traits(Traits(), needs)  # raises for a word that no trait knows


def test_all_words_of_the_issue_are_used() -> None:
    texts = " ".join(caption(training_traits(index), random.Random(index)).text for index in range(4000)).lower()
    for word in ("crimson", "kitty", "winged", "legendary", "epic", "common", "two wings", "golden aura", "no wings",
                 "sans ailes", "aura dorée", "rouge", "ciel"):  # fmt: skip
        assert word in texts, word


def test_what_is_kept_out_never_comes_up_in_training() -> None:
    assert not any(is_kept_out(training_traits(index)) for index in range(3000))
    assert all(is_kept_out(unseen_traits(index)) for index in range(300))
    assert training_traits(7) == training_traits(7)
    assert any_traits(FIRST_TEST_INDEX) == any_traits(FIRST_TEST_INDEX)


def test_every_value_comes_up_in_training_and_a_small_share_is_kept_out() -> None:
    seen = [training_traits(index) for index in range(2000)]
    for name, kind in TRAIT_KINDS.items():
        assert {getattr(one, name) for one in seen} == set(kind)
    triples = [
        with_traits(Traits(), {"element": element.value, "body": body.value, "colour": colour.value})
        for element in TRAIT_KINDS["element"]
        for body in TRAIT_KINDS["body"]
        for colour in TRAIT_KINDS["colour"]
    ]
    assert 0.04 < sum(map(is_kept_out, triples)) / len(triples) < 0.15


@pytest.mark.parametrize("text", ["", "🐉🔥", "喵喵喵", "zzzz " * 2000, "a\x00b", "ÉTÉ œuf"])
def test_the_tokenizer_takes_any_text(words: Path, text: str) -> None:
    rows = load_tokenizer(words)(text, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    assert len(rows) == LENGTH


def test_a_few_texts_say_nothing_and_all_are_the_same_again() -> None:
    said = [typed(Traits(), random.Random(index)).text for index in range(2000)]
    assert said == [typed(Traits(), random.Random(index)).text for index in range(2000)]
    assert 5 < said.count("") + sum("🐉" in text for text in said) < 100


def test_learning_the_tokenizer_twice_gives_the_same_files(words: Path, tmp_path: Path) -> None:
    learn_tokenizer(tmp_path, 3000)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / name).read_bytes() == (words / name).read_bytes()


def bare(text: str) -> str:
    """Return a text as a hurried person types it: small letters, no accents, no commas."""
    return text.lower().translate(str.maketrans("éèê", "eee", ",")).replace("œ", "oe")


def test_eyes_that_a_caption_leaves_open_are_those_of_the_element_or_big() -> None:
    open_eyes, told = 0, 0
    for index in range(3000):
        traits = training_traits(index)
        made = typed(traits, random.Random(index))
        if not made.named:
            continue
        assert made.named["eyes"] == {traits.eyes.value}
        words = [phrase for language in (ENGLISH, FRENCH) for phrase in language["eyes"][traits.eyes.value].split("|")]
        text = bare(made.text)
        if any(bare(word.strip("~=@ ")) in text for word in words) or len(text.split()) >= MOST_WORDS:
            told += 1
            continue
        open_eyes += 1
        composed = any(bare(word) in text for word in (*COMPOSITES, *FRENCH_COMPOSITES.values()))
        mood = MOODS[traits.element.value] if "element" in made.named else MOOD
        assert traits.eyes.value == mood or composed, (made, traits)
    assert told > 5 * open_eyes > 1000
