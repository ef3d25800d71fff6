"""Names: enough of them, sayable, and none that a parent would mind. Every single one is looked at."""

from __future__ import annotations

import re

from minimon_server.creatures.names import NAME_COUNT, local_name

ALL_NAMES = [local_name(number) for number in range(NAME_COUNT)]

# Stems that no name may contain, in French and in English, wherever they begin.
OFFENSIVE = """
    baise bais batard biatch bicot bite bordel bouffon bougn branl burne caca chatte chiass chier chleuh clito con
    couill cul debil encul enfoir fiott fion foutr garce gland gogol gouin gueul jouir merd mong nazi negr niais nichon
    niqu nul orgasm partouz pede penis pine pipi pipe piss poil porn pouff pousti prout put queue quequet raton salop
    sexe sodom sperm suce sucer tapet tapin tarlouz teub tringl troud vagin viol youpin zguegue zizi
    anal anus arse ass balls bang barf bast beaner bitch blood boner boob boff bum butt chink clit cock coke coon cooch
    crack crap cum cunt damn dago dead death devil dick die dike dope drug drunk dumb dyke fag fart fat fuck gay goddam
    gook grope gun gyp hate heil hell heroin hitler hoe homo honk hore hump idiot incest jap jew jizz kike kill kkk
    kraut lame lesb lolita meth molest moron muff nake nigg nig nud nympho orgy paki pecker pedo pee perv piss poo
    poop porn prick puke pus pussy queer rape raping rapist retard satan scum semen sex shag shit skank slave slut
    smut snort sod spast spic spook stab stfu suck suicid tard terror thug tit tosser tramp turd twat ugly urin vag
    vomit vulva wank weed wetback whor wog
    sida coran talib pyromane nympho jihad allah jesus
""".split()
# Words that contain a stem and are innocent.
INNOCENT = ("muffin", "scale", "hush", "flame")


def test_there_are_thousands_and_no_two_are_the_same() -> None:
    assert NAME_COUNT == len(set(ALL_NAMES)) >= 5000


def test_none_is_offensive_in_french_or_english() -> None:
    found = {}
    for name in ALL_NAMES:
        bare = name.lower()
        for word in INNOCENT:
            bare = bare.replace(word, "·" * len(word))
        for stem in OFFENSIVE:
            if stem in bare:
                found[name] = stem
    assert not found


def test_each_is_a_capital_and_letters_of_a_bearable_length() -> None:
    assert all(re.fullmatch(r"[A-Z][a-z]{4,15}", name) for name in ALL_NAMES)


def test_each_can_be_said() -> None:
    # No letter three times, at most four consonants in a row (as in "Ember-spring"), at most three vowels.
    unsayable = re.compile(r"(.)\1\1|[bcdfghjklmnpqrstvwxz]{5}|[aeiouy]{4}", re.IGNORECASE)
    assert not [name for name in ALL_NAMES if unsayable.search(name)]


def test_numbers_wrap_around() -> None:
    assert local_name(NAME_COUNT + 7) == local_name(7)
    assert local_name(2**48 - 1) in set(ALL_NAMES)
