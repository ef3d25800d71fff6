"""The French words for each trait, marked as the English ones in `words.py` are. Builds no sentences."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tools.tiny.words import Words

FRENCH: Final[Words] = MappingProxyType(
    {
        "element": {
            "fire": "de feu~|@type feu|enflammé~|des flammes|@élément feu",
            "water": "d'eau~|@type eau|aquatique~|des gouttes d'eau",
            "grass": "de plante~|@type plante|d'herbe~|des feuilles",
            "electric": "électrique~|@type électrique|de foudre~|des éclairs",
            "ghost": "fantôme~|@type spectre|=fantôme|spectral~|=esprit",
            "ice": "de glace~|@type glace|gelé~|glacé~",
            "normal": "normal~|@type normal|ordinaire~",
        },
        "body": {
            "round": "rond~|=boule|tout rond~|dodu~",
            "slime": "=slime|gélatineux~|=blob|=gelée",
            "egg": "en forme d'œuf~|=œuf|ovale~",
            "biped": "bipède~|debout~|à deux pattes~|humanoïde~",
            "quadruped": "à quatre pattes~|quadrupède~|=chien|=bête",
            "bird": "=oiseau|=poussin|=hibou|oiseau~",
            "serpent": "=serpent|serpent~|=ver",
        },
        "colour": {
            "red": "rouge~|écarlate~|cramoisi~",
            "orange": "orange~|orangé~",
            "yellow": "jaune~|jaune doré~",
            "green": "vert~|verte~|émeraude~",
            "teal": "turquoise~|cyan~|bleu-vert~",
            "blue": "bleu~|bleue~|azur~",
            "purple": "violet~|violette~|mauve~",
            "pink": "rose~|rosé~",
            "brown": "marron~|brun~|brune~",
            "black": "noir~|noire~|sombre~",
            "white": "blanc~|blanche~",
            "gray": "gris~|grise~|argenté~",
        },
        "eyes": {
            "big": "de grands yeux|grands yeux|gros yeux|des yeux énormes",
            "small": "de petits yeux|petits yeux|des yeux minuscules",
            "one": "un œil|un seul œil|=cyclope|un oeil",
            "sleepy": "des yeux endormis|endormi~|yeux fatigués|somnolent~",
            "angry": "des yeux en colère|en colère~|fâché~|yeux méchants|furieux~",
            "three": "trois yeux|3 yeux",
            "happy": "des yeux joyeux|joyeux~|heureux~|yeux rieurs|content~",
        },
        "mouth": {
            "smile": "un sourire|souriant~|sourire",
            "open": "la bouche ouverte|@bouche ouverte",
            "fangs": "des crocs|crocs|des dents pointues|canines",
            "cat": "une bouche de chat|bouche de chat",
            "frown": "une moue|triste~|boudeur~|une bouche triste",
        },
        "horns": {
            "none": "@sans cornes|pas de cornes",
            "some": "des cornes sur la tête",
            "horns": "des cornes|deux cornes|cornu~|cornes",
            "unicorn": "une corne de licorne|une corne|=licorne|une seule corne",
            "antlers": "des bois de cerf|=cerf|bois de renne|=renne",
        },
        "ears": {
            "none": "@sans oreilles|pas d'oreilles",
            "some": "des oreilles",
            "cat": "des oreilles de chat|oreilles pointues|=chat|=chaton",
            "bunny": "des oreilles de lapin|longues oreilles|=lapin",
            "round": "des oreilles rondes|oreilles d'ours|=ours|=souris",
        },
        "wings": {
            "none": "@sans ailes|pas d'ailes",
            "some": "des ailes|deux ailes|ailé~|ailes",
            "bat": "des ailes de chauve-souris|ailes de démon|ailes de dragon",
            "feathered": "des ailes à plumes|ailes d'ange|ailes d'oiseau",
            "butterfly": "des ailes de papillon|ailes de fée|=fée",
        },
        "tail": {
            "none": "@sans queue|pas de queue",
            "some": "une queue",
            "curly": "une queue bouclée|queue enroulée|queue de singe",
            "devil": "une queue de diable|queue de démon|queue pointue",
            "fluffy": "une queue touffue|queue de renard|=renard",
            "fish": "une queue de poisson|queue de sirène",
        },
        "pattern": {
            "plain": "@sans motif|@sans taches",
            "spots": "des taches|tacheté~|des pois|à pois~",
            "stripes": "des rayures|rayé~|des rayures de tigre",
        },
        "aura": {
            "none": "@sans aura|pas d'aura",
            "some": "une aura|lumineux~|brillant~",
            "golden": "une aura dorée|aura dorée|une lueur dorée|une aura d'or",
            "blue": "une aura bleue|aura bleue|une lueur bleue",
            "red": "une aura rouge|aura rouge|une lueur rouge",
            "purple": "une aura violette|aura violette|une lueur violette",
            "green": "une aura verte|aura verte|une lueur verte",
            "rainbow": "une aura arc-en-ciel|aura arc-en-ciel|une aura multicolore",
        },
        "background": {
            "night sky": "@ciel nocturne|@la nuit|@nuit étoilée|@ciel étoilé|@sous la lune",
            "meadow": "@prairie|@dans une prairie|@dans un pré|@champ de fleurs",
            "underwater": "@sous l'eau|@sous la mer|@océan|@fond marin|@dans la mer",
            "volcano": "@volcan|@devant un volcan|@lave|@sur un volcan",
            "forest": "@forêt|@dans la forêt|@dans les bois",
            "snow": "@neige|@dans la neige|@montagnes enneigées|@hiver",
            "cave": "@grotte|@dans une grotte|@caverne",
            "desert": "@désert|@dans le désert|@dunes de sable",
            "plain": "@fond uni|@fond simple|@sans fond",
            "sunset": "@coucher de soleil|@au coucher du soleil|@crépuscule",
        },
        "rarity": {
            "F": "@rang F|@rareté F|nul~",
            "E": "@rang E|@rareté E|pauvre~|médiocre~",
            "D": "@rang D|@rareté D|commun~",
            "C": "@rang C|@rareté C|peu commun~",
            "B": "@rang B|@rareté B|rare~",
            "A": "@rang A|@rareté A|épique~",
            "S": "@rang S|@rareté S|légendaire~",
            "S+": "@rang S+|@rareté S+|mythique~|@avec une couronne|divin~",
        },
    }
)

FRENCH_COMPOSITES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dragon": "dragon",
        "angel": "ange",
        "demon": "démon",
        "devil": "diable",
        "mermaid": "sirène",
        "phoenix": "phénix",
        "vampire": "vampire",
        "puppy": "chiot",
    }
)
FRENCH_NOUNS: Final = ("minimon", "minimon", "créature", "monstre", "animal", "personnage")
FRENCH_PRAISE: Final = ("mignon", "petit", "adorable", "joli", "beau", "magique")
