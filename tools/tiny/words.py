"""The English words for each trait, and how a phrase is marked for its place in a sentence. Builds no sentences.

Phrases are parted by `|`; the first is the usual one. A trailing `~` marks an adjective ("winged~"), a leading `=` a
noun that can stand for the creature ("=slime"), a leading `@` a phrase that stands alone ("@at night"); all others can
follow "with". `some` holds what is true of every value but the first, "none".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Words = Mapping[str, Mapping[str, str]]

ENGLISH: Final[Words] = MappingProxyType(
    {
        "element": {
            "fire": "fire~|flame~|fiery~|burning~|@fire type|@fire element|flames|fire",
            "water": "water~|aqua~|aquatic~|@water type|@water element|water drops",
            "grass": "grass~|leaf~|plant~|leafy~|@grass type|@nature element|leaves",
            "electric": "electric~|lightning~|thunder~|@electric type|@electric element|lightning|sparks",
            "ghost": "ghost~|ghostly~|spirit~|spectral~|@ghost type|@ghost element|=ghost|=spirit",
            "ice": "ice~|frost~|frozen~|icy~|@ice type|@ice element|ice crystals",
            "normal": "normal~|@normal type|@no element|ordinary~",
        },
        "body": {
            "round": "round~|ball-shaped~|chubby~|=ball|round body",
            "slime": "=slime|slimy~|=blob|=jelly|slime body",
            "egg": "egg-shaped~|=egg|oval~|egg body",
            "biped": "two-legged~|standing~|humanoid~|=biped|bipedal~|@standing upright",
            "quadruped": "four-legged~|=quadruped|=beast|=dog|four legs|@on all fours",
            "bird": "=bird|=birdie|=chick|=owl|bird~|bird body",
            "serpent": "=serpent|=snake|serpent~|=worm|snake body",
        },
        "colour": {
            "red": "red~|crimson~|scarlet~|ruby~",
            "orange": "orange~|tangerine~|amber~",
            "yellow": "yellow~|golden yellow~|lemon~",
            "green": "green~|emerald~|lime~",
            "teal": "teal~|turquoise~|cyan~",
            "blue": "blue~|azure~|sapphire~|navy~",
            "purple": "purple~|violet~|lavender~",
            "pink": "pink~|rose~|magenta~",
            "brown": "brown~|chocolate~|chestnut~",
            "black": "black~|dark~|jet black~",
            "white": "white~|snow white~|pale~",
            "gray": "gray~|grey~|silver~",
        },
        "eyes": {
            "big": "big eyes|large eyes|huge eyes|wide eyes|cute eyes|big-eyed~",
            "small": "small eyes|tiny eyes|little eyes|beady eyes|dot eyes",
            "one": "one eye|a single eye|=cyclops|one-eyed~|1 eye",
            "sleepy": "sleepy eyes|sleepy~|tired eyes|half-closed eyes|drowsy~",
            "angry": "angry eyes|angry~|furious eyes|mad~|evil eyes",
            "three": "three eyes|3 eyes|three-eyed~|a third eye",
            "happy": "happy eyes|happy~|laughing eyes|closed eyes|joyful~",
        },
        "mouth": {
            "smile": "a smile|smiling~|a smiling mouth|a grin",
            "open": "an open mouth|mouth open|@open mouth|a wide open mouth",
            "fangs": "fangs|sharp teeth|vampire fangs|pointy teeth|fanged~",
            "cat": "a cat mouth|a cat smile|a cat nose|a kitty mouth",
            "frown": "a frown|sad~|frowning~|a sad mouth|grumpy~",
        },
        "horns": {
            "none": "no horns|@without horns|hornless~",
            "some": "horns on the head",
            "horns": "horns|two horns|horned~|curved horns|bull horns",
            "unicorn": "a unicorn horn|one horn|a single horn|=unicorn|unicorn horn",
            "antlers": "antlers|deer antlers|=deer|=reindeer|branching antlers",
        },
        "ears": {
            "none": "no ears|@without ears|earless~",
            "some": "ears",
            "cat": "cat ears|pointy ears|=kitty|=cat|kitty ears|=kitten",
            "bunny": "bunny ears|rabbit ears|long ears|=bunny|=rabbit",
            "round": "round ears|bear ears|mouse ears|=bear|=mouse",
        },
        "wings": {
            "none": "no wings|@without wings|wingless~",
            "some": "wings|two wings|winged~|a pair of wings",
            "bat": "bat wings|demon wings|dragon wings|devil wings|leathery wings",
            "feathered": "feathered wings|angel wings|bird wings|feather wings|white wings",
            "butterfly": "butterfly wings|fairy wings|colorful wings|=fairy",
        },
        "tail": {
            "none": "no tail|@without a tail|tailless~",
            "some": "a tail|tail",
            "curly": "a curly tail|curly tail|a monkey tail|a curled tail",
            "devil": "a devil tail|devil tail|a demon tail|a pointed tail|an arrow tail",
            "fluffy": "a fluffy tail|fluffy tail|a fox tail|a bushy tail|=fox",
            "fish": "a fish tail|fish tail|a mermaid tail|a fin tail",
        },
        "pattern": {
            "plain": "no pattern|a plain coat|@without spots or stripes|plain fur",
            "spots": "spots|spotted~|dots|polka dots|a spotted coat",
            "stripes": "stripes|striped~|tiger stripes|a striped coat",
        },
        "aura": {
            "none": "no aura|@without aura|no glow",
            "some": "an aura|glowing~|a bright aura|a glow",
            "golden": "a golden aura|golden aura|a gold glow|gold aura|a yellow aura",
            "blue": "a blue aura|blue aura|a blue glow",
            "red": "a red aura|red aura|a red glow",
            "purple": "a purple aura|purple aura|a purple glow|violet aura",
            "green": "a green aura|green aura|a green glow",
            "rainbow": "a rainbow aura|rainbow aura|a rainbow glow|multicolor aura",
        },
        "background": {
            "night sky": "@night sky|@at night|@starry night|@night sky background|@under the stars|@under the moon",
            "meadow": "@meadow|@in a meadow|@meadow background|@grass field|@in a field of flowers|@sunny meadow",
            "underwater": "@underwater|@under the sea|@underwater background|@in the ocean|@in the sea|@ocean",
            "volcano": "@volcano|@volcano background|@in front of a volcano|@lava|@on a volcano|@lava background",
            "forest": "@forest|@in a forest|@forest background|@in the woods|@among trees",
            "snow": "@snow|@in the snow|@snow background|@snowy mountains|@winter|@snowy background",
            "cave": "@cave|@in a cave|@cave background|@crystal cave|@cavern",
            "desert": "@desert|@in the desert|@desert background|@sand dunes|@desert sand",
            "plain": "@plain background|@simple background|@no background|@clean background",
            "sunset": "@sunset|@at sunset|@sunset background|@dusk|@evening sky|@at dusk",
        },
        "rarity": {
            "F": "@rank F|@rarity F|@F rank|worthless~|@junk|@trash tier",
            "E": "@rank E|@rarity E|@E rank|poor~|shabby~",
            "D": "@rank D|@rarity D|@D rank|common~|@common",
            "C": "@rank C|@rarity C|@C rank|uncommon~|@uncommon",
            "B": "@rank B|@rarity B|@B rank|rare~|@rare",
            "A": "@rank A|@rarity A|@A rank|epic~|@epic|@super rare",
            "S": "@rank S|@rarity S|@S rank|legendary~|@legendary",
            "S+": "@rank S+|@rarity S+|@S+ rank|mythic~|@mythic|mythical~|@ultimate|@S+|@with a crown|divine~",
        },
    }
)

# Words that say several traits at once, and the traits that they need.
COMPOSITES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "dragon": {"wings": "bat", "horns": "horns"},
        "angel": {"wings": "feathered", "aura": "golden"},
        "demon": {"wings": "bat", "tail": "devil"},
        "devil": {"horns": "horns", "tail": "devil"},
        "mermaid": {"background": "underwater", "tail": "fish"},
        "phoenix": {"body": "bird", "element": "fire"},
        "vampire": {"mouth": "fangs", "wings": "bat"},
        "puppy": {"body": "quadruped", "tail": "fluffy"},
    }
)

NOUNS: Final = ("minimon", "minimon", "minimon", "minimon", "creature", "monster", "pet", "animal", "character")
PRAISE: Final = ("cute", "little", "adorable", "beautiful", "cartoon", "kawaii", "cool", "tiny", "magical", "lovely")
JUNK: Final = tuple(
    "masterpiece|best quality|highly detailed|8k|4k|sharp focus|digital art|sticker|game asset|concept art|video game|"
    "trending|studio lighting|vector art|flat colors|pixel art|anime style|watercolor|a car|pizza|holding a sword|"
    "a house|in space|wearing a hat|smartphone|robot|football|mountain|playing guitar|new york|looking at viewer|"
    "full body|centered|illustration|fantasy|neon|glossy|portrait|please|draw me|i want|picture of".split("|")
)
