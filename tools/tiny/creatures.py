"""Which creatures the model is trained on and which are kept from it: traits by index. Draws nothing, names nothing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tools.artist.traits import TRAIT_KINDS, Aura, Traits, sample, with_traits

# Chances of the values in the order of their declaration: what is small in a picture comes up more often than the
# artist would draw it, and every trait is chosen by itself, so that no word can be guessed from another.
CHANCES: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        "eyes": (1.8, 1.2, 1.0, 1.0, 1.2, 1.0, 1.0),
        "horns": (1.8, 1.2, 1.0, 1.0),
        "ears": (1.6, 1.0, 1.0, 1.0),
        "wings": (1.8, 1.0, 1.0, 1.0),
        "tail": (1.4, 1.0, 1.0, 1.0, 1.0),
        "pattern": (1.3, 1.0, 1.0),
        "aura": (5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    }
)
# How many creatures keep the artist's own bond of rarity and aura: "legendary" alone is to look the part.
ARTISTS_AURA: Final = 0.5

# Of all triples of element, body and colour, one in so many is never seen in training.
KEPT_OUT: Final = 12
# Indices from here on are never trained on, by any stage.
FIRST_TEST_INDEX: Final = 1_000_000_000


def is_kept_out(traits: Traits) -> bool:
    """Whether no creature of this element, body and colour is in the training set."""
    triple = f"{traits.element}/{traits.body}/{traits.colour}"
    return hashlib.sha256(triple.encode()).digest()[0] % KEPT_OUT == 0


def _choose(rng: random.Random) -> Traits:
    chosen = {name: rng.choices(list(kind), CHANCES.get(name))[0].value for name, kind in TRAIT_KINDS.items()}
    traits = with_traits(Traits(), chosen)
    if rng.random() < ARTISTS_AURA:
        aura = sample(rng, traits.rarity).aura
        return with_traits(traits, {"aura": aura.value if aura else Aura.NONE.value})
    return traits


def training_traits(index: int) -> Traits:
    """Return the traits of the training creature `index`; the same for ever, and never kept out."""
    rng = random.Random(f"training/{index}")
    while is_kept_out(traits := _choose(rng)):
        pass
    return traits


def unseen_traits(index: int) -> Traits:
    """Return the traits of the test creature `index`: always of a triple that training never shows."""
    rng = random.Random(f"test/{index}")
    while not is_kept_out(traits := _choose(rng)):
        pass
    return traits


def any_traits(index: int) -> Traits:
    """Return the traits of a creature of any triple, for what has to judge every picture."""
    return _choose(random.Random(f"any/{index}"))
