"""Prompt editing by A1111's rule: its own worked examples, steps at their borders, and no lost word."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.engines.prompt_schedule import schedule

# The documented examples of A1111's get_learned_conditioning_prompt_schedules, at 10 steps.
DOCUMENTED: Final = {
    "test": [(10, "test")],
    "a [b:3]": [(3, "a "), (10, "a b")],
    "a [b: 3]": [(3, "a "), (10, "a b")],
    "a [[[b]]:2]": [(2, "a "), (10, "a [[b]]")],
    "[(a:2):3]": [(3, ""), (10, "(a:2)")],
    "a [b : c : 1] d": [(1, "a b  d"), (10, "a  c  d")],
    "a[b:[c:d:2]:1]e": [(1, "abe"), (2, "ace"), (10, "ade")],
    "a [unbalanced": [(10, "a [unbalanced")],
    "a [b:.5] c": [(5, "a  c"), (10, "a b c")],
    "a [{b|d{:.5] c": [(5, "a  c"), (10, "a {b|d{ c")],
    "((a][:b:c [d:3]": [(3, "((a][:b:c "), (10, "((a][:b:c d")],
    "[a|(b:1.1)]": [(step, "a" if step % 2 else "(b:1.1)") for step in range(1, 11)],
    "[fe|]male": [(step, "female" if step % 2 else "male") for step in range(1, 11)],
    "[fe|||]male": [(step, "female" if step % 4 == 1 else "male") for step in range(1, 11)],
}
# What A1111's own grammar (by lark 1.3.1) makes of these.
FOLLOWED: Final = {
    "": [(10, "")],
    "[a:b:c:3]": [(10, "[a:b:c:3]")],
    "(a:b:c)[d:2]": [(2, "(a:b:c)"), (10, "(a:b:c)d")],
    "[ (a:b:c) : 3]": [(10, "[ (a:b:c) : 3]")],
    "[a::3]": [(3, "a"), (10, "")],
    "[a: :3]": [(3, "a"), (10, " ")],
    "[a:b]": [(10, "[a:b]")],
    "[]": [(10, "[]")],
    "[::3]": [(3, ""), (10, "")],
    r"\[a:b:3]": [(10, r"\[a:b:3]")],
    r"[\[a\]:b:3]": [(3, r"\[a\]"), (10, "b")],
    "[a|[b:c:2]]": [(step, "a" if step % 2 else "b" if step == 2 else "c") for step in range(1, 11)],
    "[[a:3]": [(3, "["), (10, "[a")],
    "[a:3]]": [(3, "]"), (10, "a]")],
    "[a:b: 3 ]": [(3, "a"), (10, "b")],
    # A step without a point, a fraction with one; both end with the last step.
    "[a:b:0.25]": [(2, "a"), (10, "b")],
    "[a:b:1]": [(1, "a"), (10, "b")],
    "[a:b:1.0]": [(10, "a")],
    "[a:b:1e0]": [(1, "a"), (10, "b")],
    "[a:b:99]": [(10, "a")],
    "[a:b:0]": [(10, "b")],
    "[a:b:0.05]": [(10, "b")],
    "[a:b:-1]": [(10, "b")],
}
# Where it gives up the whole prompt, or the whole request.
BEYOND: Final = {
    "x | y [a:3]": [(3, "x | y "), (10, "x | y a")],
    "[a:3]\\": [(3, "\\"), (10, "a\\")],
    f"[a:b:{'9' * 400}]": [(10, "a")],
    f"[a:b:-{'9' * 400}.0]": [(10, "b")],
}


@pytest.mark.parametrize(("prompt", "entries"), [*DOCUMENTED.items(), *FOLLOWED.items(), *BEYOND.items()])
def test_worked_examples(prompt: str, entries: list[tuple[int, str]]) -> None:
    assert list(schedule(prompt, 10).entries) == entries


def test_the_example_of_its_source_at_a_hundred_steps() -> None:
    prompt = (
        "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75]"
        "[ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]"
    )
    assert schedule(prompt, 100).entries == (
        (25, "fantasy landscape with a mountain and an oak in foreground shoddy"),
        (50, "fantasy landscape with a lake and an oak in foreground in background shoddy"),
        (60, "fantasy landscape with a lake and an oak in foreground in background masterful"),
        (75, "fantasy landscape with a lake and an oak in background masterful"),
        (100, "fantasy landscape with a lake and a christmas tree in background masterful"),
    )


def test_an_entry_is_for_the_steps_up_to_its_own() -> None:
    found = schedule("[a:b:3]", 5)
    assert [found.entries[found.at(step)][1] for step in range(1, 6)] == ["a", "a", "a", "b", "b"]


SCRAPS: Final = st.sampled_from(["[", "]", "(", ")", ":", "|", "\\", "0.5", "3", "cat", " ", ":2]", ":.5]", "dog"])


@given(st.lists(SCRAPS, max_size=40).map("".join) | st.text(max_size=80), st.integers(1, 150))
def test_any_prompt_is_a_schedule_of_all_its_steps(prompt: str, steps: int) -> None:
    found = schedule(prompt, steps)
    ends = [end for end, _ in found.entries]
    assert ends == sorted(set(ends))
    assert ends[0] >= 1
    assert ends[-1] == steps
    assert [found.at(step) for step in (1, steps)] == [0, len(ends) - 1]
    for _, text in found.entries:
        rest = iter(prompt)
        assert all(letter in rest for letter in text), "nothing is said that was not written"


FORMS: Final = st.sampled_from(
    [
        "%s ",
        "[%s:%s:0.5]",
        "[%s:4]",
        "[%s::0.25]",
        "[%s|%s|%s]",
        "(%s:1.2)",
        "[%s]",
        "[(%s:1.1):[%s:%s:6]:2]",
        "(a:b:%s) ",
        "[%s ",
        "%s]",
    ]
)


@given(st.lists(FORMS, max_size=12))
def test_every_word_of_an_edited_prompt_is_drawn_at_some_step(forms: list[str]) -> None:
    prompt = "".join(forms)
    words = [f"word{number:03}" for number in range(prompt.count("%s"))]
    said = "".join(text for _, text in schedule(prompt % tuple(words), 8).entries)
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize("half", ["[", "]", "[a:", "[a|", "[a|b]", "[a:3]", ":3]", "(", "\\", "|", ":", "[:", "a"])
def test_the_longest_prompt_of_anything_is_read(half: str) -> None:
    deep = 32_768 // (len(half) + 3)
    for prompt in ((half * 32_768)[:32_768], half * deep + ":3]" * deep):
        found = schedule(prompt, 3)
        assert found.entries[-1][0] == 3
