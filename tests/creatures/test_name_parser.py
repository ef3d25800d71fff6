"""Whatever a model writes: the name in it, or none; and nothing but names ever comes out."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimon_server.creatures.name_parser import LONGEST_NAME, allowed, name_in
from minimon_server.creatures.names import NAME_COUNT, local_name

ESSAY = "Il était une fois une créature merveilleuse. Elle vivait dans la Forêt de Brume. " * 40


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"name": "Floraclaw"}', "Floraclaw"),
        ('  {"name":"Étincelle"}\n', "Étincelle"),
        ('{"name": "E\u0301toile"}', "Étoile"),
        ('{"name": "\\u00c9toile"}', "Étoile"),
        ('{"Name": "Floraclaw", "rarity": "S"}', "Floraclaw"),
        ('{"nom": "Floraclaw"}', "Floraclaw"),
        ('{"name": "Fleur-de-Lune"}', "Fleur-de-Lune"),
        ('{"name": "L’Étoile du Nord"}', "L'Étoile du Nord"),
        ('{"name": "ほしねこ"}', "ほしねこ"),
        # cut
        ('{"name": "Floraclaw"', "Floraclaw"),
        ('{"name": "Floracl', "Floracl"),
        ('{"name": "\\u00c9toi', "Étoi"),
        # malformed
        ('{"name": "Floraclaw",}', "Floraclaw"),
        ("{'name': 'Floraclaw'}", "Floraclaw"),
        ('{name: "Floraclaw"}', "Floraclaw"),
        ('{"name": "Floraclaw"}{"name": "Other"}', "Floraclaw"),
        ('[{"name": "Floraclaw"}]', "Floraclaw"),
        ('{"creature": {"name": "Floraclaw"}}', "Floraclaw"),
        # fenced
        ('```json\n{"name": "Floraclaw"}\n```', "Floraclaw"),
        ('Voici :\n```\n{"name": "Floraclaw"}\n```\nAmusez-vous bien !', "Floraclaw"),
        ('<think>A name... "name": "Wrong"?</think>\n{"name": "Floraclaw"}', "Floraclaw"),
        # prose
        ("Floraclaw", "Floraclaw"),
        ("**Floraclaw**.", "Floraclaw"),
        ('"Floraclaw"', "Floraclaw"),
        ("Name: Floraclaw", "Floraclaw"),
        ("Le nom de la créature est Floraclaw.", "Floraclaw"),
        ("The creature is called Floraclaw and it can fly.", "Floraclaw"),
        ("Elle s'appelle Petit Nuage, et elle est douce.", "Petit Nuage"),
        ("Bien sûr ! Je propose « Floraclaw » pour votre jeu.", "Floraclaw"),
        ("Elle s’appelle Étoile d’Or.", "Étoile d'Or"),
        ("Sure! Here is one: **Floraclaw**", "Floraclaw"),
        ('{"name": "Floraclaw"} ' + ESSAY, "Floraclaw"),
    ],
)
def test_a_name_is_found(text: str, name: str) -> None:
    assert name_in(text) == name


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "name"}',
        '{"name": "Name"}',
        '{"name": "nom"',
        '{"name": "..."}',
        '{"name": ""}',
        '{"name": null}',
        '{"name": 7}',
        '{"name": ["Floraclaw"]}',
        '{"name": {"first": "Flora"}}',
        '{"title": 1}',
        "{}",
        "",
        " \n\t",
        "Désolé.",
        "Je ne peux pas vous aider avec cela.",
        "il y a un problème",
        "Une belle créature",
        ESSAY,
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        "<b>Floraclaw</b>",
        '{"name": "<b>Floraclaw</b>"}',
        '{"name": "Flora&amp;Claw"}',
        '{"name": "Flora\\u0000claw"}',
        '{"name": "Flora\\nclaw"}',
        '{"name": "Flora\\u202eclaw"}',
        '{"name": "\\u2066Floraclaw\\u2069"}',
        '{"name": "Flora\\u200bclaw"}',
        '{"name": "Flora\\ud800claw"}',
        '{"name": "F\u0336l\u0336o\u0336"}',
        '{"name": "\u3164\u3164\u3164"}',
        '{"name": "Flora  claw"}',
        '{"name": "Flora--claw"}',
        '{"name": "-Floraclaw"}',
        '{"name": "Floraclaw\'"}',
        '{"name": "Flora_claw"}',
        '{"name": "Floraclaw 3"}',
        '{"name": "Flora²"}',
        '{"name": "🦊"}',
        '{"name": "F"}',
        '{"name": "' + "a" * 33 + '"}',
        '{"name": "' + "a" * 100_000 + '"}',
        "[" * 100_000,
        '{"a":' * 50_000,
        '"name"' * 20_000,
        '"name":"\\' * 20_000,
        "name" + " " * 300 + "name" + " " * 80,
        "\ud800",
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_what_may_not_be_shown_is_refused(text: str) -> None:
    assert name_in(text) is None


def test_every_local_name_would_pass() -> None:
    assert all(allowed(local_name(number)) == local_name(number) for number in range(NAME_COUNT))


def obeys(name: str) -> bool:
    inside = [mark for mark in name if not mark.isalpha()]
    return (
        2 <= len(name) <= LONGEST_NAME
        and unicodedata.is_normalized("NFC", name)
        and name[0].isalpha()
        and name[-1].isalpha()
        and set(inside) <= set(" -'")
        and not any(one in " -'" and other in " -'" for one, other in pairwise(name))
        and not {unicodedata.category(mark)[0] for mark in name} & {"C", "M", "N", "S"}
    )


ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=300)
PIECES = st.sampled_from(
    ['{"name":', '"', "\\", "name", ": ", "}", "{", "```json\n", "s'appelle ", "**", "«", "»", "<", "É", "A", "\u202e",
     "\\u00e9", "Flora", "'", "-", " ", "\n", "\u3164", "\u0301", "\u2019", "</think>", "nom est", "ß", "ŉ", "ǰ"]
)  # fmt: skip


@given(st.one_of(ANY_TEXT, st.lists(PIECES, max_size=60).map("".join), st.lists(ANY_TEXT | PIECES).map("".join)))
def test_whatever_goes_in_a_name_comes_out_or_none(text: str) -> None:
    for given_text in (text, f'{{"name": "{text}"}}'):
        name = name_in(given_text)
        assert name is None or obeys(name)
        assert name is None or allowed(name) == name
