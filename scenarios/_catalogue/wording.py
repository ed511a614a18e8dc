"""The vocabulary of the catalogue: what attributes and their values are called."""

from __future__ import annotations

__all__ = ["ADJECTIVES", "CLAUSES", "COMPARED", "DETAILS", "NOUNS", "WITH"]

# The first noun is the one of prompts; any is understood in texts.
NOUNS: dict[str, tuple[str, ...]] = {
    "dress": ("dress", "gown"),
    "top": ("top", "shirt"),
    "shoe": ("shoe",),
    "bag": ("bag", "handbag"),
    "coat": ("coat", "jacket"),
    "trousers": ("trousers", "pants"),
}
# Attribute -> value -> clauses that name it. No clause may name two values.
CLAUSES: dict[str, dict[str, tuple[str, ...]]] = {
    "pattern": {
        "plain": ("is plain", "is solid colored", "has no pattern", "has no print"),
        "striped": ("is striped", "has stripes", "has a striped pattern", "comes with stripes"),
        "dotted": ("is dotted", "has polka dots", "has dots all over", "has a dotted print"),
        "checked": ("is checked", "has a checked pattern", "is plaid", "has checks"),
        "floral": ("is floral", "has a floral print", "has flowers all over", "has a flower pattern"),
    },
    "length": {
        "short": ("is short", "is cut short", "is short in length"),
        "knee-length": ("is knee length", "ends at the knee", "reaches the knees"),
        "long": ("is long", "is ankle length", "goes down to the ankles"),
    },
    "sleeves": {
        "sleeveless": ("is sleeveless", "has no sleeves", "comes without sleeves"),
        "short": ("has short sleeves", "is short sleeved", "comes with short sleeves"),
        "long": ("has long sleeves", "is long sleeved", "comes with long sleeves"),
    },
    "neck": {
        "round": ("has a round neck", "has a round neckline", "is round necked"),
        "v-shaped": ("has a v neck", "has a v shaped neckline", "is v necked"),
        "high": ("has a high neck", "has a turtleneck", "is high necked"),
    },
    "heel": {
        "flat": ("is flat", "has no heel", "has a flat sole"),
        "low": ("has a low heel", "is low heeled", "comes with a low heel"),
        "high": ("has a high heel", "is high heeled", "comes with a high heel"),
    },
    "shaft": {
        "low-cut": ("is low cut", "leaves the ankle free", "stays below the ankle"),
        "ankle-high": ("is ankle high", "is an ankle boot", "covers the ankle"),
        "knee-high": ("is knee high", "is a knee high boot", "goes up to the knee"),
    },
    "size": {
        "small": ("is small", "is small in size", "is a small one"),
        "medium-sized": ("is medium sized", "has a medium size", "is of medium size"),
        "large": ("is large", "is big", "is a large one"),
    },
    "handle": {
        "none": ("has no handle", "comes without a handle", "is a clutch"),
        "short": ("has a short handle", "comes with a short handle", "is short handled"),
        "long": ("has a long handle", "comes with a long handle", "is long handled"),
    },
    "collar": {
        "none": ("has no collar", "is collarless", "comes without a collar"),
        "lapels": ("has lapels", "has a lapel collar", "comes with lapels"),
        "hood": ("has a hood", "is hooded", "comes with a hood"),
    },
    "legs": {
        "slim": ("has slim legs", "is slim fitting", "is slim cut"),
        "wide": ("has wide legs", "is wide legged", "is wide cut"),
    },
}
# Attribute -> its values in rising order, and what more and less of it is called; {} takes the degree.
COMPARED: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "length": (("short", "knee-length", "long"), ("is {}longer",), ("is {}shorter",)),
    "sleeves": (("short", "long"), ("has {}longer sleeves",), ("has {}shorter sleeves",)),
    "heel": (("flat", "low", "high"), ("has a {}higher heel",), ("has a {}lower heel",)),
    "shaft": (("low-cut", "ankle-high", "knee-high"), ("is {}taller",), ("is {}less tall",)),
    "size": (("small", "medium-sized", "large"), ("is {}bigger", "is {}larger"), ("is {}smaller",)),
    "handle": (("short", "long"), ("has a {}longer handle",), ("has a {}shorter handle",)),
    "legs": (("slim", "wide"), ("has {}wider legs",), ("has {}slimmer legs",)),
}
DETAILS: dict[str, str] = {
    "belt": "a belt",
    "collar": "a collar",
    "buttons": "buttons",
    "bow": "a bow",
    "pocket": "a pocket",
    "pockets": "pockets",
    "zip": "a zip",
    "buckle": "a buckle",
    "laces": "laces",
    "studs": "studs",
    "tassel": "a tassel",
    "cuffs": "cuffs",
}
# What stands before the colour in a description, and what follows the noun after "with".
ADJECTIVES: dict[str, dict[str, str]] = {
    "length": {"short": "short", "knee-length": "knee length", "long": "long"},
    "sleeves": {"sleeveless": "sleeveless"},
    "heel": {"flat": "flat"},
    "shaft": {"low-cut": "low cut", "ankle-high": "ankle high", "knee-high": "knee high"},
    "size": {"small": "small", "medium-sized": "medium sized", "large": "large"},
    "legs": {"slim": "slim", "wide": "wide"},
}
WITH: dict[str, dict[str, str]] = {
    "sleeves": {"short": "short sleeves", "long": "long sleeves"},
    "neck": {"round": "a round neck", "v-shaped": "a v neck", "high": "a high neck"},
    "heel": {"low": "a low heel", "high": "a high heel"},
    "handle": {"none": "no handle", "short": "a short handle", "long": "a long handle"},
    "collar": {"none": "no collar", "lapels": "lapels", "hood": "a hood"},
}
