"""Weights by A1111's rule: its own worked examples, a reference that weighs letter by letter, and no lost word."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.engines.prompt_syntax import DEEPEST, LARGEST_WEIGHT, Piece, weigh

# The documented examples of A1111's parse_prompt_attention, to the last digit.
DOCUMENTED: Final = {
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(unbalanced": [("unbalanced", 1.1)],
    r"\(literal\]": [("(literal]", 1.0)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1.0),
        ("house", 1.5730000000000004),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641000000000006),
        (".", 1.1),
    ],
}
# By the same rule, followed by hand.
FOLLOWED: Final = {
    "": [("", 1.0)],
    "(x: 1.3 )": [("x", 1.3)],
    "(x:-0.5)": [("x", -0.5)],
    "(x:.5)y": [("x", 0.5), ("y", 1.0)],
    "x:1.3)": [("x:1.3)", 1.0)],
    "a ) b ] c": [("a ) b ] c", 1.0)],
    "[x]": [("x", 1 / 1.1)],
    "[x:1.3]": [("x:1.3", 1 / 1.1)],
    "(a [b) c]": [("a ", 1.1), ("b", 1.1 * (1 / 1.1)), (" c", 1 / 1.1)],
    "(a:1.2.3)": [("a:1.2.3", 1.1)],
    r"a\b \\ \(c\)": [("ab \\ (c)", 1.0)],
    "<3 a:b |": [("<3 a:b |", 1.0)],
}


def flat(text: str) -> list[tuple[str, float]]:
    (section,) = weigh(text).sections
    return [(piece.text, piece.weight) for piece in section]


@pytest.mark.parametrize(("text", "pieces"), [*DOCUMENTED.items(), *FOLLOWED.items()])
def test_worked_examples(text: str, pieces: list[tuple[str, float]]) -> None:
    assert flat(text) == pieces
    assert weigh(text).ignored == ()


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("a BREAK b", ["a", "b"]),
        ("a,BREAK\n (b)", ["a,", "b"]),
        ("BREAK", ["", ""]),
        ("a BREAK BREAK b", ["a", "", "b"]),
        ("aBREAK BREAK_ breaks Break", ["aBREAK BREAK_ breaks Break"]),
        ("(a BREAK b:1.2) c", ["a", "b c"]),
    ],
)
def test_break_parts_a_prompt(text: str, sections: list[str]) -> None:
    assert ["".join(piece.text for piece in section) for section in weigh(text).sections] == sections


def test_break_in_brackets_keeps_the_weight_on_both_sides() -> None:
    assert weigh("(a BREAK b:1.2) c").sections == ((Piece("a", 1.2),), (Piece("b", 1.2), Piece(" c", 1.0)))


def by_letters(text: str) -> list[tuple[str, float]]:
    """Weigh every letter: one pass that pairs the brackets, one that multiplies in the order in which they close."""
    spans: list[tuple[int, int, float]] = []
    open_: dict[str, list[int]] = {"(": [], "[": []}
    letters: list[str] = []
    at = 0
    while at < len(text):
        here = text[at]
        weight = re.compile(r":\s*([+-]?(\d+\.?\d*|\.\d+))\s*\)").match(text, at)
        if here == "\\":
            if text[at + 1 : at + 2] in tuple("()[]\\"):
                letters.append(text[at + 1])
                at += 1
        elif here in "([":
            open_[here].append(len(letters))
        elif weight and open_["("]:
            spans.append((open_["("].pop(), len(letters), float(weight[1])))
            at = weight.end() - 1
        elif here == ")" and open_["("]:
            spans.append((open_["("].pop(), len(letters), 1.1))
        elif here == "]" and open_["["]:
            spans.append((open_["["].pop(), len(letters), 1 / 1.1))
        else:
            letters.append(here)
        at += 1
    spans += [(start, len(letters), 1.1) for start in open_["("]]
    spans += [(start, len(letters), 1 / 1.1) for start in open_["["]]
    weights = [1.0] * len(letters)
    for start, end, by in spans:
        weights[start:end] = [weight * by for weight in weights[start:end]]
    return list(zip(letters, weights, strict=True))


SCRAPS: Final = st.sampled_from(
    ["(", ")", "[", "]", ":", "\\", "cat", " ", ", ", ":1.3)", ": 0.7 )", ":-2)", "1", "|", "é"]
)
PROMPTS: Final = st.one_of(st.lists(SCRAPS, max_size=40).map("".join), st.text(max_size=60))


@given(PROMPTS.filter(lambda text: "BREAK" not in text))
def test_every_letter_has_the_weight_of_the_brackets_around_it(text: str) -> None:
    assert [(letter, weight) for piece, weight in flat(text) for letter in piece] == by_letters(text)


@given(st.lists(st.one_of(SCRAPS, st.just(" BREAK ")), max_size=60).map("".join) | st.text())
def test_no_word_is_lost_and_nothing_raises(text: str) -> None:
    said = "".join(piece.text for section in weigh(text).sections for piece in section)
    assert [one for one in said if one.isalpha()] == [one for one in re.sub(r"\bBREAK\b", "", text) if one.isalpha()]
    assert len(weigh(text).sections) == 1 + len(re.findall(r"\bBREAK\b", text))
    for section in weigh(text).sections:
        assert section
        assert all(one.weight != other.weight for one, other in pairwise(section))


@pytest.mark.parametrize(
    "half",
    ["(", "[", "([", "(a", "a)", "(a:1.1)", ":", " ", ": ", "\\", "BREAK ", "(a:", "9", ":9", ":" + "9" * 32_767],
)
def test_the_longest_prompt_of_anything_is_weighed(half: str) -> None:
    text = (half * 32_768)[:32_768]
    found = weigh(text)
    assert all(abs(piece.weight) <= LARGEST_WEIGHT for section in found.sections for piece in section)


def test_what_is_beyond_computing_is_told() -> None:
    assert weigh("(" * (DEEPEST + 1) + "a").ignored == ("brackets nested deeper than 64",)
    assert weigh("(a:99999)").sections == ((Piece("a", LARGEST_WEIGHT),),)
    assert weigh("(a:-99999)").ignored == ("weights beyond 10000",)
    assert weigh(f"((a:{'9' * 400}):0)").sections == ((Piece("a", 0.0),),)
