"""The embedded catalogue: product pictures drawn on demand, with texts, queries and near-miss galleries.

No file is read and nothing is drawn until a picture is loaded. Equal arguments give equal pictures and
records on every machine.
"""

from __future__ import annotations

from .domains import DOMAINS, PROTOCOL, build_domain, check_sizes, picture
from .items import ATTRIBUTES, CATEGORIES, Item, held_out
from .probes import pretraining_pairs, probes
from .styles import GENERAL, STYLES, render

__all__ = [
    "ATTRIBUTES",
    "CATEGORIES",
    "DOMAINS",
    "GENERAL",
    "PROTOCOL",
    "STYLES",
    "Item",
    "build_domain",
    "check_sizes",
    "held_out",
    "picture",
    "pretraining_pairs",
    "probes",
    "render",
]
