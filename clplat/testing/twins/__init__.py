"""Twins of benchmarks: small drawn folders in exactly the official layout, so that readers run offline."""

from __future__ import annotations

from clplat.testing.twins.attributes import attributes
from clplat.testing.twins.captioned import captioned
from clplat.testing.twins.circo import circo
from clplat.testing.twins.cirr import cirr
from clplat.testing.twins.classification import classification
from clplat.testing.twins.fashion200k import fashion200k
from clplat.testing.twins.fashioniq import fashioniq
from clplat.testing.twins.genecis import genecis
from clplat.testing.twins.lasco import lasco
from clplat.testing.twins.mit_states import mit_states
from clplat.testing.twins.others import babel_imagenet, boxes, metashift, sugarcrepe
from clplat.testing.twins.shoes import shoes
from clplat.testing.twins.triplets import FORMS, triplets

__all__ = [
    "FORMS",
    "attributes",
    "babel_imagenet",
    "boxes",
    "captioned",
    "circo",
    "cirr",
    "classification",
    "fashion200k",
    "fashioniq",
    "genecis",
    "lasco",
    "metashift",
    "mit_states",
    "shoes",
    "sugarcrepe",
    "triplets",
]
