"""Names made here: a first and a last fragment, thousands of pairs, all fit for children. Asks nobody."""

from __future__ import annotations

from typing import Final

# Every first fragment ends in a vowel or in r, l or n, every last one begins with consonants: any pair can be said.
FIRST: Final = tuple(
    """
    Aero Amber Aqua Astra Aura Bora Brio Cala Cedra Cela Cirro Clover Corvi Coral Cyra Dahli Dewi Drago Elo Ember
    Fable Fari Feli Fera Ferno Fizzi Flora Folia Frosty Gala Gemma Ginger Hali Hazel Helio Indigo Iri Ivori
    Jasmi Jolli Kala Kelpo Kori Magma Lila Lira Loona Lumi Luna Mango Mari Mello Meri Milo Minka Mira Mossy
    Mysto Nebo Neri Nimbo Nola Ombra Onyxa Opal Orbi Pebbi Papri Perli Petra Plumi Prisma Pyra Quilli Rosa Rumi
    Runa Safi Saffron Sequo Silvo Silver Sola Sora Sparki Stella Stormi Sunna Talo Tempo Terra Timber Tundra
    Umbra Vanil Vela Velvet Vivi Willo Winter Wisteri Yuki Zephi Zesto
    """.split()
)

LAST: Final = tuple(
    """
    bell berry bloom blossom breeze brook bubble buddy bunny claw cloud crest cub cuddle dancer dash dew dove
    drift drop dust fang feather fern fin flame flare flick fluff foxy frost fur gale gleam glint glow grove
    heart horn hush kin kitty lark leaf light lynx mane mist moon moss muffin muse nest nimble nook nova paw
    plume pounce prance prowl puff quill ray reed rill ripple root scale seed sky song spark sprig star stone
    storm stripe sweep swift swirl tail talon thorn tide tuft twig twirl veil vine wave whirl whisk whistle
    willow wind wing wink wisp wood zest
    """.split()
)

NAME_COUNT: Final = len(FIRST) * len(LAST)


def local_name(number: int) -> str:
    """Return the name of this number; numbers that differ by a multiple of `NAME_COUNT` share one."""
    first, last = divmod(number % NAME_COUNT, len(LAST))
    return FIRST[first] + LAST[last]
